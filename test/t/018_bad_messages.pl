# Proves that a bad message through a real broker becomes one dead letter with
# its bytes and its SQLSTATE, and harms no neighbour (fault matrix, row 19); and
# when bad messages make the ingest failed.  The messages, and what the types
# json and jsonb say of each, are in test/corpus.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $node = new_node('main');
my $brokers = brokers();

$node->safe_psql('postgres',
	"CREATE DATABASE corpus TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");

sub query { return $node->safe_psql('corpus', $_[0]); }

sub wait_for
{
	my ($sql, $expected) = @_;
	wait_until($node, $sql, $expected, 'corpus');
	return;
}

query('CREATE EXTENSION tidemark');
query("CREATE SERVER kafka FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '$brokers')");
query('CREATE USER MAPPING FOR PUBLIC SERVER kafka');
query("SET client_min_messages = warning;\n\\cd $FindBin::Bin/../corpus\n\\i json_oracle.sql");

# Message number i of the corpus at offset 2 i, a good one behind it.
my $topic = new_topic('corpus', 1, 'max.message.bytes' => 20_000_000);
my @messages = split /\n/, query("SELECT encode(message, 'hex') FROM corpus.expected ORDER BY no");
query('CREATE TABLE corpus.sent AS SELECT 2 * (row_number() OVER (ORDER BY no) - 1) AS kafka_offset, * FROM corpus.expected');
query(qq{
	CREATE FOREIGN TABLE corpus.stream (
		a bigint,
		b text,
		t timestamptz,
		e timestamptz OPTIONS (time_unit 'ms'),
		n jsonb,
		p bigint OPTIONS (field '/p/q'),
		l0 bigint OPTIONS (field '/l/0'),
		l2 text OPTIONS (field '/l/2'),
		m bigint OPTIONS (field '/m~0n/o~1p'),
		x bigint OPTIONS (field '/'),
		k_key text OPTIONS (metadata 'key'),
		k_offset bigint OPTIONS (metadata 'offset')
	) SERVER kafka OPTIONS (topic '$topic', max_error_ratio '1');
	CREATE TABLE corpus.rows (LIKE corpus.stream);
	SELECT tidemark.start_ingest('corpus.stream', into_table => 'corpus.rows')});
query('CREATE MATERIALIZED VIEW corpus.v WITH (tidemark.continuous) AS
	SELECT k_key, count(*), count(a) AS a, sum(a) FROM corpus.rows GROUP BY k_key');
query('CREATE MATERIALIZED VIEW corpus.w WITH (tidemark.continuous) AS
	SELECT k_key, count(*), count(a) AS a, sum(a) FROM corpus.stream GROUP BY k_key');

{
	local $ENV{KAFKA_PROPS} = 'message.max.bytes=20000000';
	my $i = 0;
	produce_lines($topic, map {
		(qq({"partition": 0, "value": {"hex": "$_"}}),
			qq({"partition": 0, "key": "good", "value": {"a": ${\ ($i++)}}}))
	} @messages);
}
my $n = @messages;
cmp_ok($n, '>', 300, 'the corpus is there');
wait_for("SELECT (SELECT count(*) FROM corpus.rows) +
	(SELECT count(*) FROM tidemark.dead_letters WHERE stream = 'corpus.stream'::regclass)", 2 * $n);

is(query("SELECT count(*), count(DISTINCT a), min(a), max(a) FROM corpus.rows WHERE k_key = 'good'"),
	join('|', $n, $n, 0, $n - 1), 'no neighbour is harmed');
is(query('SELECT no, result, actual FROM corpus.sent
	FULL JOIN (SELECT k_offset AS kafka_offset, row(a, b, t, e, n, p, l0, l2, m, x)::text AS actual
		FROM corpus.rows WHERE k_key IS NULL) r USING (kafka_offset)
	WHERE result IS DISTINCT FROM actual'), '', 'good messages are the rows that json says');
is(query("SELECT no, result FROM corpus.sent
	FULL JOIN tidemark.dead_letters d USING (kafka_offset) WHERE (result IS NULL) <> (d.message IS NOT NULL)"), '',
	'bad messages, and only these, are dead letters');
is(query("SELECT count(*) FROM tidemark.dead_letters d JOIN corpus.sent s USING (kafka_offset)
	WHERE d.value IS DISTINCT FROM s.message OR d.sqlstate !~ '^(0A|22|23|54|42)[0-9A-Z]{3}\$'
		OR d.stage <> 'decode' OR d.topic <> '$topic' OR d.partition <> 0 OR d.kafka_timestamp IS NULL OR d.message = ''"), 0,
	'each with its bytes, position, time and a SQLSTATE of its own class');
is(query("SELECT state, reason, lag, dead_letters FROM tidemark.ingests"),
	'running||0|' . query('SELECT count(*) FROM corpus.sent WHERE result IS NULL'), 'the ingest runs, and counted them');
is(query("SELECT * FROM tidemark.verify('corpus.$_')"), '', "view $_ agrees") for qw(v w);

# What is not JSON at all: bytes as key and headers, a tombstone, no key.
my $odd = new_topic('odd', 1);
query(qq{
	CREATE FOREIGN TABLE odd (
		a bigint,
		k_key bytea OPTIONS (metadata 'key'),
		k_headers jsonb OPTIONS (metadata 'headers'),
		k_offset bigint OPTIONS (metadata 'offset')
	) SERVER kafka OPTIONS (topic '$odd', max_error_ratio '1');
	CREATE TABLE odd_rows (LIKE odd, CHECK (a <> 13));
	SELECT tidemark.start_ingest('odd', into_table => 'odd_rows')});
produce_lines($odd,
	'{"value": null, "key": "gone"}', '{"value": {"a": 1}, "key": {"hex": "ff00c080"}}',
	'{"value": {"a": 13}}', '{"value": {"a": 2}, "headers": {"h": "\u0000x", "": ""}}',
	'{"value": ""}', '{"value": {"a": 3}}');
wait_for('SELECT count(*) FROM odd_rows WHERE a = 3', 1);
is(query('SELECT k_offset, a, k_key FROM odd_rows ORDER BY 1'),
	"0||\\x676f6e65\n1|1|\\xff00c080\n3|2|\n5|3|", 'a tombstone is a row; any bytes may be a key or header');
is(query("SELECT kafka_offset, stage, sqlstate FROM tidemark.dead_letters WHERE stream = 'odd'::regclass ORDER BY 1"),
	"2|table|23514\n4|decode|22P02", 'refused by the table, and an empty value');

# Everything that decoding and storing can say, in one batch between good ones;
# then a fix and a replay: each that can be good is there once, as if it had never
# been bad.
my $poison = new_topic('poison', 1);
query(qq{
	CREATE DOMAIN tiny AS int CHECK (value < 10);
	CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN
		IF new.k = 'raise' THEN RAISE 'no'; END IF;
		IF new.k = 'custom' THEN RAISE 'no' USING ERRCODE = 'ZZ001'; END IF;
		RETURN new; END \$\$;
	CREATE FOREIGN TABLE poison (
		id int NOT NULL,
		k text,
		n smallint,
		d tiny,
		doc jsonb,
		at timestamptz,
		part text,
		parent int,
		span int4range,
		k_offset bigint OPTIONS (metadata 'offset')
	) SERVER kafka OPTIONS (topic '$poison', event_time 'at', watermark_delay '0 s', max_error_ratio '1', batch_max_delay '1 s');
	CREATE TABLE poison_rows (id int, k text CHECK (k <> 'check'), at timestamptz, part text, parent int, span int4range, k_offset bigint)
		PARTITION BY LIST (part);
	CREATE TABLE poison_parent (id int PRIMARY KEY);
	CREATE TABLE poison_a PARTITION OF poison_rows FOR VALUES IN ('a');
	ALTER TABLE poison_a ADD UNIQUE (id), ADD EXCLUDE USING gist (span WITH &&);
	ALTER TABLE poison_rows ADD FOREIGN KEY (parent) REFERENCES poison_parent DEFERRABLE INITIALLY DEFERRED;
	CREATE TRIGGER guard BEFORE INSERT ON poison_rows FOR EACH ROW EXECUTE FUNCTION guard();
	SELECT tidemark.start_ingest('poison', into_table => 'poison_rows')});
query("CREATE MATERIALIZED VIEW poison_$_ WITH (tidemark.continuous) AS
	SELECT window_start, count(*), sum(id) FROM $_, tidemark.tumble(at, '1 min') GROUP BY window_start") for qw(poison poison_rows);
my @poison = (    # what, SQLSTATE, stage
	[ '{"hex": "7b226964223a312c226b223a22ff227d"}', '22021', 'decode' ],
	[ '{"hex": "7b226964223a317d00"}', '22P02', 'decode' ],
	[ '{"hex": "' . ('5b' x 100_000) . '"}', '54001', 'decode' ],
	[ '{"k": "none"}', '23502', 'decode' ],
	[ '"n": 40000', '22003', 'decode' ], [ '"n": "x"', '22P02', 'decode' ], [ '"d": 10', '23514', 'decode' ],
	[ '"doc": {"a": "\u0000"}', '22P05', 'decode' ], [ '"at": "x"', '22007', 'decode' ], [ '"at": "2026-02-30"', '22008', 'decode' ],
	[ '"span": "[2,1]"', '22000', 'decode' ],
	[ '"k": "check"', '23514', 'table' ], [ '"k": "raise"', 'P0001', 'table' ], [ '"k": "custom"', 'ZZ001', 'table' ],
	[ '"parent": 1', '23503', 'table' ], [ '"part": "b"', '23514', 'table' ], [ '"id": 2', '23505', 'table' ], [ '"span": "[1,3]"', '23P01', 'table' ]);
my ($o, @lines, @letters) = (0);
for my $what (@poison)
{
	push @lines, qq({"partition": 0, "value": {"id": ${\ ($o + 2)}, "at": "2026-01-01T00:00:00Z", "part": "a")
	  . ($o == 0 ? ', "span": "[1,2]"' : '') . '}}';
	push @lines, '{"partition": 0, "value": ' . ($what->[0] =~ /^\{/ ? $what->[0]
		: qq({"id": ${\ ($o + 1001)}, "at": "2026-01-01T00:00:00Z", "part": "a", $what->[0]})) . '}';
	push @letters, join '|', $o + 1, $what->[2], $what->[1];
	$o += 2;
}
produce_lines($poison, @lines, '{"value": {"id": 1, "part": "a", "at": "2026-01-01T00:05:00Z"}}');
wait_for("SELECT count(*) FROM poison_rows WHERE id = 1", 1);
is(query("SELECT kafka_offset, stage, sqlstate FROM tidemark.dead_letters WHERE stream = 'poison'::regclass ORDER BY 1"),
	join("\n", @letters), 'each with its SQLSTATE');
is(query("SELECT count(*), count(DISTINCT k_offset) FROM poison_rows"), join('|', (@poison + 1) x 2), 'and all neighbours');
query(q{
	ALTER DOMAIN tiny DROP CONSTRAINT tiny_check;
	BEGIN;
	ALTER FOREIGN TABLE poison DROP COLUMN n, DROP COLUMN doc, DROP COLUMN span;
	ALTER TABLE poison_rows DROP COLUMN span, DROP CONSTRAINT poison_rows_k_check, DISABLE TRIGGER guard;
	ALTER TABLE poison_a DROP CONSTRAINT poison_a_id_key;
	CREATE TABLE poison_rest PARTITION OF poison_rows DEFAULT;
	INSERT INTO poison_parent VALUES (1);
	COMMIT});
is(query("SELECT * FROM tidemark.replay_dead_letters('poison')"), '12|6', 'replayed while the worker runs');
is(query("SELECT * FROM tidemark.replay_dead_letters('poison')"), '0|6', 'once');
produce_lines($poison, '{"value": {"id": 0, "part": "a", "at": "2026-01-01T00:05:00Z"}}');
wait_for("SELECT count(*) FROM poison_rows WHERE id = 0", 1);
is(query("SELECT count(*), count(DISTINCT k_offset) FROM poison_rows"), join('|', (@poison + 2 + 12) x 2), 'each row once');
is(query("SELECT sqlstate FROM tidemark.dead_letters WHERE stream = 'poison'::regclass ORDER BY kafka_offset"),
	join("\n", qw(22021 22P02 54001 23502 22007 22008)), 'what can never be good stays');
is(query("SELECT * FROM tidemark.verify('$_')"), '', "view $_ agrees") for qw(poison_poison poison_poison_rows);
is(query("SELECT count(*) FROM ((TABLE poison_poison EXCEPT TABLE poison_poison_rows) UNION ALL (TABLE poison_poison_rows EXCEPT TABLE poison_poison)) d"),
	0, 'stream and table agree');

# on_error = 'fail' stops before the message; the operator passes it.
my $strict = new_topic('strict', 1);
query(qq{
	CREATE FOREIGN TABLE strict (a bigint) SERVER kafka OPTIONS (topic '$strict', on_error 'fail');
	CREATE TABLE strict_rows (LIKE strict);
	SELECT tidemark.start_ingest('strict', into_table => 'strict_rows')});
produce_lines($strict, map { qq({"partition": 0, "value": {"a": $_}}) } 1, 2, '"x"', 4);
wait_for("SELECT state FROM tidemark.ingests WHERE stream = 'strict'::regclass", 'failed');
like(query("SELECT reason || ' | ' || hint FROM tidemark.ingests WHERE stream = 'strict'::regclass"),
	qr/bad message at partition 0, offset 2: .* \| .*'\{"0": 3\}'/, 'on_error fail: says where, and what to type');
is(query('SELECT string_agg(a::text, \' \') FROM strict_rows'), '1 2', 'what came before is stored');
query(q{SELECT tidemark.reset_ingest('strict', '{"0": 3}')});
query("SELECT tidemark.resume('strict')");
wait_for("SELECT string_agg(a::text, ' ' ORDER BY a) FROM strict_rows", '1 2 4');

# A wrong format does not turn a whole topic into dead letters.
my $wrong = new_topic('wrong', 1);
query(qq{
	CREATE FOREIGN TABLE wrong (a bigint) SERVER kafka OPTIONS (topic '$wrong', batch_max_rows '1000');
	CREATE TABLE wrong_rows (LIKE wrong);
	SELECT tidemark.start_ingest('wrong', into_table => 'wrong_rows')});
produce_lines($wrong, map { '{"value": "no json"}' } 1 .. 2000);
wait_for("SELECT state FROM tidemark.ingests WHERE stream = 'wrong'::regclass", 'failed');
like(query("SELECT reason FROM tidemark.ingests WHERE stream = 'wrong'::regclass"), qr/max_error_ratio/,
	'too many bad messages: failed');
cmp_ok(query("SELECT count(*) FROM tidemark.dead_letters WHERE stream = 'wrong'::regclass"), '<=', 101,
	'with a handful of dead letters');
done_testing();
