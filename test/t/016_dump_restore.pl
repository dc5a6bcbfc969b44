# Proves that a dumped and restored, or cloned, database has its views, starts
# nothing by itself, and goes on exactly once when told to (fault matrix, rows
# 25 and 28).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $node = new_node('main', 'tidemark.max_workers' => 12, 'max_worker_processes' => 24);
my $topic = new_topic('dump', 3);
my $folder = $node->basedir;

start_ids($node, 's', $topic);
produce_ids($topic, 3, 500);
wait_for_ids($node, 's', $topic);

# Dump database postgres in one way, restore it as another database.
sub dump_restore
{
	my ($copy, @options) = @_;
	my $file = "$folder/$copy.dump";

	$node->command_ok([ 'pg_dump', @options, '-f', $file, $node->connstr('postgres') ], "$copy: dump");
	$node->safe_psql('postgres', "CREATE DATABASE $copy");
	$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr($copy), $file ],
		"$copy: restore");
	return;
}

my $views = join ' UNION ALL ',
	map { "SELECT '$_', json_agg(r ORDER BY grp)::text FROM $_ r" } qw(s_table s_stream);

# What a copy must be before anybody has touched it, and after it was resumed.
sub check_paused
{
	my ($copy) = @_;

	is($node->safe_psql($copy, "SELECT state, reason, hint IS NOT NULL FROM tidemark.ingests"),
		'paused|restored|t', "$copy: the ingest is paused");
	is($node->safe_psql($copy, "SELECT DISTINCT state, reason FROM tidemark.views"),
		'paused|restored', "$copy: so are the views");
	return;
}

sub check_resumed
{
	my ($copy) = @_;
	my $n = produced($topic);

	$node->safe_psql($copy,
		"SELECT tidemark.resume(stream) FROM tidemark.ingests WHERE state = 'paused'");
	wait_until($node, "SELECT (SELECT count(*) FROM s_rows) + (SELECT count(*) FROM tidemark.dead_letters)",
		$n, $copy);
	is($node->safe_psql($copy, ids_sql('s')), "$n|$n|$n|0|0|0", "$copy: exactly once after resume()");
	is($node->safe_psql($copy, "SELECT * FROM tidemark.verify('$_')"), '', "$copy: verify() of $_")
	  for qw(s_table s_stream);
	return;
}

for my $format ([ 'custom', '-Fc' ], [ 'folder', '-Fd', '-j2' ])
{
	my ($copy, @options) = @$format;

	dump_restore($copy, @options);
	check_paused($copy);
	is($node->safe_psql($copy, $views), $node->safe_psql('postgres', $views), "$copy: the views are equal");
	produce_ids($topic, 3, 100);
	check_resumed($copy);
	wait_for_ids($node, 's', $topic);
	check_ids($node, 's', $topic, "the original beside $copy");
}

# dumped in the middle of work
produce_ids_begin($topic, 3, 3000);
dump_restore('busy', '-Fc');
kafka_end();
check_resumed('busy');

# without data: an error, never an empty view
dump_restore('bare', '-Fc', '--schema-only');
my ($ret, $out, $err) = $node->psql('bare', 'SELECT * FROM s_table');
like($err, qr/has not been populated.*HINT: .*drop and create it again/s, 'schema only: not populated');

is($node->safe_psql('bare', q{DROP MATERIALIZED VIEW s_table; DROP VIEW s_stream;
	SELECT count(*) FROM pg_class WHERE relnamespace = 'tidemark_state'::regnamespace AND relname ~ '^[qs]_[0-9]+$'}),
	0, 'schema only: DROP of the views leaves nothing behind');

# a clone
for my $name (qw(custom folder busy))
{
	$node->safe_psql('postgres', "DROP DATABASE $name");
}
$node->safe_psql('template1', 'CREATE DATABASE clone TEMPLATE postgres');
check_paused('clone');
produce_ids($topic, 3, 100);
wait_for_ids($node, 's', $topic);
check_ids($node, 's', $topic, 'the template goes on');
check_resumed('clone');

# an owner who is no superuser can dump what is his
$node->safe_psql('postgres', 'CREATE ROLE app LOGIN');
$node->safe_psql('postgres', 'CREATE DATABASE app OWNER app');
$node->safe_psql('app', q{
	CREATE EXTENSION tidemark;
	CREATE SERVER m FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
	GRANT USAGE ON FOREIGN SERVER m TO app;
	GRANT CREATE ON SCHEMA public TO app});
$node->safe_psql('app', $_, extra_params => [ '-U', 'app' ]) for (
	"CREATE FOREIGN TABLE c (k int, x numeric) SERVER m OPTIONS (topic 'c')",
	"CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS SELECT k, count(*), avg(x) FROM c GROUP BY k",
	q{SELECT tidemark.inject('c', ARRAY['{"k":1,"x":2}','{"k":1,"x":4}','{"k":2,"x":5}'])},
	"CREATE FOREIGN TABLE d (k int, x date) SERVER m OPTIONS (topic 'd')",
	'CREATE TABLE d_rows (LIKE d) PARTITION BY RANGE (x)',
	"CREATE TABLE d_1 PARTITION OF d_rows FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')",
	"CREATE TABLE d_2 PARTITION OF d_rows FOR VALUES FROM ('2026-01-02') TO ('2026-01-03')",
	"SELECT tidemark.start_ingest('d', into_table => 'd_rows')",
	"CREATE MATERIALIZED VIEW w WITH (tidemark.continuous) AS SELECT x, count(*) FROM d_rows GROUP BY x",
	q{SELECT tidemark.inject('d', ARRAY['{"x":"2026-01-01"}','{"x":"2026-01-02"}'])},
	'TRUNCATE d_1');
$node->command_ok([ 'pg_dump', '-Fc', '-U', 'app', '-f', "$folder/app.dump", $node->connstr('app') ],
	'dump by an owner');
$node->safe_psql('postgres', 'CREATE DATABASE app2');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('app2'), "$folder/app.dump" ],
	'restore by a superuser');
is($node->safe_psql('app2', 'SELECT k, count, round(avg, 1) FROM v ORDER BY k'), "1|2|3.0\n2|1|5.0",
	'its view');
$node->safe_psql('app2', $_, extra_params => [ '-U', 'app' ]) for (
	"SELECT tidemark.resume('c')", q{SELECT tidemark.inject('c', '{"k":2,"x":7}')});
is($node->safe_psql('app2', "SELECT * FROM tidemark.verify('v')"), '', 'resumed, its view equals its query');

# raw rows that were removed, before the dump and before resume(), are known
$node->safe_psql('app2', $_, extra_params => [ '-U', 'app' ]) for (
	'DROP TABLE d_2', "SELECT tidemark.resume('d')");
($ret, $out, $err) = $node->psql('app2', "SELECT * FROM tidemark.verify('w')");
is($out, '', 'verify() leaves groups out that have lost rows');
like($err, qr/2 groups of continuous view "w".*from 2026-01-01 00:00:00 up to 2026-01-03/s, 'and says which');

$node->stop;
done_testing();
