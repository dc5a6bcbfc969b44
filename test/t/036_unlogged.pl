# Proves what a crash of PostgreSQL costs when raw rows go to an unlogged table:
# these rows, and the log says so; no message, and nothing of a view over the
# stream.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $node = new_node('main', 'tidemark.restart_backoff_max' => '200ms', 'tidemark.synchronous_commit' => 'on');
my $topic = new_topic('unlogged', 2);

sub produce
{
	my ($first, $last) = @_;

	produce_lines($topic, map { sprintf '{"partition": %d, "value": {"id": %d, "grp": %d}}', $_ % 2, $_, $_ % 3 } $first .. $last);
	return;
}

sub query
{
	return $node->safe_psql('postgres', $_[0]);
}

create_kafka_server($node);
query(qq{
	CREATE FOREIGN TABLE s (id bigint, grp int)
		SERVER kafka OPTIONS (topic '$topic', unlogged_table 'lose_rows_on_crash');
	CREATE UNLOGGED TABLE u (id bigint, grp int);
	CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS SELECT grp, count(*) AS n, sum(id) AS total FROM s GROUP BY grp});
query("SELECT tidemark.alter_ingest('s', into_table => 'u')");
produce(1, 100);
wait_until($node, 'SELECT count(*) FROM u', 100);
unlike(slurp_file($node->logfile), qr/is empty after/, 'nothing is said while nothing is lost');

my $offset = -s $node->logfile;
kill 'KILL', query("SELECT pid FROM tidemark.workers WHERE role = 'ingest'");
$node->wait_for_log(qr/WARNING:  table "u" is empty after 100 rows were stored/, $offset);
produce(101, 150);
wait_until($node, 'SELECT count(*) FROM u', 50);
is(query('SELECT min(id), max(id) FROM u'), '101|150', 'the table has what came after the crash');
is(query('SELECT sum(n), sum(total) FROM v'), '150|11325', 'the view has everything');
is(query("SELECT count(*) FROM tidemark.verify('v')"), '0', 'and is what its query says');
is(query("SELECT sum(rows), sum(dead_letters) FROM tidemark.partitions"), '150|0', 'each message was read once');

$offset = -s $node->logfile;
kill 'KILL', query("SELECT pid FROM tidemark.workers WHERE role = 'ingest'");
$node->wait_for_log(qr/WARNING:  table "u" is empty after 150 rows were stored/, $offset);
done_testing();
