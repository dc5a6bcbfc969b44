# Proves that every message arrives exactly once although the worker is killed,
# terminated or cancelled in each phase of a batch (fault matrix, rows 1 and 2).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();

# A commit that is held at P7 must not hold those of the test too.
local $ENV{PGOPTIONS} = '-c synchronous_commit=local';
my $node = new_node('main', 'tidemark.restart_backoff_max' => '200ms',
	'wal_level' => 'replica', 'max_wal_senders' => 4);
skip_without_faults($node);
my $topic = new_topic('phases', 4);

start_ids($node, 's', $topic, group_id => 'g', batch_max_rows => 40);
produce_ids($topic, 4, 100);
wait_for_ids($node, 's', $topic);
check_ids($node, 's', $topic, 'at first');

# kill -9 ends all backends; the server comes back by itself.
sub hit
{
	my ($pid, $how) = @_;

	if ($how eq 'kill')
	{
		my $offset = -s $node->logfile;
		kill 'KILL', $pid;
		$node->wait_for_log(qr/terminated by signal 9/, $offset);
		wait_until($node, 'SELECT true');
	}
	else
	{
		is($node->safe_psql('postgres', "SELECT pg_${how}_backend($pid)"), 't', "pg_${how}_backend");
	}
	return;
}

# The phases, by the points at which the worker is held.
my @phases = (
	[ P0 => 'started' ], [ P0 => 'assigned' ], [ P1 => 'between' ], [ P2 => 'polled' ],
	[ P3 => 'locked' ], [ P3 => 'storing' ], [ P3 => 'stored' ], [ P4 => 'merge' ],
	[ P4 => 'maintained' ], [ P5 => 'saved' ], [ P6 => 'commit' ], [ P8 => 'committed' ]);

for my $phase (@phases)
{
	my ($name, $point) = @$phase;

	for my $how ('terminate', 'cancel', 'kill')
	{
		my $first = worker_pid($node, 's');

		fault($node, "$point:wait");
		$node->safe_psql('postgres', "SELECT pg_terminate_backend($first)") if $name eq 'P0';
		produce_ids($topic, 4, 60);
		my $pid = wait_for_fault($node, $point);
		hit($pid, $how);
		fault($node, '');
		wait_for_ids($node, 's', $topic);
		check_ids($node, 's', $topic, "$name $point, $how");
		# the worker says so just after its commit
		wait_until($node, "SELECT state FROM tidemark.ingests", 'running');
		pass("$name $point, $how: runs again");
	}
}

# P7: the commit is in the log, but nobody sees it yet.
for my $how ('kill', 'terminate', 'cancel')
{
	my $waits = "FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

	$node->safe_psql('postgres', "ALTER SYSTEM SET $_") for
	  ("synchronous_standby_names = 'nobody'", 'tidemark.synchronous_commit = on');
	$node->reload;
	produce_ids($topic, 4, 60);
	wait_until($node, "SELECT count(*) > 0 $waits");
	hit($node->safe_psql('postgres', "SELECT min(pid) $waits"), $how);
	$node->safe_psql('postgres', "ALTER SYSTEM RESET $_") for
	  ('synchronous_standby_names', 'tidemark.synchronous_commit');
	$node->reload;
	wait_for_ids($node, 's', $topic);
	check_ids($node, 's', $topic, "P7, $how");
}

# Errors that pass: said in the status, tried again, never a dead letter.
for my $code ('53100', '40001', '08006', '55P03')
{
	my $letters = $node->safe_psql('postgres', 'SELECT dead_letters FROM tidemark.ingests');

	fault($node, "stored:error-$code");
	produce_ids($topic, 4, 40);
	wait_until($node, "SELECT state, sqlstate, failures > 1 FROM tidemark_state.worker_status() "
	  . "WHERE role = 'ingest'", "backoff|$code|t");
	is($node->safe_psql('postgres', 'SELECT state, reason, sqlstate FROM tidemark.ingests'),
		qq(retrying|fault point "stored"|$code), "$code: the ingest shows as retrying");
	fault($node, '');
	wait_for_ids($node, 's', $topic);
	check_ids($node, 's', $topic, "error $code");
}

check_views($node, 's', 'at the end');
is($node->safe_psql('postgres',
	'SELECT state, reason, lag FROM tidemark.ingests'), 'running||0', 'at the end: running, no lag');
is(kafka('watermarks', $topic) =~ s/^(\d+) 0 (\d+)$/$1 $2/mgr,
	$node->safe_psql('postgres', 'SELECT partition || \' \' || next_offset FROM tidemark.partitions ORDER BY partition') . "\n",
	'at the end: positions are the end offsets');
done_testing();
