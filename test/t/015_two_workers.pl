# Proves that several workers share a stream's partitions, and that of two
# processes that believe they own a partition only one commits (fault matrix,
# row 18).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $node = new_node('main', 'tidemark.restart_backoff_max' => '200ms');
skip_without_faults($node);
my $topic = new_topic('shared', 6);

start_ids($node, 's', $topic, workers => 3);
produce_ids($topic, 6, 3000);
wait_for_ids($node, 's', $topic);
check_ids($node, 's', $topic, 'three workers');
is($node->safe_psql('postgres', "SELECT count(*) FROM tidemark.workers WHERE role = 'ingest' AND batches > 0"),
	3, 'each has worked');

# fewer and more of them, without losing a message
for my $workers (1, 2, 6)
{
	$node->safe_psql('postgres', "SELECT tidemark.alter_ingest('s', workers => $workers)");
	produce_ids($topic, 6, 600);
	wait_for_ids($node, 's', $topic);
	check_ids($node, 's', $topic, "changed to $workers");
	wait_until($node, "SELECT count(*) FROM tidemark.workers WHERE role = 'ingest' AND state = 'running'",
		$workers);
}

# Somebody else moves a position while a batch holds it: the row lock makes him
# wait, and he finds the position moved.
$node->safe_psql('postgres', "SELECT tidemark.alter_ingest('s', workers => 1)");
wait_until($node, "SELECT count(*) FROM tidemark.workers WHERE role = 'ingest' AND state = 'running'", 1);
fault($node, 'saved:wait');
produce_ids($topic, 6, 60);
wait_for_fault($node, 'saved');
my $thief = $node->background_psql('postgres');
$thief->query_until(qr/start/, "\\echo start\n"
	  . "UPDATE tidemark_state.partition SET next_offset = next_offset + 0 "
	  . "WHERE stream = 's'::regclass AND next_offset = (SELECT min(next_offset) FROM tidemark_state.partition);\n");
wait_until($node, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted");
fault($node, '');
wait_for_ids($node, 's', $topic);
$thief->quit;
check_ids($node, 's', $topic, 'a writer that came too late');

# The other way round: the position has moved under a worker that has polled.
# Its batch is fenced off, and it starts again from what the catalog says.
fault($node, 'polled:wait');
produce_ids($topic, 6, 60);
wait_for_fault($node, 'polled');
# (the worker may have taken some of them in before it saw the fault point)
$node->safe_psql('postgres', "UPDATE tidemark_state.partition SET next_offset = next_offset + 10000 "
	  . "WHERE stream = 's'::regclass");
produce_ids($topic, 6, 60);
my $log = -s $node->logfile;
fault($node, '');
$node->wait_for_log(qr/was applied already|is out of range/, $log);
pass('a batch below the position is not applied');
$node->safe_psql('postgres', $_) for (
	"UPDATE tidemark_state.partition SET next_offset = next_offset - 10000 WHERE stream = 's'::regclass",
	"SELECT tidemark.resume('s')");
wait_for_ids($node, 's', $topic);
check_ids($node, 's', $topic, 'after the position was put back');

$node->stop;
done_testing();
