# Proves that partitions that a topic gets are found by themselves, while the
# ingest runs and while it is stopped, and are read from their first message on,
# exactly once; and that options of an idle worker apply to its next batch.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $node = new_node('main', 'tidemark.partition_check_interval' => '300ms',
	'tidemark.log_min_batch_duration' => 0);
my $topic = new_topic('grow', 2);

sub query { return $node->safe_psql('postgres', $_[0]); }

my $positions = q{SELECT string_agg(partition || ':' || first_offset || '-' || next_offset, ' ' ORDER BY partition)
	FROM tidemark_state.partition WHERE stream = 's'::regclass};

start_ids($node, 's', $topic);
produce_ids($topic, 2, 100);
wait_for_ids($node, 's', $topic);

# while it runs, between batches: messages first, so that there is something to find
kafka('partitions', $topic, 4);
produce_ids($topic, 4, 200);
wait_for_ids($node, 's', $topic);
check_ids($node, 's', $topic, 'from 2 to 4 partitions while running');
is(query($positions), '0:0-100 1:0-100 2:0-50 3:0-50', 'the new ones from their first message on');

# while it is busy
produce_ids_begin($topic, 4, 3000);
kafka_end();
kafka('partitions', $topic, 5);
produce_ids($topic, 5, 500);
wait_for_ids($node, 's', $topic);
check_ids($node, 's', $topic, 'one more while messages wait');

# while it is paused, while the server is down, and with a worker more
query("SELECT tidemark.pause('s')");
kafka('partitions', $topic, 6);
produce_ids($topic, 6, 300);
query("SELECT tidemark.resume('s')");
wait_for_ids($node, 's', $topic);
check_ids($node, 's', $topic, 'one more while paused');
$node->stop;
kafka('partitions', $topic, 7);
produce_ids($topic, 7, 350);
$node->start;
wait_for_ids($node, 's', $topic);
check_ids($node, 's', $topic, 'one more while the server is down');
query("SELECT tidemark.alter_ingest('s', workers => 2)");
kafka('partitions', $topic, 9);
produce_ids($topic, 9, 450);
wait_for_ids($node, 's', $topic);
check_ids($node, 's', $topic, 'two more for two workers');
is(query("SELECT max(first_offset) FROM tidemark_state.partition"), 0, 'none began behind its first message');
check_views($node, 's', 'partitions added');

# An idle worker: the first batch after ALTER goes by the new options.
$topic = new_topic('idle', 1);
start_ids($node, 'i', $topic);
produce_ids($topic, 1, 10);
wait_for_ids($node, 'i', $topic);
for my $rows (7, 13)
{
	my $from = -s $node->logfile;

	query("ALTER FOREIGN TABLE i OPTIONS (" . ($rows == 7 ? 'ADD' : 'SET') . " batch_max_rows '$rows')");
	produce_ids($topic, 1, 200);
	wait_for_ids($node, 'i', $topic);
	my @sizes = slurp_file($node->logfile, $from) =~ /batch of (\d+) messages/g;
	is(scalar(grep { $_ > $rows } @sizes), 0, "batch_max_rows '$rows' holds at once (@sizes)");
}
check_ids($node, 'i', $topic, 'other options');
done_testing();
