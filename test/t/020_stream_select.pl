# Proves that SELECT on a stream over a real broker gives what a read_committed
# consumer is given, reads only what its conditions need, and can be cancelled.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use IO::Socket::INET;
use Time::HiRes qw(time);
use TidemarkTest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $node = new_node('main');
my $brokers = brokers();
my $topic = new_topic('select', 3);

sub query { return $node->safe_psql('postgres', $_[0]); }

# standard output and messages of one command
sub query_messages
{
	my ($out, $err);
	$node->psql('postgres', $_[0], stdout => \$out, stderr => \$err);
	return ($out, $err);
}

sub create_stream
{
	my ($name, $topic, $extra) = @_;
	query(qq{CREATE FOREIGN TABLE $name (
		id int NOT NULL, name text,
		k_part int OPTIONS (metadata 'partition'),
		k_offset bigint OPTIONS (metadata 'offset'),
		k_ts timestamptz OPTIONS (metadata 'timestamp'),
		k_key text OPTIONS (metadata 'key'),
		k_headers jsonb OPTIONS (metadata 'headers'),
		k_wm timestamptz OPTIONS (metadata 'watermark')
		) SERVER kafka OPTIONS (topic '$topic'} . ($extra // '') . ')');
}

query("CREATE SERVER kafka FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '$brokers')");
create_stream('s', $topic);

# an empty topic ends at once
is(query('SELECT count(*) FROM s'), 0, 'empty topic');

my $t0 = 1767225600000;    # 2026-01-01 00:00:00 UTC
produce_lines($topic, map {
	sprintf '{"value": {"id": %d, "name": "n"}, "partition": %d, "timestamp": %d, "key": "k%d"}',
	  $_, $_ % 3, $t0 + 1000 * $_, $_
} 0 .. 2999);

is(query('SELECT count(*), sum(id), min(k_offset), max(k_offset), count(DISTINCT k_part) FROM s'),
	'3000|4498500|0|999|3', 'whole topic');
is(query('SELECT id, k_key, k_headers FROM s WHERE k_part = 1 AND k_offset = 7'),
	'22|k22|{}', 'one message by position');
is(query("SELECT count(*), min(id) FROM s WHERE k_ts >= '2026-01-01 00:49:00+00'"),
	'60|2940', 'start by timestamp');
is(query("SELECT count(*) FROM s WHERE k_ts >= '2027-01-01'"), 0, 'timestamp beyond the end');

# what is read
sub messages_read
{
	my $plan = query("EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) $_[0]");
	return $plan =~ /Messages: (\d+)/ ? $1 : undef;
}
is(messages_read('SELECT id FROM s WHERE k_part = 2 AND k_offset BETWEEN 100 AND 149'), 50, 'partition and offset');
is(messages_read('SELECT id FROM s WHERE k_offset < 10'), 30, 'offset in all partitions');
is(messages_read("SELECT id FROM s WHERE k_ts > '2026-01-01 00:48:59.5+00'"), 60, 'timestamp');
is(messages_read('SELECT id FROM s WHERE k_part = 17'), 0, 'no such partition');
cmp_ok(messages_read('SELECT id FROM s LIMIT 5'), '<', 500, 'LIMIT stops reading');
is(messages_read('SELECT * FROM generate_series(1, 3) g, LATERAL (SELECT id FROM s WHERE k_part = 0 AND k_offset = g OFFSET 0) x'),
	3, 'rescans with parameters');
like(query('EXPLAIN (COSTS OFF) SELECT id FROM s WHERE k_offset >= 5'),
	qr/Topic: \Q$topic\E\n\s+Partitions: all\n\s+Ranges: offset >= 5/, 'EXPLAIN');
is(query('SELECT count(*) FROM s a JOIN s b USING (id)'), 3000, 'two scans in one query');
is(query("BEGIN; DECLARE c CURSOR FOR SELECT id FROM s; FETCH 1 FROM c; CLOSE c; COMMIT; SELECT 1") =~ /1$/, 1,
	'cursor closed early');

# transactions: aborted ones are not seen, control records at the end do not hang
my $txn = new_topic('txn', 1);
create_stream('txn', $txn);
kafka('produce', $txn, '--txn', "a$$", \'{"value": {"id": 1}, "partition": 0}');
kafka('produce', $txn, '--txn', "b$$", '--abort', \'{"value": {"id": 2}, "partition": 0}');
is(query('SELECT id, k_offset FROM txn'), '1|0', 'aborted transaction');
kafka('produce', $txn, '--txn', "c$$", \'{"value": {"id": 3}, "partition": 0}');
is(query('SELECT array_agg(id ORDER BY id) FROM txn'), '{1,3}', 'gaps in offsets');
kafka('produce', $txn, '--txn', "d$$", '--hang', \'{"value": {"id": 4}, "partition": 0}');
is(query('SELECT array_agg(id ORDER BY id) FROM txn'), '{1,3}', 'open transaction');
query("ALTER FOREIGN TABLE txn OPTIONS (ADD isolation_level 'read_uncommitted')");
is(query('SELECT array_agg(id ORDER BY id) FROM txn'), '{1,2,3,4}', 'read_uncommitted');

# tombstones, headers, bad messages
my $odd = new_topic('odd', 1);
create_stream('odd', $odd);
produce_lines($odd,
	'{"value": {"id": 1}, "key": "k", "partition": 0, "headers": {"a": "x", "b": null}}',
	'{"value": null, "key": "k", "partition": 0}',
	'{"value": "not json", "partition": 0}',
	'{"value": {"hex": "c080ff"}, "partition": 0}',
	'{"value": {"id": "seven"}, "partition": 0}',
	'{"value": {"id": 6, "Name": "x"}, "partition": 0}');
my ($out, $err) = query_messages('SELECT id, k_offset, k_headers FROM odd');
is($out, qq{1|0|{"a": "x", "b": null}\n6|5|{}}, 'neighbours of bad messages');
like($err, qr/WARNING:  4 bad messages of stream "odd" were skipped\nDETAIL:  The first is in partition 0 at offset 1: /, 'WARNING');
like($err, qr/NOTICE:  no message of stream "odd" had a member for: .*"name".*"Name"/, 'NOTICE of a near miss');
query('ALTER FOREIGN TABLE odd ALTER COLUMN id DROP NOT NULL');
is(query('SELECT count(*) FILTER (WHERE id IS NULL), count(*) FROM odd'), '1|3', 'a tombstone is a row of NULLs');

# DDL takes effect at the next scan
query('ALTER FOREIGN TABLE s ADD COLUMN again int OPTIONS (field \'id\')');
is(query('SELECT id, again FROM s WHERE k_part = 0 AND k_offset = 1'), '3|3', 'ADD COLUMN');
query('ALTER FOREIGN TABLE s DROP COLUMN name');
is(query('SELECT id, again FROM s WHERE k_part = 0 AND k_offset = 1'), '3|3', 'DROP COLUMN');

# the head of the log is gone
kafka('trim', $topic, 0, 500);
is(query('SELECT count(*), min(k_offset) FROM s WHERE k_part = 0'), '500|500', 'after retention');

# mistakes
create_stream('nowhere', "absent$$");
($out, $err) = query_messages('\set VERBOSITY verbose' . "\n" . 'SELECT count(*) FROM nowhere');
like($err, qr/ERROR:  42P01: .*absent$$/, 'topic that does not exist');

# cancel: a broker that accepts and says nothing, and one that is not there
my $silent = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die;
query("CREATE SERVER silent FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '127.0.0.1:" . $silent->sockport . "')");
query("CREATE FOREIGN TABLE silent (id int) SERVER silent OPTIONS (topic 'x')");
my $start = time;
($out, $err) = query_messages("SET statement_timeout = '500ms'; SELECT count(*) FROM silent");
like($err, qr/canceling statement due to statement timeout/, 'cancelled');
cmp_ok(time - $start, '<', 6, 'long before the broker is given up');
close $silent;
($out, $err) = query_messages('\set VERBOSITY verbose' . "\n" . 'SELECT count(*) FROM silent');
like($err, qr/ERROR:  08\d\d\d: /, 'broker that cannot be reached');

# no secret in a message
query("CREATE USER MAPPING FOR PUBLIC SERVER silent OPTIONS (sasl_username 'u', sasl_password 'marker-secret')");
query("ALTER SERVER silent OPTIONS (ADD security_protocol 'sasl_plaintext', ADD sasl_mechanism 'PLAIN')");
($out, $err) = query_messages('SELECT count(*) FROM silent');
unlike($err, qr/marker-secret/, 'no secret');

kafka('delete', $_) foreach ($topic, $txn, $odd);
$node->stop;
done_testing();
