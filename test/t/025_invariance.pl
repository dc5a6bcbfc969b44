# Proves that views, and which rows are late, depend on nothing but what each
# partition holds in the order of its offsets: not on the size of batches, the
# number of workers, kills, pauses, or whether a view was there before the rows.
# $SEED repeats a run's rows and choices.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $seed = $ENV{SEED} || int(rand(2**31));
srand($seed);
note("SEED=$seed");

my $rows = 1200;
my $partitions = 4;
my $node = new_node('main', 'tidemark.restart_backoff_max' => '200ms', 'tidemark.max_workers' => 20,
	'max_worker_processes' => 32);
my $topic = new_topic('invariance', $partitions);
create_kafka_server($node);

sub query
{
	return $node->safe_psql('postgres', $_[0]);
}

# One log for all.  Partitions run at different speeds; most rows are a little
# out of order, some are far too late.
my $base = 1_767_225_600;    # 2026-01-01 00:00:00 UTC
my @clock = map { $_ * 7 } 0 .. $partitions - 1;
my @lines;
for my $id (0 .. $rows - 1)
{
	my $partition = int rand $partitions;
	my $at = $clock[$partition] += rand 2;
	$at -= rand() < 0.1 ? rand 60 : rand 4;
	$at = 0 if $at < 0;
	push @lines, sprintf '{"partition": %d, "timestamp": %d, "value": {"id": %d, "who": %d, "val": %d, "at": %.3f}}',
	  $partition, ($base + $id) * 1000, $id, int rand 5, int rand 1000, $base + $at;
}
produce_lines($topic, @lines);

# The views of one stream: over the stream and over its table.
my %views = (
	tumble => [ "allowed_lateness = '3 s', tidemark.late = 'table'", 'window_start, window_end, who',
		"tidemark.tumble(at, '10 s')" ],
	hop => [ "allowed_lateness = '0 s', tidemark.late = 'table'", 'window_start, window_end',
		"tidemark.hop(at, '5 s', '20 s')" ],
	final => [ "emit = 'final'", 'window_start, window_end, who', "tidemark.tumble(at, '10 s')" ],
	always => [ "allowed_lateness = 'infinity'", 'window_start, window_end, who',
		"tidemark.tumble(at, '10 s')" ]);
my @sources = ('stream', 'rows');

sub view_sql
{
	my ($name, $source, $kind) = @_;
	my ($options, $keys, $window) = @{ $views{$kind} };
	my $from = $source eq 'stream' ? $name : "${name}_rows";

	return "CREATE MATERIALIZED VIEW ${name}_${source}_$kind WITH (tidemark.continuous, tidemark.$options) AS "
	  . "SELECT $keys, count(*) AS n, sum(val) AS total, avg(val) AS mean FROM $from, $window GROUP BY $keys";
}

sub session_sql
{
	my ($name, $source) = @_;
	my $from = $source eq 'stream' ? $name : "${name}_rows";

	return "CREATE MATERIALIZED VIEW ${name}_${source}_session WITH (tidemark.continuous, "
	  . "tidemark.allowed_lateness = '2 s', tidemark.late = 'table') AS "
	  . "SELECT who, session_start, session_end, count(*) AS n, sum(val) AS total FROM (SELECT who, val, "
	  . "tidemark.session_start(at, '2 s') OVER w AS session_start, tidemark.session_end(at, '2 s') OVER w AS session_end "
	  . "FROM $from WINDOW w AS (PARTITION BY who ORDER BY at)) s GROUP BY who, session_start, session_end";
}

my @kinds = (sort(keys %views), 'session');

sub create_views
{
	my ($name) = @_;

	for my $source (@sources)
	{
		query(view_sql($name, $source, $_)) for sort keys %views;
		query(session_sql($name, $source));
	}
	return;
}

sub create_stream
{
	my ($name, $batch) = @_;

	query(qq{
		CREATE FOREIGN TABLE $name (
			id bigint NOT NULL,
			who int,
			val int,
			at timestamptz OPTIONS (time_unit 's'),
			k_part int OPTIONS (metadata 'partition'),
			k_offset bigint OPTIONS (metadata 'offset'),
			k_wm timestamptz OPTIONS (metadata 'watermark')
		) SERVER kafka OPTIONS (topic '$topic', event_time 'at', watermark_delay '2 s',
			watermark_idle_timeout 'infinity', watermark_max_future 'infinity', batch_max_rows '$batch');
		CREATE TABLE ${name}_rows (LIKE $name)});
	return;
}

# The same log under different conditions.
my %streams = (
	one => { batch => 1, workers => 1 },
	seven => { batch => 7, workers => 2, kills => 6 },
	many => { batch => 1000, workers => 4, kills => 2, pauses => 2 },
	after => { batch => 50000, workers => 1, views_after => 1 });

for my $name (sort keys %streams)
{
	my $stream = $streams{$name};

	create_stream($name, $stream->{batch});
	query("SELECT tidemark.start_ingest('$name', into_table => '${name}_rows', workers => $stream->{workers})");
	create_views($name) unless $stream->{views_after};
}
for my $name (sort keys %streams)
{
	for (1 .. $streams{$name}{kills} || 0)
	{
		my $pid = worker_pid($node, $name, int rand $streams{$name}{workers});
		query("SELECT pg_terminate_backend($pid)");
	}
	for (1 .. $streams{$name}{pauses} || 0)
	{
		query("SELECT tidemark.pause('$name')");
		query("ALTER FOREIGN TABLE $name OPTIONS (SET batch_max_rows '${\ int(1 + rand 100)}')");
		query("SELECT tidemark.resume('$name')");
	}
}
wait_until($node, "SELECT count(*) FROM ${_}_rows", $rows) for sort keys %streams;
create_views('after');
wait_until($node, "SELECT bool_and(state = 'live') FROM tidemark.views");
# the last windows may be closed by a batch of their own
wait_until($node, "SELECT count(DISTINCT coalesce(closed_until::text, '')) FROM tidemark_state.view_stats "
	  . "JOIN tidemark_state.view USING (state_table) WHERE view::text LIKE '%_final'", 1);

# Late rows by plain SQL: the watermark as of a row is the highest event time
# of its partition before it, less the delay.
my $judged = "(SELECT *, max(at) OVER (PARTITION BY k_part ORDER BY k_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) "
  . "- interval '2 s' AS mark FROM one_rows)";
is(query("SELECT count(*) FROM $judged j WHERE k_wm IS DISTINCT FROM mark"), 0, 'watermarks as of the rows');

my %late = (
	tumble => "SELECT k_part, k_offset, window_start FROM $judged j, tidemark.tumble(at, '10 s') WHERE window_end + interval '3 s' <= mark",
	hop => "SELECT k_part, k_offset, window_start FROM $judged j, tidemark.hop(at, '5 s', '20 s') WHERE window_end <= mark",
	session => "SELECT k_part, k_offset, NULL::timestamptz FROM $judged j WHERE at + interval '2 s' < mark");
for my $kind (sort keys %late)
{
	cmp_ok(query("SELECT count(*) FROM ($late{$kind}) l"), '>', 0, "$kind: there are late rows");
	for my $name (sort keys %streams)
	{
		for my $source (@sources)
		{
			my $kept = "SELECT partition, kafka_offset, window_start FROM tidemark.late_rows WHERE view = '${name}_${source}_$kind'::regclass";
			is(query("SELECT count(*) FROM (($late{$kind} EXCEPT ALL $kept) UNION ALL ($kept EXCEPT ALL $late{$kind})) d"),
				0, "$kind over the $source of $name: the late rows are those of the oracle");
		}
	}
}

# Equal views, equal to their own queries.
for my $kind (@kinds)
{
	for my $name (sort keys %streams)
	{
		for my $source (@sources)
		{
			my $view = "${name}_${source}_$kind";
			my $columns = $kind eq 'session' ? 'who, session_start, session_end, n, total' :
			  $views{$kind}[1] . ', n, total, mean';
			my ($a, $b) = map { "SELECT $columns FROM $_" } $view, "one_stream_$kind";

			is(query("SELECT count(*) FROM (($a EXCEPT ALL $b) UNION ALL ($b EXCEPT ALL $a)) d"), 0, "$view: as the others");
			is(query("SELECT * FROM tidemark.verify('$view')"), '', "$view: verify()");
		}
	}
	cmp_ok(query("SELECT count(*) FROM one_stream_$kind"), '>', 10, "$kind: has groups");
}
is(query("SELECT count(*) FROM one_stream_final f WHERE closed_at IS NULL"), 0, 'final: closed_at');

$node->stop;
done_testing();
