# Proves that every message arrives exactly once although processes are killed
# and the server is stopped at random times under load (fault matrix, rows 1
# and 3).  $SEED repeats a run's choices.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use Time::HiRes qw(usleep);
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $seed = $ENV{SEED} || int(rand(2**31));
srand($seed);
note("SEED=$seed");

# off: a crash may take back commits that were seen, rows and offsets together
my $sync = rand() < 0.5 ? 'on' : 'off';
my $node = new_node('main', 'tidemark.restart_backoff_max' => '200ms',
	'tidemark.synchronous_commit' => $sync);
my $topic = new_topic('random', 4);

start_ids($node, 's', $topic, workers => 2, batch_max_rows => 100);
produce_ids($topic, 4, 100);
wait_for_ids($node, 's', $topic);

# Any process of the server, chosen by its kind; pg_stat_activity is read
# before the load starts.
# The server may be about to notice that one of its processes was killed.
sub ask
{
	my ($sql) = @_;

	for (1 .. 600)
	{
		my ($rc, $out) = $node->psql('postgres', $sql);
		return $out if defined $rc && $rc == 0;
		usleep(100_000);
	}
	die "no answer to: $sql";
}

sub pid_of
{
	my ($type) = @_;
	return ask("SELECT pid FROM pg_stat_activity WHERE $type ORDER BY random() LIMIT 1");
}

# After kill -9 of the postmaster its children end by themselves; only then can
# another one start on the data.
sub kill_postmaster
{
	my ($pids) = @_;
	my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');

	$node->kill9;
	for my $pid ($postmaster, split /\n/, $pids)
	{
		for (1 .. 3000)
		{
			last if !kill 0, $pid;
			usleep(10_000);
		}
	}
	$node->start;
	return;
}

my $worker = "backend_type = 'tidemark ingest'";
my %faults = (
	'kill -9 of a worker' => [ sub { pid_of($worker) }, sub { kill 'KILL', $_[0] } ],
	'SIGTERM of a worker' => [ sub { pid_of($worker) }, sub { kill 'TERM', $_[0] } ],
	'SIGINT of a worker' => [ sub { pid_of($worker) }, sub { kill 'INT', $_[0] } ],
	'kill -9 of the scheduler' =>
	  [ sub { pid_of("backend_type = 'tidemark scheduler'") }, sub { kill 'KILL', $_[0] } ],
	'kill -9 of a server process' =>
	  [ sub { pid_of("backend_type IN ('walwriter', 'background writer', 'checkpointer')") }, sub { kill 'KILL', $_[0] } ],
	'immediate stop' => [ sub { }, sub { $node->stop('immediate'); $node->start } ],
	'fast restart' => [ sub { }, sub { $node->restart } ],
	'kill -9 of the postmaster' => 
	  [ sub { ask('SELECT pid FROM pg_stat_activity') }, \&kill_postmaster ]);
my @kinds = sort keys %faults;
my @rounds = (@kinds, map { $kinds[ rand @kinds ] } 1 .. 12);
my $position = 0;

for my $kind (@rounds)
{
	my ($choose, $do) = @{ $faults{$kind} };
	my $victim = $choose->();

	produce_ids_begin($topic, 4, 3000);
	usleep(rand 400_000);
	$do->($victim);
	kafka_end();
	wait_until($node, 'SELECT true');

	# whatever it has done so far: rows, dead letters, views, positions agree
	my ($n, $distinct, undef, @differ) = split /\|/, ask(ids_sql('s'));
	is("$n|@differ", "$distinct|0 0 0", "$kind: all agree in the middle");
	cmp_ok($n, '>=', $position, "$kind: nothing went back that was seen") if $sync eq 'on';
	$position = $n;
}
wait_for_ids($node, 's', $topic);
check_ids($node, 's', $topic, 'at the end');
check_views($node, 's', 'at the end');
is($node->safe_psql('postgres', 'SELECT state FROM tidemark.ingests'), 'running', 'running');
done_testing();
