# Proves that each closed window appears exactly once, and leaves exactly once,
# although the worker is killed, terminated or cancelled while it closes and
# prunes windows (fault matrix, P10 and P11); that one commit closes a bounded
# number of groups; and that workers notify.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $node = new_node('main', 'tidemark.restart_backoff_max' => '200ms');
skip_without_faults($node);
my $topic = new_topic('closing', 2);
my $next = 0;

# One message per second of event time, in order in each partition.
sub produce
{
	my ($count) = @_;
	my @lines;

	for my $id ($next .. $next + $count - 1)
	{
		push @lines, sprintf '{"partition": %d, "value": {"id": %d, "grp": %d, "at": %d}}',
		  $id % 2, $id, $id % 3, 1_767_225_600 + $id;
	}
	$next += $count;
	produce_lines($topic, @lines);
	return;
}

my $batch = "SELECT window_start, window_end, grp, count(*) AS n, sum(id) AS total "
  . "FROM SOURCE, tidemark.tumble(at, '10 s') GROUP BY window_start, window_end, grp";
my %views = (
	final => "tidemark.emit = 'final', tidemark.notify = 'closed'",
	pruned => "tidemark.emit = 'final', tidemark.retention = '1 min'",
	revised => "tidemark.emit = 'final, revisions', tidemark.retention = '1 min'",
	changes => "tidemark.retention = '1 min', tidemark.notify = 'changed'");

create_kafka_server($node);
$node->safe_psql('postgres', qq{
	CREATE FOREIGN TABLE s (id bigint, grp int, at timestamptz OPTIONS (time_unit 's'))
		SERVER kafka OPTIONS (topic '$topic', event_time 'at', batch_max_rows '40',
			watermark_max_future 'infinity');
	CREATE TABLE s_rows (id bigint, grp int, at timestamptz)});
$node->safe_psql('postgres', "SELECT tidemark.start_ingest('s', into_table => 's_rows', workers => 2)");
for my $name (sort keys %views)
{
	$node->safe_psql('postgres', "CREATE MATERIALIZED VIEW $name WITH (tidemark.continuous, $views{$name}) AS "
		. $batch =~ s/SOURCE/s/r);
}

# Rows of a view that are wrong, in one snapshot: not once, or not those of the
# batch query between what is pruned and what is closed.
sub check
{
	my ($label) = @_;

	for my $name (sort keys %views)
	{
		my $columns = 'window_start, window_end, grp, n, total';
		my $query = $batch =~ s/SOURCE/s_rows/r;
		my $until = $name eq 'changes' ? "'infinity'" : 'closed_until';
		my $wanted = "SELECT q.* FROM ($query) q, p WHERE window_end > coalesce(pruned_until, '-infinity') AND window_end <= $until";

		is($node->safe_psql('postgres', qq{
			WITH p AS (SELECT * FROM tidemark.views WHERE view = '$name'::regclass)
			SELECT count(*) FROM ((SELECT $columns FROM $name EXCEPT ALL ($wanted))
				UNION ALL (($wanted) EXCEPT ALL SELECT $columns FROM $name)) d}), '0',
			"$label: $name is the batch query over its windows");
	}
	return;
}

# All rows are there and windows are closed as far as they can be: the last one
# of each partition decides.
sub wait_for_all
{
	my $seconds = 1_767_225_600 + $next - 2;

	wait_until($node, 'SELECT count(*) FROM s_rows', $next);
	wait_until($node, "SELECT count(*) FROM tidemark.views WHERE state = 'live' "
		. "AND closed_until = to_timestamp($seconds)", scalar keys %views);
	return;
}

sub hit
{
	my ($pid, $how) = @_;

	if ($how eq 'kill')
	{
		my $offset = -s $node->logfile;
		kill 'KILL', $pid;
		$node->wait_for_log(qr/terminated by signal 9/, $offset);
		wait_until($node, 'SELECT true');
	}
	else
	{
		$node->safe_psql('postgres', "SELECT pg_${how}_backend($pid)");
	}
	return;
}

produce(200);
wait_for_all();
check('at first');
for my $point ('closing', 'pruning')
{
	for my $how ('kill', 'terminate', 'cancel')
	{
		fault($node, "$point:wait");
		produce(120);
		hit(wait_for_fault($node, $point), $how);
		check("$point, $how, before it goes on");
		fault($node, '');
		wait_for_all();
		check("$point, $how");
	}
}
is($node->safe_psql('postgres', "SELECT count(*) = count(DISTINCT (window_start, grp)) FROM final"), 't',
	'each window once');
is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT closed_at, lag(closed_at) OVER (ORDER BY window_end) AS before FROM final) d "
	. "WHERE closed_at < before"), '0', 'in order');

# A fault of the moment: told, tried again, nothing lost.
fault($node, 'closing:error-53100');
produce(40);
wait_until($node, "SELECT state FROM tidemark.ingests", 'retrying');
fault($node, '');
wait_for_all();
check('an error that passes');

# Workers notify: after their commit, one notification per view and commit.
my $seen = $node->safe_psql('postgres', "SELECT closed FROM tidemark.views WHERE view = 'final'::regclass");
my $client = $node->background_psql('postgres');
$client->query_safe("LISTEN $_") for qw(closed changed);
produce(40);
wait_until($node, "SELECT closed >= $seen + 9 FROM tidemark.views WHERE view = 'final'::regclass");
# psql prints notifications behind the answer to a query
my $told = $client->query('SELECT 1');
$client->quit;
like($told, qr/"closed" with payload "\{"view":"public\.final","watermark":"[^"]*","closed_until":"[^"]*","changed":0,"closed":\d+,"groups":\[\{"window_start":/,
	'of closed windows');
like($told, qr/"changed" with payload "\{"view":"public\.changes",.*"changed":\d+,"closed":0,"groups":\[\{"window_start":/,
	'of changed groups');
wait_for_all();
check('at the end');

# More groups than one commit closes, by two workers, of which each remembers
# rows of the window for its next commits: meanwhile the other one closes some,
# commits are rolled back, the table is rewritten, and an old snapshot keeps what
# has left in the index.
my $many = new_topic('many', 2);
$node->safe_psql('postgres', $_) for (
	"CREATE FOREIGN TABLE m (id int, at timestamptz OPTIONS (time_unit 's'))
		SERVER kafka OPTIONS (topic '$many', event_time 'at', watermark_idle_timeout 'infinity')",
	"SELECT tidemark.start_ingest('m', workers => 2)",
	"CREATE MATERIALIZED VIEW v_many WITH (tidemark.continuous, tidemark.emit = 'final') AS
		SELECT window_start, id, count(*) AS n FROM m, tidemark.tumble(at, '10 s') GROUP BY window_start, id",
	"CREATE MATERIALIZED VIEW v_kept WITH (tidemark.continuous, tidemark.retention = '1 min') AS
		SELECT window_start, id, count(*) AS n FROM m, tidemark.tumble(at, '10 s') GROUP BY window_start, id");
my ($state, $final) = split /\|/, $node->safe_psql('postgres',
	"SELECT state_table, final_table FROM tidemark_state.view WHERE view = 'v_many'::regclass");

my $old = $node->background_psql('postgres');
$old->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$old->query_safe('SELECT count(*) FROM s_rows');
my @points = ('closing:wait:3', 'closing:error:3', 'pruning:error:3');
for my $round (1 .. @points)
{
	my $start = 1_767_225_600 + 1000 * $round;
	my $point = $points[$round - 1];

	produce_lines($many, map { sprintf '{"partition": %d, "value": {"id": %d, "at": %d}}', $_ % 2, $_, $start } 1 .. 25_000);
	wait_until($node, "SELECT sum(rows) FROM tidemark.partitions WHERE stream = 'm'::regclass", 25_002 * $round - 2);
	fault($node, $point);
	produce_lines($many, map { sprintf '{"partition": %d, "value": {"id": 0, "at": %d}}', $_, $start + 500 } 0, 1);
	if ($point =~ /wait/)
	{
		my $vacuum = $node->background_psql('postgres');

		# a rewrite gets its lock between two commits
		wait_for_fault($node, 'closing');
		$vacuum->query_until(qr/begins/, "\\echo begins\nVACUUM FULL $state;\n");
		wait_until($node, "SELECT count(*) FROM pg_locks WHERE relation = '$state'::regclass AND NOT granted", 1);
		fault($node, '');
		$vacuum->quit;
	}
	wait_until($node, "SELECT count(*) FROM v_many WHERE id > 0", 25_000 * $round);
	wait_until($node, "SELECT count(*) FROM v_kept WHERE id > 0", 0);
	is($node->safe_psql('postgres', "SELECT sum(n), count(DISTINCT id) FROM v_many WHERE window_start = to_timestamp($start)"),
		'25000|25000', "25000 groups, $point: each once");
	is($node->safe_psql('postgres', "SELECT count(*) FROM $state"), '1', 'their states have left');
	is($node->safe_psql('postgres', "SELECT max(n) BETWEEN 2 AND 1000 FROM (SELECT count(*) AS n FROM $final GROUP BY xmin::text) d"),
		't', 'a share of 2000 in one commit');
}
fault($node, '');
$old->quit;
is($node->safe_psql('postgres', "SELECT state FROM tidemark.ingests WHERE stream = 'm'::regclass"), 'running', 'and goes on');
done_testing();
