# Proves that a topic of more partitions than one question about offsets may name
# is read whole, by a query and by an ingest, and goes on after a restart; and that
# a message changes the row of its own partition, not those of all.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

my $partitions = 1005;    # KAFKA_OFFSETS_MAX is 1000

skip_without_java();
start_own_broker();
my $node = new_node('main');
my $topic = new_topic('many', $partitions);

sub query { return $node->safe_psql('postgres', $_[0]); }

# Two messages for the first partition, those around the end of a question, and the last.
my @some = (0, 1, 998, 999, 1000, 1001, 1004);
my $id = 0;

sub produce_some
{
	my @lines;

	for my $partition (@some, @some)
	{
		$id++;
		push @lines, qq({"partition": $partition, "timestamp": 1767225600000, "value": {"id": $id, "grp": ${\ ($id % 3)}, "val": 1.5, "at": "2026-01-01T00:00:00Z"}});
	}
	produce_lines($topic, @lines);
	return;
}

# Of the rows: how many, of which partitions, up to which offset.
my $summary = q{SELECT count(*), count(DISTINCT id), string_agg(DISTINCT to_char(k_part, 'FM0000'), ','), max(k_offset) FROM };
my $list = join ',', map { sprintf '%04d', $_ } @some;

start_ids($node, 's', $topic);
produce_some();
is(query("$summary s"), "14|14|$list|1", 'a query finds what there is');
is(query('SELECT k_part, count(*) FROM s WHERE k_part IN (999, 1000) GROUP BY 1 ORDER BY 1'), "999|2\n1000|2",
	'and some partitions by number');
is(query("SELECT count(*) FROM s WHERE k_part = $partitions"), '0', 'there is none beyond the last');
wait_until($node, 'SELECT count(*) FROM s_rows', 14);
is(query("$summary s_rows"), "14|14|$list|1", 'an ingest reads each once');
$node->stop;
produce_some();
$node->start;
wait_until($node, 'SELECT count(*) FROM s_rows', 28);
is(query("$summary s_rows"), "28|28|$list|3", 'also after a restart');
is(query("SELECT count(*), sum(next_offset) FROM tidemark_state.partition WHERE stream = 's'::regclass"), "$partitions|28",
	'every partition has a position');

# From a time on: most partitions have nothing that late, and are asked where they end.
query("CREATE FOREIGN TABLE since (id bigint, at timestamptz, k_time timestamptz OPTIONS (metadata 'timestamp'))
	SERVER kafka OPTIONS (topic '$topic', event_time 'at')");
is(query("SELECT count(*) FROM since WHERE k_time >= '2026-01-02'"), '0', 'nothing is that late');
produce_lines($topic, map { qq({"partition": $_, "value": {"id": ${\ ++$id}, "grp": 1, "val": 1.5, "at": "2026-01-01T00:00:00Z"}}) } 0, 1003);
is(query("SELECT count(*), max(id) FROM since WHERE k_time >= '2026-01-02'"), "2|$id", 'a query finds what came since then');
wait_until($node, 'SELECT count(*) FROM s_rows', 30);

# A row that was written, or locked, though it says what it said before.
wait_until($node, "SELECT sum(end_offset) FROM tidemark_state.partition", 30);
query('CREATE TABLE saved AS SELECT xmin::text AS made, xmax::text AS locked, * FROM tidemark_state.partition');
produce_lines($topic, qq({"partition": 7, "value": {"id": ${\ ++$id}, "grp": 1, "val": 1.5, "at": "2026-01-01T00:00:00Z"}}));
wait_until($node, 'SELECT count(*) FROM s_rows', 31);
is(query('SELECT count(*), min(partition), max(partition) FROM tidemark_state.partition p JOIN saved USING (partition) WHERE p.next_offset <> saved.next_offset'),
	'1|7|7', 'a message moves its partition');
is(query('SELECT count(*) FROM tidemark_state.partition p JOIN saved USING (partition)
	WHERE (p.xmin::text, p.xmax::text) <> (made, locked)
	AND (p.next_offset, p.end_offset, p.idle_since) IS NOT DISTINCT FROM (saved.next_offset, saved.end_offset, saved.idle_since)'),
	'0', 'rows of other partitions are left alone');
check_views($node, 's', 'at the end');
done_testing();
