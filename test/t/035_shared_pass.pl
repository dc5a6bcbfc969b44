# Proves that views that group alike share a pass over the rows of a batch, which
# ones do, and that nothing but the cost shows: results, errors, changes of the
# set of views; and that all passes come before the first view is locked.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $node = new_node('main');
skip_without_faults($node);
my $topic = new_topic('share', 2);
my $produced = 0;

sub query { return $node->safe_psql('postgres', $_[0]); }

create_kafka_server($node);
query(qq{
	CREATE FOREIGN TABLE s (id int, k int, x bigint, f float8, name text, ok boolean, at timestamptz)
		SERVER kafka OPTIONS (topic '$topic', event_time 'at', watermark_delay '1 min');
	CREATE TABLE r (LIKE s);
	-- how many passes compute a group key for a row
	CREATE SEQUENCE computed;
	CREATE FUNCTION key_of(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
		AS \$\$ BEGIN PERFORM nextval('public.computed'); RETURN \$1 % 3; END \$\$;
	SELECT nextval('computed')});
query(q{SELECT tidemark.start_ingest('s', into_table => 'r')});

sub view
{
	my ($name, $query, $options) = @_;

	query("CREATE MATERIALIZED VIEW $name WITH (tidemark.continuous" . ($options || '') . ") AS $query");
	return;
}

sub caught_up
{
	wait_until($node, 'SELECT count(*) FROM r', $produced);
	wait_until($node, q{SELECT tidemark.wait_caught_up('s', '0')});
	return;
}

# So many more rows, in one wait; $special is the value of x in the last one.
sub produce
{
	my ($count, $special) = @_;
	my @lines;

	for my $id ($produced .. $produced + $count - 1)
	{
		my $x = defined $special && $id == $produced + $count - 1 ? $special : $id % 11 == 3 ? 'null' : 1000 + $id * 37 % 501;
		push @lines, sprintf '{"partition": %d, "value": {"id": %d, "k": %s, "x": %s, "f": %s, "name": "%s", "ok": %s, "at": "2026-01-01T00:%02d:%02dZ"}}',
		  $id % 2, $id, $id % 13 == 5 ? 'null' : $id % 7, $x, $id / 8, substr('abcdefg', $id % 5, 2), $id % 3 ? 'true' : 'false',
		  $id / 60 % 60, $id % 60;
	}
	$produced += $count;
	produce_lines($topic, @lines);
	caught_up();
	return;
}

# How often the key of each row is computed.
sub passes
{
	my ($count) = @_;
	my $before = query('SELECT last_value FROM computed');

	produce($count);
	return (query('SELECT last_value FROM computed') - $before) / $count;
}

sub check
{
	my ($label) = @_;

	is(query(q{SELECT v.view, p.* FROM tidemark.views v, tidemark.verify(v.view) p WHERE v.state = 'live'}), '',
		"$label: all views are what their queries say");
	return;
}

# What is new is loaded, and computed alone, with its first rows.
sub load
{
	wait_until($node, q{SELECT bool_and(state = 'live') FROM tidemark.views WHERE state <> 'failed'});
	produce(10);
	return;
}

# Same keys; aggregates in common, with internal states, filters, in
# expressions, none at all.
view('a', 'SELECT key_of(k) AS key, count(*), sum(x), avg(x) FROM r GROUP BY key_of(k)');
view('b', 'SELECT avg(x), key_of(k) AS key, max(name), sum(x) FILTER (WHERE ok) FROM r GROUP BY key_of(k)');
view('d', q{SELECT sum(x) + count(*) AS both, stddev(f), regr_slope(f, x), key_of(r.k) FROM r GROUP BY 4 HAVING count(*) > 3});
view('e', 'SELECT key_of(z.k) AS other_name, min(at), sum(x) / nullif(count(x), 0) AS mean FROM r AS z GROUP BY 1');
view('g', 'SELECT key_of(k) FROM r GROUP BY 1');
load();
is(passes(100), 1, 'five views, one pass');
is(passes(300), 1, 'and again');
check('five views');

# The set of views changes.
view('h', 'SELECT key_of(k), bool_or(ok) FROM r GROUP BY 1');
load();
is(passes(50), 1, 'a view more');
query('DROP MATERIALIZED VIEW a');
produce(10);
is(passes(50), 1, 'the first one gone');
query(q{SELECT tidemark.pause('d')});
is(passes(50), 1, 'one paused');
query(q{SELECT tidemark.resume('d')});
load();
is(passes(50), 1, 'and resumed');
query('ALTER TABLE r ADD COLUMN more int');
produce(10);
is(passes(50), 1, 'the table has another column');
check('changes');

# Of another owner, of other settings, with another condition, over tables too:
# each on its own.
query(q{
	CREATE TABLE dim (k int, label text);
	INSERT INTO dim VALUES (0, 'zero'), (1, 'one');
	CREATE ROLE other;
	GRANT CREATE, USAGE ON SCHEMA public TO other;
	GRANT SELECT ON r, dim TO other;
	GRANT ALL ON SEQUENCE computed TO other});
view('j1', 'SELECT key_of(r.k), count(label) FROM r LEFT JOIN dim USING (k) GROUP BY 1');
view('j2', 'SELECT key_of(r.k), max(label) FROM r LEFT JOIN dim USING (k) GROUP BY 1');
load();
is(passes(50), 3, 'views over joined tables do not share');
query('DROP MATERIALIZED VIEW j1; DROP MATERIALIZED VIEW j2');
view('w1', 'SELECT key_of(k), count(*) FROM r WHERE id >= 0 GROUP BY 1');
view('w2', 'SELECT key_of(k), count(*) FROM r WHERE id >= -1 GROUP BY 1');
query(q{SET TimeZone = 'Asia/Tokyo';
	CREATE MATERIALIZED VIEW tokyo WITH (tidemark.continuous) AS SELECT key_of(k), min(at::text) FROM r GROUP BY 1});
query(q{CREATE MATERIALIZED VIEW theirs WITH (tidemark.continuous) AS SELECT key_of(k), count(*) FROM r GROUP BY 1;
	ALTER MATERIALIZED VIEW theirs OWNER TO other});
load();
is(passes(50), 5, 'nor do others that differ');
check('others');
query("DROP MATERIALIZED VIEW $_") for qw(w1 w2 tokyo theirs b d e g h);

# By pane; without keys; over the stream and over the table; late rows, which one
# of two notices; final.
view('hop1', q{SELECT window_start, window_end, k, count(*), sum(x) FROM r, tidemark.hop(r.at, '5 min', '15 min') GROUP BY 1, 2, 3});
view('hop2', q{SELECT window_start, window_end, k, max(name), count(*) FROM r, tidemark.hop(r.at, '5 min', '15 min') GROUP BY 1, 2, 3});
view('total1', 'SELECT count(*), sum(x) FROM r');
view('total2', 'SELECT max(f), avg(x) FROM r');
view('stream1', 'SELECT key_of(k), count(*), sum(x) FROM s GROUP BY 1');
view('stream2', 'SELECT key_of(k), sum(x), max(name) FROM s GROUP BY 1');
view('all_rows', q{SELECT window_start, window_end, key_of(k), count(*) FROM s, tidemark.tumble(at, '1 min') GROUP BY 1, 2, 3});
view('closed', q{SELECT window_start, window_end, key_of(k), count(*), sum(x) FROM s, tidemark.tumble(at, '1 min') GROUP BY 1, 2, 3}, q{, tidemark.emit = 'final'});
load();
is(passes(200), 2, 'two pairs over the stream');
produce(3600);
produce(700);
check('windows');
cmp_ok(query(q{SELECT late FROM tidemark.views WHERE view = 'closed'::regclass}), '>', 0, 'there were late rows');

# Many groups, new ones and ones that are there.
view('many1', 'SELECT id / 2 % 2000 AS pair, x, count(*), avg(x) FROM r GROUP BY 1, 2');
view('many2', 'SELECT id / 2 % 2000 AS pair, x, avg(f), max(name) FROM r GROUP BY 1, 2');
load();
produce(6000);
check('many groups');

# Before the first view is locked, the rows are grouped for the last.
query(q{
	CREATE SEQUENCE computed_last;
	CREATE FUNCTION key_of_last(int) RETURNS int LANGUAGE plpgsql IMMUTABLE
		AS $$ BEGIN PERFORM nextval('public.computed_last'); RETURN $1 % 3; END $$});
view('last', 'SELECT key_of_last(k), count(*) FROM r GROUP BY 1');
load();
my $before = query('SELECT last_value FROM computed_last');
fault($node, 'merge:wait');
produce_lines($topic, map { qq({"value": {"id": $_, "k": $_, "x": 1, "at": "2026-01-01T01:30:00Z"}}) } $produced .. $produced + 9);
$produced += 10;
wait_for_fault($node, 'merge');
cmp_ok(query('SELECT last_value FROM computed_last'), '>', $before, 'all views are computed');
is(query(q{SELECT count(*) FROM pg_locks JOIN tidemark_state.view ON objid = state_table WHERE locktype = 'object'}), 0,
	'before one is locked');
fault($node, '');
caught_up();
check('all at once');

# An error is that of its view, whoever's pass it was.
view('good', 'SELECT k, count(*) FROM r GROUP BY k');
view('poor', 'SELECT k, sum(1000 / (x - 7)) FROM r GROUP BY k');
view('fine', 'SELECT k, sum(x) FROM r GROUP BY k');
load();
produce(20);
produce(20, 7);
wait_until($node, q{SELECT state FROM tidemark.views WHERE view = 'poor'::regclass}, 'failed');
is(query(q{SELECT reason FROM tidemark.views WHERE view = 'poor'::regclass}), 'division by zero', 'the view fails');
produce(50);
is(query(q{SELECT view FROM tidemark.views WHERE state <> 'live'}), 'poor', 'it alone');
check('after an error');
done_testing();
