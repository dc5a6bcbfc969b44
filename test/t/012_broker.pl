# Proves that brokers may be down, silent, slow or killed: the server stays
# usable, the worker holds no transaction meanwhile, says what is wrong, ends
# when told to, and goes on by itself (fault matrix, rows 8 and 9).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use Time::HiRes qw(time);
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_java();
start_own_broker();
my $node = new_node('main', 'tidemark.restart_backoff_max' => '500ms');
my $topic = new_topic('broker', 2);
# ms, on a busy machine: any wait for Kafka takes longer
my $at_once = 5000;
my $ingest = "SELECT state FROM tidemark.ingests WHERE stream = 's'::regclass";

sub query { return $node->safe_psql('postgres', $_[0]); }

# Trouble is visible with a reason; nobody else suffers from it.
sub check_trouble
{
	my ($name) = @_;

	wait_until($node, $ingest, 'retrying');
	like(query("SELECT sqlstate || ' ' || reason || ' ' || hint FROM tidemark.ingests"), qr/^08006 .+ .+/,
		"$name: retrying, with reason and hint");
	unlike(query("SELECT reason FROM tidemark.ingests"), qr/GroupCoordinator/, "$name: in words of one's own");
	# short transactions come and go with the processes
	my $then = query('SELECT clock_timestamp()');
	ok( $node->poll_query_until('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'tidemark %'
		AND xact_start <= '$then'", 0),
		"$name: no transaction is held open");
	is($node->psql('postgres', "SET statement_timeout = '${at_once}ms'; CREATE TABLE other (a int); INSERT INTO other VALUES (1); DROP TABLE other"),
		0, "$name: others can commit");
	return;
}

# SIGTERM is answered at once; another worker follows.
sub check_sigterm
{
	my ($name) = @_;
	my $pid = worker_pid($node, 's');

	is(query("SELECT pg_terminate_backend($pid, $at_once)"), 't', "$name: the worker answers SIGTERM");
	return;
}

sub check_goes_on
{
	my ($name) = @_;

	produce_ids($topic, 2, 200);
	wait_for_ids($node, 's', $topic);
	check_ids($node, 's', $topic, $name);
	wait_until($node, "SELECT state, reason IS NULL FROM tidemark.ingests", 'running|t');
	my %states;
	for (1 .. 20)
	{
		$states{query("SELECT state || coalesce(' ' || reason, '') FROM tidemark.ingests")} = 1;
		select undef, undef, undef, 0.1;
	}
	is(join(', ', sort keys %states), 'running', "$name: and stays so");
	return;
}

start_ids($node, 's', $topic, group_id => $topic);
check_goes_on('at first');

# stopped, and killed, while the worker waits for messages
own_broker('stop');
check_trouble('broker stopped');
check_sigterm('broker stopped');
own_broker('start');
check_goes_on('broker started again');

# (a producer that loses its broker in the middle may write twice: it is done)
produce_ids($topic, 2, 1000);
own_broker('kill');
check_trouble('broker killed');

# a wait has its own time
for my $wait ([ '1500ms', 1.4 ], [ '0', 0 ])
{
	my ($timeout, $least) = @$wait;
	my $begin = time();

	is(query("SELECT tidemark.wait_caught_up('s', '$timeout')"), 'f', "broker killed: wait of $timeout is false");
	cmp_ok(time() - $begin, '>=', $least, "broker killed: wait of $timeout lasts");
	cmp_ok(time() - $begin, '<', $least + $at_once / 1000, "broker killed: wait of $timeout ends");
}

# a server that starts without a broker
$node->restart;
check_trouble('server started without a broker');
own_broker('start');
check_goes_on('broker came later');

# connected, but silent
my $broker = own_broker_pid();
kill 'STOP', $broker;
check_trouble('broker silent');
check_sigterm('broker silent');
my $start = time();
my (undef, undef, $stderr) = $node->psql('postgres', q{SET statement_timeout = '300ms'; SELECT count(*) FROM s});
cmp_ok(time() - $start, '<', $at_once / 1000, 'broker silent: a SELECT on the stream can be cancelled');
like($stderr, qr/canceling statement due to statement timeout/, 'broker silent: it was');
kill 'CONT', $broker;
check_goes_on('broker answers again');

my $log = slurp_file($node->logfile);
cmp_ok(scalar(() = $log =~ /is waiting for Kafka/g), '<', 12, 'trouble is logged once per change');
check_views($node, 's', 'at the end');
done_testing();
