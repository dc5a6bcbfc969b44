# Proves when a partition of a real broker counts as idle, so that the watermark
# of the stream no longer waits for it: after silence and an answer that names
# its end, never while the brokers are gone or the ingest is paused; and that
# the watermark follows the time only while they answer.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_java();
start_own_broker();
my $node = new_node('main', 'tidemark.restart_backoff_max' => '200ms', 'TimeZone' => 'UTC');
my $topic = new_topic('idle', 2);
my $id = 0;

my $watermark = "SELECT to_char(watermark, 'HH24:MI') FROM tidemark.ingests";
my $reason = 'SELECT watermark_reason FROM tidemark.ingests';
my $idle = "SELECT string_agg(partition::text, ' ' ORDER BY partition) FROM tidemark.partitions WHERE idle";

sub query { return $node->safe_psql('postgres', $_[0]); }

# Messages [partition, time of day], and wait until they are applied.
sub produce
{
	my @lines =
	  map { sprintf '{"partition": %d, "value": {"id": %d, "at": "2020-01-01T%sZ"}}', $_->[0], $id++, $_->[1] } @_;

	produce_lines($topic, @lines);
	wait_until($node, 'SELECT count(*) FROM t', $id);
	return;
}

# An option of the stream; reading starts anew.
sub set_option
{
	my ($name, $value) = @_;

	query("ALTER FOREIGN TABLE s OPTIONS (SET $name '$value')");
	return;
}

create_kafka_server($node);
query(qq{CREATE FOREIGN TABLE s (id int, at timestamptz, wm timestamptz OPTIONS (metadata 'watermark'))
	SERVER kafka OPTIONS (topic '$topic', event_time 'at', watermark_idle_timeout 'infinity', watermark_when_idle 'hold')});
query('CREATE TABLE t (LIKE s)');
query("SELECT tidemark.start_ingest('s', into_table => 't', workers => 2)");

# the slowest partition holds it, as long as it is not idle
produce([ 0, '12:00' ], [ 1, '11:00' ]);
wait_until($node, $watermark, '11:00');
is(query($reason), 'partition 1 is 60 min behind the others', 'the slowest partition is named');
is(query($idle), '', 'never idle');
set_option('watermark_idle_timeout', '100 ms');
wait_until($node, $idle, '0 1');
wait_until($node, $watermark, '12:00');
is(query($reason), 'all partitions are idle', 'both are idle, and the reason says so');

# back with its next message, and idle again
my $since = query('SELECT idle_since FROM tidemark_state.partition WHERE partition = 1');
produce([ 1, '11:30' ]);
wait_until($node, "SELECT idle_since > '$since' FROM tidemark_state.partition WHERE partition = 1", 't');
is(query('SELECT to_char(wm, $$HH24:MI$$) FROM t WHERE id = 2'), '11:00', 'rows are judged by their own partition');
is(query($watermark), '12:00', 'it pulls nothing back');

# a process that is not there finds nothing idle
query('ALTER SYSTEM SET tidemark.enabled = off');
$node->reload;
wait_until($node, $idle, '');
query('ALTER SYSTEM RESET tidemark.enabled');
$node->reload;
wait_until($node, $idle, '0 1');

# a new partition holds the watermark until it has a row or is idle
set_option('watermark_idle_timeout', 'infinity');
wait_until($node, $idle, '');
kafka('partitions', $topic, 3);
set_option('watermark_when_idle', 'hold');
wait_until($node, "SELECT count(*) FROM tidemark.partitions", 3);
produce([ 0, '12:30' ], [ 1, '12:31' ]);
is(query($watermark), '12:00', 'a new partition holds the watermark');
is(query($reason), 'partition 2 has no rows yet', 'it is named');
set_option('watermark_idle_timeout', '100 ms');
wait_until($node, $idle, '0 1 2');
wait_until($node, $watermark, '12:31');

# paused: not idle, and what came meanwhile is waited for
query("SELECT tidemark.pause('s')");
is(query($idle), '', 'paused: not idle');
set_option('watermark_idle_timeout', 'infinity');
produce_lines($topic, map { qq({"partition": $_, "value": {"id": ${\ $id++}, "at": "2020-01-01T1${\ (5 - $_)}:00Z"}}) } 0 .. 2);
query("SELECT tidemark.resume('s')");
wait_until($node, 'SELECT count(*) FROM t', $id);
# (of two workers that commit at the same time neither sees the other; one looks again)
wait_until($node, $watermark, '13:00');
set_option('watermark_idle_timeout', '100 ms');
wait_until($node, $watermark, '15:00');

# another worker takes a partition over, although it was quiet itself
query("SELECT tidemark.alter_ingest('s', workers => 1)");
produce([ 1, '15:01' ]);
wait_until($node, $idle, '0 1 2');
is(query($watermark), '15:01', 'one worker instead of two');

# without an answer nothing becomes idle, and nothing stays so
own_broker('kill');
wait_until($node, $idle, '');
wait_until($node, "SELECT state FROM tidemark.ingests", 'retrying');
is(query('SELECT count(*) FROM tidemark_state.partition WHERE idle_since IS NOT NULL'), 0, 'broker gone: nothing is idle');
own_broker('start');
wait_until($node, $idle, '0 1 2');

# wall_clock: time passes for a view that closes windows, while the broker answers
query(q{CREATE MATERIALIZED VIEW v WITH (tidemark.continuous, tidemark.allowed_lateness = '0 s') AS
	SELECT window_start, count(*) FROM s, tidemark.tumble(at, '1 min') GROUP BY window_start});
wait_until($node, "SELECT state FROM tidemark.views", 'live');
set_option('watermark_when_idle', 'wall_clock');
for (1 .. 3)
{
	my $before = query('SELECT clock_timestamp()');
	wait_until($node, "SELECT watermark > '$before' FROM tidemark.ingests", 't');
}
pass('all idle: the watermark follows the time');
cmp_ok(query("SELECT count(*) FROM tidemark.ingests WHERE watermark < now() - interval '100 ms'"), '==', 1, 'at a distance');
own_broker('kill');
wait_until($node, $idle, '');
my $last = query('SELECT watermark FROM tidemark.ingests');
wait_until($node, "SELECT clock_timestamp() > '$last'::timestamptz + interval '5 s'", 't');
is(query('SELECT watermark FROM tidemark.ingests'), $last, 'broker gone: time does not pass');
own_broker('start');
wait_until($node, "SELECT watermark > '$last' FROM tidemark.ingests", 't');
is(query("SELECT state FROM tidemark.ingests"), 'running', 'and goes on');

$node->stop;
done_testing();
