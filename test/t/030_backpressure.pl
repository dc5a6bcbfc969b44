# Proves that max_rate holds without holding anything else back, and that what
# shed_above_lag leaves out is counted, on record and known to every view,
# whatever is killed in the middle.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use Time::HiRes qw(usleep);
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $node = new_node('main', 'tidemark.restart_backoff_max' => '200ms');
skip_without_faults($node);

sub query { return $node->safe_psql('postgres', $_[0]); }

# ---- max_rate ----

my $topic = new_topic('rate', 4);
my $rate = 500;
my $passed = "SELECT coalesce(sum(rows + dead_letters), 0) FROM tidemark.partitions WHERE stream = 'r'::regclass";

produce_ids($topic, 4, 4 * $rate);
my $began = query('SELECT extract(epoch FROM clock_timestamp())');
start_ids($node, 'r', $topic, max_rate => $rate, workers => 2);

# What has passed never exceeds what the time since then allows; a busy machine
# only makes it less.
for my $part (1 .. 4)
{
	wait_until($node, "SELECT ($passed) >= $part * $rate");
	my ($n, $now) = split /\|/, query("SELECT n, extract(epoch FROM clock_timestamp()) FROM ($passed) p (n)");
	cmp_ok($n, '<=', $rate * ($now - $began), "max_rate holds at $n messages");
}
wait_for_ids($node, 'r', $topic);
check_ids($node, 'r', $topic, 'max_rate');

# A batch does not wait for more than a second, whatever batch_max_delay says.
query("ALTER FOREIGN TABLE r OPTIONS (SET max_rate '20', ADD batch_max_delay '1 h')");
produce_ids($topic, 4, 20);
wait_for_ids($node, 'r', $topic);
pass('a low rate does not wait for batch_max_delay');

# A worker that may do nothing for a long time does everything else.
query("ALTER FOREIGN TABLE r OPTIONS (SET max_rate '1', DROP batch_max_delay)");
produce_ids($topic, 4, 5000);
wait_until($node, "SELECT lag > 1000 FROM tidemark.ingests");
wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tidemark ingest' AND xact_start IS NOT NULL", 0);
query("SELECT tidemark.pause('r')");
is(query('SELECT state FROM tidemark.ingests'), 'paused', 'pause() does not wait for the rate');
query("SELECT tidemark.resume('r')");
worker_pid($node, 'r', $_) for 0, 1;
query("ALTER FOREIGN TABLE r OPTIONS (DROP max_rate)");
wait_for_ids($node, 'r', $topic);
check_ids($node, 'r', $topic, 'without max_rate, as soon as it is dropped');
check_views($node, 'r', 'max_rate');
query("SELECT tidemark.pause('r')");

# ---- batch_max_delay ----

# It counts from the batch before; after that long nothing waits for company.
$topic = new_topic('delay', 1);
start_ids($node, 'd', $topic, batch_max_delay => '6 s');
my $last = "FROM tidemark_state.partition WHERE stream = 'd'::regclass";
produce_ids($topic, 1, 1);
wait_for_ids($node, 'd', $topic);
wait_until($node, "SELECT clock_timestamp() >= last_message_at + interval '6 s' $last");
my $asked = query('SELECT clock_timestamp()');
produce_ids($topic, 1, 1);
wait_for_ids($node, 'd', $topic);
is(query("SELECT last_message_at < timestamptz '$asked' + interval '6 s' $last"), 't', 'the first message after a pause is committed at once');
query("SELECT tidemark.pause('d')");

# ---- shed_above_lag ----

$topic = new_topic('shed', 2);
start_ids($node, 's', $topic, batch_max_rows => 40);
produce_ids($topic, 2, 100);
wait_for_ids($node, 's', $topic);
my $s = "stream = 's'::regclass";

# Everything produced was applied or left out, never both, and that is on
# record: rows and ranges of a partition are its offsets without gap or overlap.
sub check_shed
{
	my ($name, $least) = @_;
	my $n = produced($topic);
	my $odd = query(qq{
		WITH part AS (
			SELECT k_part, k_offset AS a, k_offset + 1 AS b FROM s_rows
			UNION ALL
			SELECT partition, kafka_offset, kafka_offset + 1 FROM tidemark.dead_letters WHERE $s
			UNION ALL
			SELECT partition, from_offset, to_offset FROM tidemark_state.skipped_range WHERE $s AND shed),
		step AS (SELECT *, lag(b, 1, 0::bigint) OVER (PARTITION BY k_part ORDER BY a) AS before FROM part),
		ends AS (SELECT k_part, max(b) FROM part GROUP BY 1)
		SELECT * FROM (SELECT k_part::text, a, b, before FROM step WHERE a <> before
			UNION ALL
			SELECT 'end', max, next_offset, 0 FROM ends JOIN tidemark.partitions p ON p.partition = k_part
			WHERE $s AND max <> next_offset) o LIMIT 5});

	is($odd, '', "$name: applied and left out make the whole log");
	is(query("SELECT rows + dead_letters + shed, shed = skipped, shed >= $least, lag, state FROM tidemark.ingests WHERE $s"),
		"$n|t|t|0|running", "$name: and so do the counters");
	is(query("SELECT sum(shed) FROM tidemark.partitions WHERE $s"),
		query("SELECT sum(to_offset - from_offset) FROM tidemark_state.skipped_range WHERE $s"), "$name: by partition");
	check_views($node, 's', $name);
	return;
}

sub caught_up
{
	my $n = produced($topic);
	wait_until($node, "SELECT state, lag, rows + dead_letters + skipped FROM tidemark.ingests WHERE $s", "running|0|$n");
	return;
}

sub shed_now { return query("SELECT shed FROM tidemark.ingests WHERE $s"); }

sub count_log
{
	my ($text, $offset) = @_;
	my $log = slurp_file($node->logfile, $offset);
	return scalar(() = $log =~ /\Q$text\E/g);
}
my $warning = 'ingest of stream "s" is too far behind and leaves messages out';

query("SELECT tidemark.pause('s')");
produce_ids($topic, 2, 4000);
query("ALTER FOREIGN TABLE s OPTIONS (ADD shed_above_lag '100')");
my $offset = -s $node->logfile;
query("SELECT tidemark.resume('s')");
caught_up();
check_shed('after a pause', 500);
is(count_log($warning, $offset), 1, 'a WARNING');
like(slurp_file($node->logfile, $offset), qr/DETAIL:  Partition \d was \d+ offsets behind, and shed_above_lag is 100; offsets \d+ to \d+ are left out/,
	'with what is left out');
wait_until($node, "SELECT bool_and(lag <= 100) FROM tidemark.partitions WHERE $s");

# Below the limit nothing is left out.
my $before = shed_now();
for (1 .. 5)
{
	produce_ids($topic, 2, 100);
	caught_up();
}
is(shed_now(), $before, 'up to 100 behind nothing is left out');

# Again and again in one episode: one WARNING; it ends when it has caught up.
$offset = -s $node->logfile;
query("ALTER FOREIGN TABLE s OPTIONS (ADD max_rate '1')");
for my $round (1 .. 4)
{
	$before = shed_now();
	produce_ids($topic, 2, 600);
	wait_until($node, "SELECT shed >= $before + 400 FROM tidemark.ingests WHERE $s");
	pass("behind for good, round $round");
}
is(count_log($warning, $offset), 1, 'one WARNING for all of them');
query("SELECT tidemark.pause('s')");
query("ALTER FOREIGN TABLE s OPTIONS (DROP max_rate)");
query("SELECT tidemark.resume('s')");
caught_up();
check_shed('behind for good', 2000);

# kill -9 before and after the commit that leaves messages out.  (A busy machine
# may apply more of them before the broker has said where the log ends.)
my $before_kills = shed_now();
for my $point (qw(polled saved commit committed))
{
	$before = shed_now();
	query("SELECT tidemark.pause('s')");
	produce_ids($topic, 2, 1000);
	fault($node, "$point:wait");
	query("SELECT tidemark.resume('s')");
	my $pid = wait_for_fault($node, $point);
	$offset = -s $node->logfile;
	kill 'KILL', $pid;
	$node->wait_for_log(qr/terminated by signal 9/, $offset);
	wait_until($node, 'SELECT true');
	fault($node, '');
	caught_up();
	check_shed("kill -9 at $point", $before);
}
cmp_ok(shed_now(), '>', $before_kills + 500, 'messages were left out in between');

# A view that is created later, over either.  Over the stream it reads the log,
# where everything still is.
query("CREATE MATERIALIZED VIEW later_$_->[0] WITH (tidemark.continuous) AS SELECT count(*) AS n FROM $_->[1]")
  for [ table => 's_rows' ], [ stream => 's' ];
wait_until($node, "SELECT state FROM tidemark.views WHERE view = 'later_stream'::regclass", 'live');
is(query("SELECT * FROM tidemark.verify('later_$_')"), '', "verify() of a later view over the $_") for qw(table stream);
is(query('SELECT n FROM later_table'), query('SELECT count(*) FROM s_rows'), 'over the table it has the rows');
is(query('SELECT n FROM later_stream'), produced($topic) - int(produced($topic) / 50), 'over the stream the whole log');

# From here on it loses what the others lose.
$before = shed_now();
query("SELECT tidemark.pause('s')");
produce_ids($topic, 2, 1000);
query("SELECT tidemark.resume('s')");
caught_up();
check_shed('with a later view', $before);
is(query("SELECT * FROM tidemark.verify('later_$_')"), '', "verify() of a later view over the $_ that has lost some") for qw(table stream);

# A view that is paused and resumed still knows what it has lost, and takes in
# what is shed meanwhile.
query("SELECT tidemark.pause('s_stream')");
query("SELECT tidemark.pause('s')");
produce_ids($topic, 2, 1000);
query("SELECT tidemark.resume('s')");
caught_up();
query("SELECT tidemark.resume('s_stream')");
wait_until($node, "SELECT state FROM tidemark.views WHERE view = 's_stream'::regclass", 'live');
check_shed('with a view that was paused', $before + 1000);

# Windows close as ever: the watermark only goes forward, and what is lost is in
# no window.
query("CREATE FOREIGN TABLE w (id int, ts timestamptz OPTIONS (metadata 'timestamp')) SERVER kafka
	OPTIONS (topic '$topic', event_time 'ts', watermark_delay '10 s', batch_max_rows '40')");
query("CREATE MATERIALIZED VIEW w_final WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.late = 'table') AS
	SELECT window_start, window_end, count(*) AS n, max(id) AS last FROM w, tidemark.tumble(ts, '1 min') GROUP BY 1, 2");
my $w = "stream = 'w'::regclass";
wait_until($node, "SELECT i.lag, v.state FROM tidemark.ingests i, tidemark.views v WHERE i.$w AND v.view = 'w_final'::regclass", '0|live');
my $watermark = query("SELECT watermark FROM tidemark.ingests WHERE $w");
query("ALTER FOREIGN TABLE w OPTIONS (ADD shed_above_lag '100')");
for my $round (1 .. 3)
{
	query("SELECT tidemark.pause('w')");
	query("SELECT tidemark.pause('s')");
	produce_ids($topic, 2, 1000);
	query("SELECT tidemark.resume('$_')") for qw(s w);
	caught_up();
	wait_until($node, "SELECT state, lag, rows + dead_letters + skipped FROM tidemark.ingests WHERE $w", 'running|0|' . produced($topic));
	wait_until($node, "SELECT closed_until + interval '1 min' > v.watermark AND v.watermark = i.watermark
		FROM tidemark.views v, tidemark.ingests i WHERE v.view = 'w_final'::regclass AND i.$w");
	is(query("SELECT watermark > '$watermark' FROM tidemark.ingests WHERE $w"), 't', "round $round: the watermark goes forward");
	$watermark = query("SELECT watermark FROM tidemark.ingests WHERE $w");
	is(query("SELECT * FROM tidemark.verify('w_final')"), '', "round $round: closed windows agree");
}
cmp_ok(query("SELECT shed FROM tidemark.ingests WHERE $w"), '>', 500, 'messages were left out in between');
query("CREATE MATERIALIZED VIEW w_later WITH (tidemark.continuous, tidemark.emit = 'final') AS
	SELECT window_start, window_end, count(*) AS n FROM w, tidemark.tumble(ts, '1 min') GROUP BY 1, 2");
wait_until($node, "SELECT state FROM tidemark.views WHERE view = 'w_later'::regclass", 'live');
is(query("SELECT * FROM tidemark.verify('w_later')"), '', 'so do those of a later view');
query("SELECT tidemark.pause('w')");

# A dump has the options and the record.
my $record = "SELECT (SELECT string_agg(o, ' ' ORDER BY o) FROM pg_foreign_table, unnest(ftoptions) o WHERE ftrelid = 's'::regclass),
	(SELECT count(*) || ' ' || sum(to_offset - from_offset) FROM tidemark_state.skipped_range WHERE shed),
	shed FROM tidemark.ingests WHERE $s";
my $file = $node->basedir . '/shed.dump';
query("ALTER FOREIGN TABLE s OPTIONS (ADD max_rate '5')");
$node->command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr('postgres') ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('copy'), $file ], 'restore');
like(query($record), qr/max_rate=5 shed_above_lag=100 /, 'options');
is($node->safe_psql('copy', $record), query($record), 'the copy has options, counter and ranges');
is($node->safe_psql('copy', "SELECT * FROM tidemark.verify('s_table')"), '', 'and its view agrees');
query('DROP DATABASE copy');
query("ALTER FOREIGN TABLE s OPTIONS (DROP max_rate)");

# What an open transaction holds back is not lag: nobody could have read it.
my $open = new_topic('open', 1);
query("CREATE FOREIGN TABLE o (id int) SERVER kafka OPTIONS (topic '$open', shed_above_lag '10')");
query("CREATE MATERIALIZED VIEW o_ids WITH (tidemark.continuous) AS SELECT id, count(*) AS n FROM o GROUP BY id");
wait_until($node, "SELECT state FROM tidemark.views WHERE view = 'o_ids'::regclass", 'live');
sub lines { return join '', map { qq({"value": {"id": $_}, "partition": 0}\n) } @_; }
kafka('produce', $open, '--txn', "o$$", '--hang', \lines(1 .. 100));
kafka('produce', $open, \lines(101));
wait_until($node, "SELECT next_offset, end_offset FROM tidemark.partitions WHERE stream = 'o'::regclass", '0|101');
query("ALTER FOREIGN TABLE o OPTIONS (DROP shed_above_lag)");
kafka('produce', $open, '--txn', "o$$", \lines(102));
wait_until($node, "SELECT string_agg(id || ':' || n, ' ' ORDER BY id) FROM o_ids", '101:1 102:1');
is(query("SELECT shed FROM tidemark.ingests WHERE stream = 'o'::regclass"), 0, 'nothing is shed because of an open transaction');

# A worker whose queue is full of what it may not apply yet knows how far behind
# it is all the same.
my $big = new_topic('big', 1);
my $pad = 'x' x 1000;
query("ALTER SYSTEM SET tidemark.worker_memory = '64MB'");
$node->reload;
query("CREATE FOREIGN TABLE b (id int) SERVER kafka OPTIONS (topic '$big', max_rate '1', shed_above_lag '1000000')");
query("SELECT tidemark.start_ingest('b')");
for my $half (1, 2)
{
	produce_lines($big, map { qq({"partition": 0, "value": {"id": $_, "pad": "$pad"}}) } 1 .. 6_000);
	wait_until($node, "SELECT end_offset FROM tidemark.partitions WHERE stream = 'b'::regclass", $half * 6_000);
	pass("end offset of part $half behind a full queue");
}
query("SELECT tidemark.pause('b')");

# A topic that is re-created under the worker, and longer than before: it is not
# lag, and nothing of it is left out.
my $pid = worker_pid($node, 's');
$before = shed_now();
kill 'STOP', $pid;
usleep(300_000);
kafka('delete', $topic);
for (1 .. 100)
{
	last if eval { kafka('create', $topic, 2); 1 };
}
produce_lines($topic, map { qq({"partition": ${\ ($_ % 2)}, "value": {"id": $_}}) } 1 .. 20_000);
kill 'CONT', $pid;
wait_until($node, "SELECT state FROM tidemark.ingests WHERE $s", 'failed');
query("SELECT tidemark.resume('s')")
  if query("SELECT reason FROM tidemark.ingests WHERE $s") =~ /does not exist/;
wait_until($node, "SELECT state FROM tidemark.ingests WHERE $s", 'failed');
like(query("SELECT reason FROM tidemark.ingests WHERE $s"), qr/was re-created|is out of range/, 're-created: failed');
is(shed_now(), $before, 're-created: nothing is left out');
done_testing();
