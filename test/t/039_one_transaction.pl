# Proves that what is done to an ingest in one transaction, so that it runs
# before and after, is noticed: by quiet workers at once, and by a worker that
# holds messages from where the catalog does not stand any more.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
# the look for new partitions must not be what helps
my $node = new_node('main', 'tidemark.partition_check_interval' => '1h', 'tidemark.restart_backoff_max' => '200ms');
skip_without_faults($node);

sub query { return $node->safe_psql('postgres', $_[0], extra_params => ['-q']); }

sub produce
{
	my ($topic, $partition, @ids) = @_;
	produce_lines($topic, map { qq({"partition": $partition, "value": {"id": $_}}) } @ids);
	return;
}

create_kafka_server($node);
my $ids  = "SELECT count(*) || ' ' || count(DISTINCT id) FROM t";
my $busy = q{SELECT count(*) FROM pg_stat_activity WHERE query = 'waiting at fault point "polled"'};
my $again = q{BEGIN; SELECT tidemark.drop_ingest('s'); TRUNCATE t;
	SELECT tidemark.start_ingest('s', into_table => 't', workers => 2); COMMIT};

# Dropped and started again while nothing comes: all is read from the start.
my $topic = new_topic('again', 2);
query(qq{CREATE FOREIGN TABLE s (id bigint) SERVER kafka OPTIONS (topic '$topic');
	CREATE TABLE t (LIKE s);
	SELECT tidemark.start_ingest('s', into_table => 't', workers => 2)});
produce($topic, 0, 0 .. 499);
produce($topic, 1, 500 .. 999);
wait_until($node, $ids, '1000 1000');
query($again);
wait_until($node, $ids, '1000 1000');
pass('quiet workers read again');

# The same while the second worker holds a message of its partition, which is
# ahead of where the new ingest is to begin.
fault($node, 'polled:wait');
produce($topic, 1, 1000);
wait_for_fault($node, 'polled');
is(query($busy), 1, 'one worker holds a message');
query($again);
# the other one has begun anew, and has made the rows of both partitions
wait_until($node, $busy, 2);
is(query('SELECT string_agg(next_offset::text, $$ $$) FROM tidemark_state.partition'), '0 0', 'the catalog is at the start');
fault($node, '');
wait_until($node, $ids, '1001 1001');
is(query(q{SELECT state, lag, skipped, rows FROM tidemark.ingests}), 'running|0|0|1001', 'nothing is left out');
query(q{SELECT tidemark.drop_ingest('s')});

# Paused, reset and resumed while a worker holds messages: it goes on elsewhere.
my $log = new_topic('reset', 1);
query(qq{CREATE FOREIGN TABLE z (id bigint) SERVER kafka OPTIONS (topic '$log');
	CREATE TABLE z_rows (LIKE z);
	SELECT tidemark.start_ingest('z', into_table => 'z_rows')});
produce($log, 0, 0 .. 49);
wait_until($node, 'SELECT count(*) FROM z_rows', 50);
fault($node, 'polled:wait');
produce($log, 0, 50 .. 99);
wait_for_fault($node, 'polled');
query(q{BEGIN; SELECT tidemark.pause('z'); SELECT tidemark.reset_ingest('z', '{"0": 90}');
	SELECT tidemark.resume('z'); COMMIT});
fault($node, '');
wait_until($node, 'SELECT count(*) FROM z_rows', 60);
is(query(q{SELECT state, skipped, reason FROM tidemark.ingests WHERE stream = 'z'::regclass}), 'running|40|', 'it runs');
is(query('SELECT min(id), max(id) FROM z_rows WHERE id > 49'), '90|99', 'read from where it was put');

# A view is defined anew, and with it the ingest that was made for it.
my $view = q{CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS SELECT count(*) AS n, max(id) FROM s};
query($view);
wait_until($node, 'SELECT n FROM v', 1001);
query("BEGIN; DROP MATERIALIZED VIEW v; $view; COMMIT");
wait_until($node, 'SELECT state FROM tidemark.views', 'live');
is(query('SELECT n FROM v'), 1001, 'the new view has it all');
is(query(q{SELECT count(*) FROM tidemark.verify('v')}), 0, 'verify()');
$node->stop('fast');
done_testing();
