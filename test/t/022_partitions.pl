# Proves that partitions that a topic gets are found by themselves, while the
# ingest runs and while it is stopped, are read from their first message on,
# exactly once, and hold the watermark of the stream until they reach it or are
# idle (fault matrix, row 12); and that options of an idle worker apply to its
# next batch.
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
my $second = worker_pid($node, 's', 1);
kill 'STOP', $second;
kafka('partitions', $topic, 13);
wait_until($node, "SELECT count(*) FROM tidemark_state.partition WHERE stream = 's'::regclass", 13);
kill 'CONT', $second;
produce_ids($topic, 13, 650);
wait_for_ids($node, 's', $topic);
check_ids($node, 's', $topic, 'two more for each, when one of them has found all');
is(query("SELECT max(first_offset) FROM tidemark_state.partition"), 0, 'none began behind its first message');
check_views($node, 's', 'partitions added');

# A new partition closes nothing and is waited for: by its first rows, or until
# it is idle.
$topic = new_topic('held', 2);
query(qq{CREATE FOREIGN TABLE h (id int, at timestamptz OPTIONS (time_unit 's'), p int OPTIONS (metadata 'partition'))
	SERVER kafka OPTIONS (topic '$topic', event_time 'at', watermark_idle_timeout 'infinity')});
query("CREATE TABLE h_rows (LIKE h)");
query("SELECT tidemark.start_ingest('h', into_table => 'h_rows')");
query(q{CREATE MATERIALIZED VIEW h_final WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.late = 'table') AS
	SELECT window_start, count(*) AS n, sum(id) AS total FROM h, tidemark.tumble(at, '10 s') GROUP BY window_start});

my $held = 0;
sub hold
{
	my @lines = map { sprintf '{"partition": %d, "value": {"id": %d, "at": %d}}', $_->[0], ++$held, 1_767_225_600 + $_->[1] } @_;

	produce_lines($topic, @lines);
	wait_until($node, 'SELECT count(*) FROM h_rows', $held);
	return;
}
my $until = q{SELECT extract(epoch FROM closed_until) - 1767225600 FROM tidemark.views WHERE view = 'h_final'::regclass};
my $reason = q{SELECT watermark_reason FROM tidemark.ingests WHERE stream = 'h'::regclass};
my $parts = q{SELECT count(*) FROM tidemark.partitions WHERE stream = 'h'::regclass};

hold([ 0, 5 ], [ 1, 5 ], [ 0, 25 ], [ 1, 25 ]);
wait_until($node, "$until", '25.000000');
kafka('partitions', $topic, 3);
wait_until($node, $parts, 3);
hold([ 0, 60 ], [ 1, 60 ]);
is(query($until), '25.000000', 'while it runs: a new partition holds what is open');
is(query($reason), 'partition 2 has no rows yet', 'it is named');
# it has reached it; what it has of closed windows is noted, row by row
hold([ 2, 8 ], [ 2, 21 ], [ 2, 45 ]);
wait_until($node, "$until", '45.000000');
is(query('SELECT partition, kafka_offset, watermark FROM tidemark.late_rows'), '2|0|',
	'a row for a window that was closed before the partition came: not late by its own, and kept');
query("SELECT tidemark.pause('h')");
kafka('partitions', $topic, 4);
query("SELECT tidemark.resume('h')");
wait_until($node, $parts, 4);
hold([ 0, 90 ], [ 1, 90 ], [ 2, 90 ]);
is(query($until), '45.000000', 'while it is stopped: the same');
query("ALTER FOREIGN TABLE h OPTIONS (SET watermark_idle_timeout '200 ms')");
wait_until($node, "$until", '90.000000');
is(query("SELECT sum(n) FROM h_final"), query(q{SELECT count(*) - 1 FROM h_rows WHERE at < to_timestamp(1767225600 + 90)}),
	'idle: windows close, each row is in one');
is(query("SELECT count(*) FROM (SELECT FROM h_final GROUP BY window_start HAVING count(*) > 1) d"), 0, 'each window once');
is(query("SELECT * FROM tidemark.verify('h_final')"), '', 'and verify() knows what was noted');

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
