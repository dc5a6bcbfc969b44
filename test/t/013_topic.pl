# Proves what happens when the topic is not what it was: deleted, re-created,
# trimmed, truncated, with more partitions (fault matrix, rows 11, 12 and 13).
# Nothing is skipped silently; the operator decides, and what was skipped is
# on record.
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

sub query { return $node->safe_psql('postgres', $_[0]); }

sub ingest_is
{
	my ($stream, $state, $reason, $name) = @_;

	wait_until($node, "SELECT state FROM tidemark.ingests WHERE stream = '$stream'::regclass", $state);
	like(query("SELECT reason || ' | ' || coalesce(hint, '') FROM tidemark.ingests WHERE stream = '$stream'::regclass"),
		$reason, $name);
	return;
}

# The topic is not what it was.  A client that asked while it was gone says so,
# and finds out the rest when it is told to go on.
sub ingest_fails
{
	my ($stream, $reason, $name) = @_;
	my $failed = "SELECT state FROM tidemark.ingests WHERE stream = '$stream'::regclass";

	wait_until($node, $failed, 'failed');
	query("SELECT tidemark.resume('$stream')")
	  if query("SELECT reason FROM tidemark.ingests WHERE stream = '$stream'::regclass") =~ /does not exist/;
	return ingest_is($stream, 'failed', $reason, $name);
}

# An ingest that has read the topic.
sub start
{
	my ($stream, $partitions, $count) = @_;
	my $topic = new_topic($stream, $partitions);

	start_ids($node, $stream, $topic);
	produce_ids($topic, $partitions, $count);
	wait_for_ids($node, $stream, $topic);
	return $topic;
}

# Messages that produce_ids() never made: ids from 1000 on, in two partitions.
sub other_ids
{
	my ($count) = @_;
	return map {
		qq({"partition": ${\ ($_ % 2)}, "value": {"id": ${\ ($_ + 1000)}, "grp": 0, "val": 1, "at": "2026-01-01"}})
	} 0 .. $count - 1;
}

sub recreate
{
	my ($topic, $partitions) = @_;

	kafka('delete', $topic);
	# the name is free when the broker has forgotten the topic
	for (1 .. 100)
	{
		return if eval { kafka('create', $topic, $partitions); 1 };
	}
	die "could not create topic $topic again";
}

# Deleted while running: the ingest fails, and says so.
my $topic = start('gone', 2, 100);
kafka('delete', $topic);
ingest_is('gone', 'failed', qr/topic "\Q$topic\E" does not exist/, 'topic deleted: failed');
kafka('create', $topic, 2);
produce_lines($topic, other_ids(1));
query("SELECT tidemark.resume('gone')");
ingest_is('gone', 'failed', qr/out of range.*reset_ingest/, 'and is not resumed on a smaller topic of that name');
check_ids($node, 'gone', $topic, 'topic deleted');

# Re-created while paused, and longer than before: only the content tells.
$topic = start('other', 2, 100);
query("SELECT tidemark.pause('other')");
recreate($topic, 2);
produce_lines($topic, other_ids(200));
query("SELECT tidemark.resume('other')");
ingest_is('other', 'failed', qr/"\Q$topic\E" was re-created.*reset_ingest/, 'same name, other content: failed');
is(query('SELECT count(*) FROM other_rows WHERE id >= 1000'), 0, 'none of it was read');
query("SELECT tidemark.reset_ingest('other', 'earliest')");
query("SELECT tidemark.resume('other')");
wait_until($node, 'SELECT count(*), count(DISTINCT id) FROM other_rows WHERE id >= 1000', '200|200');
is(query("SELECT state, lag FROM tidemark.ingests WHERE stream = 'other'::regclass"), 'running|0',
	'after reset_ingest() all of the new topic is read');

# Re-created while running, so quickly that the client library never says so,
# and filled beyond the position: by a worker that waits, and by one that is
# stopped meanwhile, as if it were busy.
for my $busy (0, 1)
{
	my $name = $busy ? 'busy' : 'quick';
	my $pid;

	$topic = start($name, 2, 100);
	$pid = worker_pid($node, $name);
	if ($busy)
	{
		# until its last look at the topic is too old to be trusted
		kill 'STOP', $pid;
		usleep(300_000);
	}
	recreate($topic, 2);
	produce_lines($topic, other_ids(200));
	kill 'CONT', $pid if $busy;
	ingest_fails($name, qr/"\Q$topic\E" was re-created.*reset_ingest/, "re-created under a $name worker: failed");
	is(query("SELECT count(*) FROM ${name}_rows WHERE id >= 1000"), 0, "re-created under a $name worker: none of it was read");
	check_ids($node, $name, $topic, "re-created under a $name worker");
}

# Re-created, and only one partition filled beyond the position, whichever the
# worker looks at.
for my $filled (0, 1)
{
	my $name = "partly$filled";
	my $pid;

	$topic = start($name, 2, 100);
	$pid = worker_pid($node, $name);
	kill 'STOP', $pid;
	usleep(300_000);
	recreate($topic, 2);
	produce_lines($topic, grep { /"partition": $filled/ } other_ids(200));
	kill 'CONT', $pid;
	ingest_fails($name, qr/"\Q$topic\E" (was re-created|is out of range).*reset_ingest/,
		"re-created, partition $filled filled: failed");
	is(query("SELECT count(*) FROM ${name}_rows WHERE id >= 1000"), 0, "re-created, partition $filled filled: none of it was read");
}

# Filled up to the position exactly: nothing comes that could be looked at.
$topic = start('equal', 2, 100);
recreate($topic, 2);
produce_lines($topic, other_ids(100));
ingest_fails('equal', qr/"\Q$topic\E" was re-created.*reset_ingest/, 're-created with as many messages: failed');

# What pause() writes does not make its offsets valid again.
query("SELECT tidemark.pause('equal')");
like(query("SELECT state || ' ' || reason FROM tidemark.ingests WHERE stream = 'equal'::regclass"),
	qr/^paused paused by .*re-created/, 'paused after that: the reason stays');
query("SELECT tidemark.reset_ingest('equal', 'earliest')");
query("SELECT tidemark.resume('equal')");
wait_until($node, 'SELECT count(*), count(DISTINCT id) FROM equal_rows WHERE id >= 1000', '100|100');

# Retention removed what was not read yet.
$topic = start('trimmed', 2, 100);
query("SELECT tidemark.pause('trimmed')");
produce_ids($topic, 2, 100);
kafka('trim', $topic, 0, 80);
query("SELECT tidemark.resume('trimmed')");
ingest_is('trimmed', 'failed', qr/offset 50 of partition 0 .* is out of range.*reset_ingest/, 'trimmed: failed');
is(query("SELECT sqlstate FROM tidemark.ingests WHERE stream = 'trimmed'::regclass"), '22003', 'with its SQLSTATE');
query("SELECT tidemark.reset_ingest('trimmed', '{\"0\": 80}')");
query("SELECT tidemark.resume('trimmed')");
wait_until($node, "SELECT state, lag, skipped FROM tidemark.ingests WHERE stream = 'trimmed'::regclass", 'running|0|30');
is(query("SELECT partition, from_offset, to_offset FROM tidemark_state.skipped_range WHERE stream = 'trimmed'::regclass"),
	'0|50|80', 'the skipped range is on record');
is(query("SELECT k_part, count(*), count(DISTINCT k_offset), max(k_offset) FROM (SELECT k_part, k_offset FROM trimmed_rows
	UNION ALL SELECT partition, kafka_offset FROM tidemark.dead_letters WHERE stream = 'trimmed'::regclass) m
	GROUP BY k_part ORDER BY k_part"), "0|70|70|99\n1|100|100|99", 'all but that range is there once');
is(query("SELECT * FROM tidemark.verify('trimmed_table')"), '', 'the view over the table agrees');

# What was read already may go.
$topic = start('kept', 2, 100);
kafka('trim', $topic, 0, 50);
$node->restart;
produce_ids($topic, 2, 100);
wait_for_ids($node, 'kept', $topic);
check_ids($node, 'kept', $topic, 'trimmed up to the position');
like(slurp_file($node->logfile), qr/WARNING:  could not tell whether topic "\Q$topic\E" was re-created/,
	'with a warning that the last message is gone');

# The log ends before the position: truncated, or another one.
$topic = start('ahead', 2, 100);
query("SELECT tidemark.pause('ahead')");
recreate($topic, 2);
query("SELECT tidemark.resume('ahead')");
ingest_is('ahead', 'failed', qr/is out of range.*reset_ingest/, 'position beyond the end: failed');
query("SELECT tidemark.reset_ingest('ahead', 'earliest')");
produce_lines($topic, other_ids(1));
query("SELECT tidemark.resume('ahead')");
wait_until($node, 'SELECT count(*) FROM ahead_rows WHERE id = 1000', 1);

# More partitions, while running and while paused.
$topic = start('more', 3, 90);
kafka('partitions', $topic, 6);
produce_ids($topic, 6, 120);
query("SELECT tidemark.pause('more')");
query("SELECT tidemark.resume('more')");
wait_for_ids($node, 'more', $topic);
check_ids($node, 'more', $topic, 'partitions added');
is(query("SELECT string_agg(partition || ':' || first_offset || '-' || next_offset, ' ' ORDER BY partition)
	FROM tidemark_state.partition WHERE stream = 'more'::regclass"),
	'0:0-50 1:0-50 2:0-50 3:0-20 4:0-20 5:0-20', 'from their first message on');
check_views($node, 'more', 'partitions added');

# Another cluster at the same address is noticed by its id.
query("UPDATE tidemark_state.ingest SET cluster_id = 'another' WHERE stream = 'more'::regclass");
query('SELECT pg_terminate_backend(' . worker_pid($node, 'more') . ')');
ingest_is('more', 'failed', qr/another Kafka cluster.*bootstrap_servers/, 'another cluster: failed');
done_testing();
