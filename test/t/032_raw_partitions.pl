# Proves that the partitions of a raw table are made and dropped in the
# background while an ingest fills it, that views over it stay right, that a
# crash in the middle leaves nothing half done, that obstacles are shown and
# overcome, and that a dump keeps it, resting in the copy.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
plan skip_all => 'midnight is near' if time % 86_400 > 86_400 - 300;
my $node = new_node('main', 'max_worker_processes' => 24);
skip_without_faults($node);
my $topic = new_topic('parts', 2);
my $day = 86_400;
my $today = int(time / $day) * $day;
my $next_id = 0;

create_kafka_server($node);
$node->safe_psql('postgres', $_) for (
	"ALTER DATABASE postgres SET timezone = 'UTC'",
	'CREATE ROLE app',
	'GRANT CREATE ON SCHEMA public TO app',
	'GRANT USAGE ON FOREIGN SERVER kafka TO app',
	"CREATE FOREIGN TABLE s (id bigint, at timestamptz)
		SERVER kafka OPTIONS (topic '$topic', event_time 'at', batch_max_rows '50')",
	'CREATE TABLE raw (LIKE s) PARTITION BY RANGE (at)',
	'ALTER FOREIGN TABLE s OWNER TO app',
	'ALTER TABLE raw OWNER TO app',
	"SELECT tidemark.partition_by_time('raw', '1 day', premake => 1, since => to_timestamp($today - 10 * $day))",
	"SELECT tidemark.start_ingest('s', into_table => 'raw')",
	q{CREATE MATERIALIZED VIEW days WITH (tidemark.continuous) AS
		SELECT window_start, count(*) AS n, sum(id) AS ids FROM raw, tidemark.tumble(raw.at, '1 day') GROUP BY window_start},
	'CREATE MATERIALIZED VIEW total WITH (tidemark.continuous) AS SELECT count(*) AS n, sum(id) AS ids FROM s');

# Rows spread over the days from today + FROM to today + TO.
sub lines
{
	my ($from, $to, $n) = @_;
	my @lines;

	for my $i (0 .. $n - 1)
	{
		my $at = ($today + $from * $day + int($i * ($to - $from) * $day / $n)) * 1000;
		push @lines, sprintf('{"partition": %d, "timestamp": %d, "value": {"id": %d, "at": "%s"}}',
			$i % 2, $at, $next_id++, iso($at / 1000));
	}
	return @lines;
}

sub iso
{
	my ($seconds) = @_;
	my @t = gmtime $seconds;

	return sprintf('%04d-%02d-%02dT%02d:%02d:%02dZ', $t[5] + 1900, $t[4] + 1, @t[ 3, 2, 1, 0 ]);
}

sub wait_for_rows
{
	wait_until($node, 'SELECT n FROM total', $next_id);
	return;
}

sub check_views
{
	my ($label) = @_;

	is($node->safe_psql('postgres', "SELECT * FROM tidemark.verify('$_')"), '', "$label: verify() of $_")
	  for qw(days total);
	is($node->safe_psql('postgres', 'SELECT sum(n), sum(ids) FROM days'),
		$next_id . '|' . $next_id * ($next_id - 1) / 2, "$label: no row is lost or doubled");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM tidemark.dead_letters'), 0, "$label: no dead letters");
	return;
}

# As if time had passed: the table is due, with what is set besides.
sub make_due
{
	my ($set) = @_;

	$node->safe_psql('postgres', "UPDATE tidemark_state.partitioning SET $set next_run = now()");
	$node->safe_psql('postgres', "SELECT tidemark.alter_ingest('s', workers => 1)");
	return;
}

# First and last day of the table's partitions, relative to today, and their number.
my $parts = qq{
	SELECT min(d), max(d), count(*) FROM (
		SELECT (substr(relname, 6)::date - to_timestamp($today)::date) AS d
		FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhparent = 'raw'::regclass) p};
my $done = 'SELECT next_run > now() AND reason IS NULL FROM tidemark.partitioned_tables';

is($node->safe_psql('postgres', $parts), '-10|1|12', 'made at once, from since on');
produce_lines($topic, lines(-10, 0.01, 400));
wait_for_rows();
check_views('at first');

# made and dropped while rows come
kafka_begin('produce', $topic, \join("\n", lines(-2, 0.01, 2000), ''));
make_due('premake = 4,');
wait_until($node, $done);
is($node->safe_psql('postgres', $parts), '-10|4|15', 'made ahead in the background');
is($node->safe_psql('postgres', "SELECT DISTINCT relowner::regrole FROM pg_class JOIN pg_inherits ON inhrelid = oid WHERE inhparent = 'raw'::regclass"),
	'app', 'for the owner of the table');
make_due("retention = '7 days',");
wait_until($node, $done);
kafka_end();
wait_for_rows();
is($node->safe_psql('postgres', $parts), '-7|4|12', 'dropped in the background');
check_views('dropped');
is($node->safe_psql('postgres', "SELECT from_time, to_time FROM tidemark_state.removed_range"),
	$node->safe_psql('postgres', "SELECT to_timestamp($today - 10 * $day), to_timestamp($today - 7 * $day)"),
	'what was removed is known');
is($node->safe_psql('postgres', 'SELECT count(*) FROM raw'),
	$node->safe_psql('postgres', "SELECT sum(n) FROM days WHERE window_start >= to_timestamp($today - 7 * $day)"),
	'the other rows are there');

# a crash in the middle
for my $case ([ 'made', 'premake = premake + 2,' ], [ 'dropped', "retention = retention - '1 day'::interval," ])
{
	my ($point, $set) = @$case;
	my $before = $node->safe_psql('postgres', $parts);
	my $offset = -s $node->logfile;

	fault($node, "$point:wait");
	make_due($set);
	kill 'KILL', wait_for_fault($node, $point);
	$node->wait_for_log(qr/terminated by signal 9/, $offset);
	wait_until($node, 'SELECT true');
	# the scheduler has started it again already
	wait_for_fault($node, $point);
	is($node->safe_psql('postgres', $parts), $before, "$point, killed: as before");
	fault($node, '');
	wait_until($node, $done);
	produce_lines($topic, lines(-1, 0.01, 100));
	wait_for_rows();
	check_views("$point, killed");
}
is($node->safe_psql('postgres', $parts), '-6|6|13', 'then it is done once');

# readers stop no making; while they stop dropping, that is shown
my $reader = $node->background_psql('postgres');
$reader->query_safe('BEGIN; SELECT count(*) FROM raw');
make_due("premake = premake + 1, retention = '5 days',");
wait_until($node, q{SELECT state || sqlstate FROM tidemark.partitioned_tables}, 'retrying55P03');
is($node->safe_psql('postgres', $parts), '-6|7|14', 'made beside a reader, not dropped');
is($node->safe_psql('postgres', "SELECT role, state IN ('backoff', 'running', 'starting') FROM tidemark.workers WHERE role = 'partitioning'"),
	'partitioning|t', 'a process that is tried again');
produce_lines($topic, lines(-1, 0.01, 100));
wait_for_rows();
$reader->query_safe('COMMIT');
$reader->quit;
wait_until($node, $done);
is($node->safe_psql('postgres', $parts), '-5|7|13', 'dropped when the reader has ended');
check_views('a reader');

# nothing ran for long: an ingest that starts makes what it needs before it reads
$node->safe_psql('postgres', "SELECT tidemark.pause('s')");
$node->safe_psql('postgres', $_) for (
	"DO \$\$ DECLARE p text; BEGIN FOR p IN SELECT inhrelid::regclass FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
		WHERE inhparent = 'raw'::regclass AND substr(relname, 6)::date >= to_timestamp($today)::date LOOP EXECUTE 'DROP TABLE ' || p; END LOOP; END \$\$",
	"UPDATE tidemark_state.partitioning SET made_until = to_timestamp($today), premake = 1, next_run = now() + interval '1 hour'");
produce_lines($topic, lines(0, 0.01, 100));
$node->safe_psql('postgres', "SELECT tidemark.resume('s')");
wait_for_rows();
is($node->safe_psql('postgres', $parts), '-5|1|7', 'made when the ingest started');
is($node->safe_psql('postgres', 'SELECT count(*) FROM tidemark.dead_letters'), 0, 'no dead letters');

# a copy has it, and lets it rest until its ingest goes on
my $file = $node->basedir . '/parts.dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr('postgres') ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->safe_psql('postgres', "ALTER DATABASE copy SET timezone = 'UTC'");
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('copy'), $file ], 'restore');
is($node->safe_psql('copy', 'SELECT parent, state, reason, step, premake, retention FROM tidemark.partitioned_tables'),
	'raw|paused|restored|1 day|1|5 days', 'the copy has it');
$node->safe_psql('copy', "UPDATE tidemark_state.partitioning SET retention = '3 days', next_run = now()");
is($node->safe_psql('copy', $parts), '-5|1|7', 'the copy drops nothing');
$node->safe_psql('copy', "SELECT tidemark.resume('s')");
wait_until($node, $parts, '-3|1|5', 'copy');
is($node->safe_psql('copy', "SELECT state FROM tidemark.partitioned_tables"), 'running', 'it goes on with its ingest');
is($node->safe_psql('copy', "SELECT * FROM tidemark.verify('days')"), '', 'the copy: verify()');

$node->stop;
done_testing();
