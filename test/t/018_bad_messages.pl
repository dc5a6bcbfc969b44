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
