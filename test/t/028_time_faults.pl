# Proves that event time survives what a real broker and its producers do to it
# (fault matrix, rows 14, 21 and 22): timestamps far in the future, producers
# whose clocks differ, time that goes back, a partition that falls silent; holes
# of compaction and of transactions; and a server whose clock jumps.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();

# The clock of the server is that of libfaketime, where there is one.
my ($faketime) = glob('/usr/lib/*/faketime/libfaketime.so.1');
my $clock = PostgreSQL::Test::Utils::tempdir() . '/clock';
my $node;

sub query { return $node->safe_psql('postgres', $_[0]); }

# Its file is read anew at each look at the clock: '+0', '+1d', '-1d'.
sub set_server_clock
{
	my ($offset) = @_;

	open(my $file, '>', "$clock.new") or die "$clock: $!";
	print $file "$offset\n";
	close $file;
	rename "$clock.new", $clock or die "$clock: $!";
	return;
}

sub with_fake_clock
{
	my ($code) = @_;

	return $code->() unless $faketime;
	local %ENV = (%ENV,
		LD_PRELOAD => $faketime, FAKETIME_TIMESTAMP_FILE => $clock, FAKETIME_NO_CACHE => 1,
		FAKETIME_DONT_FAKE_MONOTONIC => 1, FAKETIME_DONT_RESET => 1);
	return $code->();
}

set_server_clock('+0');
$node = with_fake_clock(sub {
	return new_node('main', 'tidemark.restart_backoff_max' => '200ms', 'TimeZone' => 'UTC') });
create_kafka_server($node);

# Seconds of the day 2026-01-01 as event time, and as timestamp of the message.
my $day = 1_767_225_600;
my $id = 0;

sub line
{
	my ($partition, $at, %more) = @_;
	my $sent = ($day + (defined $more{sent} ? $more{sent} : $at)) * 1000;

	$id++;
	return sprintf '{"partition": %d, "timestamp": %d, "key": "%s", "value": {"id": %d, "k": %d, "at": %d}}',
	  $partition, $sent, $more{key} // $id, $id, $id % 3, $day + $at;
}

my %views = (
	final => [ "tidemark.emit = 'final', tidemark.late = 'table'", "tidemark.tumble(at, '10 s')" ],
	lenient => [ "tidemark.allowed_lateness = '15 s', tidemark.late = 'table'", "tidemark.hop(at, '10 s', '20 s')" ]);

# A stream NAME, its table NAME_t, views over both.
sub start
{
	my ($name, $topic, %options) = @_;
	my $options = join '', map { ", $_ '$options{$_}'" } sort keys %options;

	query(qq{CREATE FOREIGN TABLE $name (id int, k int, at timestamptz OPTIONS (time_unit 's'), p int OPTIONS (metadata 'partition'),
		o bigint OPTIONS (metadata 'offset'), wm timestamptz OPTIONS (metadata 'watermark'))
		SERVER kafka OPTIONS (topic '$topic', event_time 'at', watermark_delay '0 s', max_error_ratio '1'$options)});
	query("CREATE TABLE ${name}_t (LIKE $name)");
	query("SELECT tidemark.start_ingest('$name', into_table => '${name}_t')");
	for my $source ($name, "${name}_t")
	{
		for my $view (sort keys %views)
		{
			query("CREATE MATERIALIZED VIEW ${source}_$view WITH (tidemark.continuous, $views{$view}[0]) AS "
				. "SELECT window_start, count(*) AS n, sum(id) AS total FROM $source, $views{$view}[1] GROUP BY window_start");
		}
	}
	wait_until($node, "SELECT count(*) FROM tidemark.views WHERE state = 'live' AND view::text LIKE '$name\\_%'", 4);
	return;
}

# All views over a stream and its table agree with their queries and each other,
# and each closed window is there once.
sub check
{
	my ($name, $label) = @_;

	is(query("SELECT v.view, d.* FROM tidemark.views v, tidemark.verify(v.view) d WHERE v.view::text LIKE '$name\\_%'"),
		'', "$label: verify()");
	for my $view (sort keys %views)
	{
		my ($a, $b) = map { "SELECT window_start, n, total FROM ${_}_$view" } $name, "${name}_t";

		is(query("SELECT count(*) FROM (($a EXCEPT ALL $b) UNION ALL ($b EXCEPT ALL $a)) d"), 0,
			"$label: $view of stream and table");
	}
	is(query("SELECT count(*) FROM tidemark.views WHERE view::text LIKE '$name\\_%' AND state <> 'live'"), 0,
		"$label: all live");
	return;
}

sub wait_rows { my ($name, $n) = @_; wait_until($node, "SELECT count(*) FROM ${name}_t", $n); return; }
sub closed_until
{
	return query("SELECT to_char(closed_until, 'HH24:MI:SS') FROM tidemark.views WHERE view = '$_[0]_final'::regclass");
}
sub wait_closed
{
	my ($name, $time) = @_;

	wait_until($node, "SELECT count(*) FROM tidemark.views WHERE view::text LIKE '$name\\_%final' "
		. "AND to_char(closed_until, 'HH24:MI:SS') = '$time'", 2);
	return;
}

# ---- row 21: producers ----

my $topic = new_topic('skew', 3);
start('skew', $topic, watermark_idle_timeout => 'infinity');
my $sent = $id;
produce_lines($topic, map { (line(0, $_), line(1, $_), line(2, $_)) } 0 .. 30);
wait_rows('skew', $id - $sent);
wait_closed('skew', '00:00:30');

# the year 9999 in one message: it keeps its value, nothing closes by it
produce_lines($topic, line(0, 253_370_764_800 - $day, sent => 31), line(0, 31));
wait_rows('skew', $id - $sent);
is(closed_until('skew'), '00:00:30', 'a timestamp of the year 9999 closes nothing');
is(query("SELECT future_rows FROM tidemark.ingests"), 1, 'and is counted');

# a producer whose clock is an hour ahead: its partition runs ahead alone
produce_lines($topic, map { line(1, 3600 + $_) } 31 .. 40);
produce_lines($topic, map { line(0, $_), line(2, $_) } 32 .. 40);
wait_rows('skew', $id - $sent);
wait_closed('skew', '00:00:40');
is(query("SELECT sum(late) FROM tidemark.views"), 0, 'no row is late because of another partition');

# time goes back in one partition: late by its own watermark, for some windows only
produce_lines($topic, line(0, 5), line(0, 19), line(0, 41), line(0, 28));
wait_rows('skew', $id - $sent);
is(query("SELECT late FROM tidemark.views WHERE view = 'skew_final'::regclass"), 3, 'rows behind their partition are late');
is(query("SELECT late FROM tidemark.views WHERE view = 'skew_lenient'::regclass"), 3,
	'with lateness for the older windows only');

# partition 2 falls silent, and comes back behind the others
query("ALTER FOREIGN TABLE skew OPTIONS (SET watermark_idle_timeout '100 ms')");
produce_lines($topic, line(0, 3700));
wait_rows('skew', $id - $sent);
wait_until($node, "SELECT count(*) FROM tidemark.partitions WHERE idle", 3);
wait_closed('skew', '01:01:40');
produce_lines($topic, line(2, 50), line(2, 3710));
wait_rows('skew', $id - $sent);
is(query("SELECT count(*) FROM tidemark.late_rows WHERE view = 'skew_final'::regclass AND partition = 2 AND watermark = 'epoch'::timestamptz + interval '${\ ($day + 40)} s'"), 1,
	'what came back too late is kept, with its own watermark');
check('skew', 'skew');

# ---- row 14: holes ----

$topic = new_topic('holes', 1);
start('holes', $topic);
$sent = $id;
# whole transactions that were aborted, markers between, and at the end
kafka('produce', $topic, '--txn', "t$$", \join("\n", (map { line(0, $_, key => $_ % 5) } 0 .. 24), ''));
my $aborted = $id;
kafka('produce', $topic, '--txn', "u$$", '--abort', \join("\n", line(0, 500), line(0, 600), ''));
$aborted = $id - $aborted;
kafka('produce', $topic, '--txn', "t$$", \join("\n", line(0, 30, key => 'a'), ''));
wait_rows('holes', $id - $sent - $aborted);
wait_closed('holes', '00:00:30');
wait_until($node, "SELECT next_offset, lag FROM tidemark.partitions WHERE stream = 'holes'::regclass", '31|0');
check('holes', 'control records');

# compacted: most of what was read is gone, also the last message that was applied
produce_lines($topic, line(0, 35, key => 'a'));
wait_rows('holes', $id - $sent - $aborted);
query("SELECT tidemark.pause('holes')");
kafka('config', $topic, 'cleanup.policy=compact', 'segment.ms=100', 'min.cleanable.dirty.ratio=0.001',
	'min.compaction.lag.ms=0', 'delete.retention.ms=0');
my $left;
for (1 .. 200)
{
	produce_lines($topic, line(0, 36 + $_ / 100, key => 'a'));
	$left = () = kafka('consume', $topic) =~ /\n/g;
	last if $left < 20;
	select undef, undef, undef, 0.1;
}
cmp_ok($left, '<', 20, 'the broker has compacted the topic');
query("SELECT tidemark.resume('holes')");
produce_lines($topic, line(0, 50, key => 'b'));
wait_until($node, "SELECT lag FROM tidemark.partitions WHERE stream = 'holes'::regclass", 0);
wait_closed('holes', '00:00:50');
is(query("SELECT state FROM tidemark.ingests WHERE stream = 'holes'::regclass"), 'running', 'goes on behind the holes');
is(query("SELECT count(*) = count(DISTINCT o), max(o) < (SELECT next_offset FROM tidemark.partitions WHERE stream = 'holes'::regclass) FROM holes_t"),
	't|t', 'each row once, positions behind them');
is(query("SELECT v.view, d.* FROM tidemark.views v, tidemark.verify(v.view) d WHERE v.view::text LIKE 'holes\\_t\\_%'"), '',
	'views over the table agree: what they have does not depend on the log');
# who reads the log now finds what is left of it
start('rest', $topic);
wait_until($node, "SELECT count(*) > 0 AND max(o) = (SELECT max(o) FROM holes_t) FROM rest_t");
wait_closed('rest', '00:00:50');
is(query("SELECT count(*) FROM rest_t r WHERE NOT EXISTS (SELECT FROM rest s WHERE s.o = r.o)"), 0, 'a SELECT reads the same');
check('rest', 'compacted');

# ---- row 22: the clock of the server ----

SKIP:
{
	skip 'no libfaketime here', 9 unless $faketime;
	$topic = new_topic('jump', 2);
	start('jump', $topic);
	$sent = $id;
	my $at = 0;
	for my $offset ('+0', '+1d', '-2d', '+0')
	{
		set_server_clock($offset);
		produce_lines($topic, map { (line(0, $_), line(1, $_), line($_ % 2, $_ > 30 ? $_ - 30 : 0)) } $at .. $at + 24);
		$at += 25;
		wait_rows('jump', $id - $sent);
		wait_closed('jump', sprintf '00:%02d:%02d', int(($at - 1) / 60), ($at - 1) % 60);
		my $hours = query("SELECT round(extract(epoch FROM clock_timestamp()) / 3600)") - int(time() / 3600 + 0.5);
		cmp_ok(abs($hours - { '+0' => 0, '+1d' => 24, '-2d' => -48 }->{$offset}), '<=', 1, "clock of the server: $offset");
	}
	check('jump', 'jumps');

	# the same messages at a server whose clock stands where it should
	start('calm', $topic);
	wait_rows('calm', $id - $sent);
	wait_closed('calm', '00:01:39');
	for my $what ((map { "SELECT window_start, n, total FROM NAME_$_" } 'final', 'lenient', 't_final', 't_lenient'), 'SELECT * FROM NAME_t',
		"SELECT replace(view::text, 'NAME', ''), partition, kafka_offset, window_start, watermark FROM tidemark.late_rows WHERE view::text LIKE 'NAME%'")
	{
		my ($a, $b) = map { $what =~ s/NAME/$_/gr } 'jump', 'calm';

		is(query("SELECT count(*) FROM (($a EXCEPT ALL $b) UNION ALL ($b EXCEPT ALL $a)) d"), 0, "the same: $what");
	}
}
$node->stop;
done_testing();
