# Proves that a worker with a backlog reads the partitions in order of time: the
# one furthest behind first, whatever the order in which the broker gives them.
# Windows of partitions that run apart are not open all at once then, and no
# batch touches them all.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use POSIX qw(strftime);
use Time::HiRes qw(usleep);
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $node = new_node('main');
skip_without_faults($node);

# Four partitions of 100 s, each 30 s after the one before; 20 ms between rows.
my $partitions = 4;
my $rows = 5000;
my $base = 1_767_225_600;    # 2026-01-01 00:00:00 UTC
my $topic = new_topic('order', $partitions);
my @lines;
for my $partition (0 .. $partitions - 1)
{
	for my $i (0 .. $rows - 1)
	{
		my $ms = $base * 1000 + $partition * 30_000 + $i * 20;
		push @lines, sprintf '{"partition": %d, "timestamp": %d, "value": {"part": %d, "at": "%s.%03dZ"}}',
		  $partition, $ms, $partition, strftime("%Y-%m-%dT%H:%M:%S", gmtime($ms / 1000)), $ms % 1000;
	}
}
produce_lines($topic, @lines);

create_kafka_server($node);
$node->safe_psql('postgres', qq{
	CREATE FOREIGN TABLE s (part int, at timestamptz, k_part int OPTIONS (metadata 'partition'),
			k_offset bigint OPTIONS (metadata 'offset'), k_wm timestamptz OPTIONS (metadata 'watermark')) SERVER kafka
		OPTIONS (topic '$topic', event_time 'at', watermark_delay '1 s', batch_max_rows '1000');
	CREATE TABLE r (LIKE s)});

# let the library have all of it at hand before the first batch is gathered
fault($node, 'assigned:wait');
$node->safe_psql('postgres', q{SELECT tidemark.start_ingest('s', into_table => 'r')});
wait_for_fault($node, 'assigned');
$node->safe_psql('postgres', q{
	CREATE MATERIALIZED VIEW v WITH (tidemark.continuous, tidemark.allowed_lateness = '10 s') AS
		SELECT window_start, window_end, count(*) AS n FROM r, tidemark.tumble(at, '10 s')
		GROUP BY window_start, window_end});
usleep(1_500_000);
fault($node, '');
wait_until($node, "SELECT count(*) = $partitions * $rows FROM r");
wait_until($node, q{SELECT tidemark.wait_caught_up('v', '0')});

# A row's lead is how far it is ahead of what was read after it.
is( $node->safe_psql('postgres', q{
	WITH read AS (
		SELECT at - min(at) OVER (ORDER BY ctid ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS lead FROM r)
	SELECT count(*) < (SELECT count(*) FROM r) / 20 FROM read WHERE lead > '10 s'}),
	't', 'rows are read before those of the partitions behind only by exception');

is( $node->safe_psql('postgres', q{
	WITH batch AS (SELECT count(DISTINCT date_bin('10 s', at, '2026-01-01')) AS windows FROM r GROUP BY xmin::text)
	SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY windows) <= 3 FROM batch}),
	't', 'a batch touches few windows');

is( $node->safe_psql('postgres', q{
	SELECT count(*) FROM (SELECT part, k_offset - lag(k_offset) OVER (PARTITION BY part ORDER BY ctid) AS step FROM r) AS s
	 WHERE step <> 1}),
	'0', 'offsets of a partition are in order and complete');
is($node->safe_psql('postgres', q{SELECT count(*) FROM tidemark.verify('v')}), '0', 'the view is right');

$node->stop;
done_testing();
