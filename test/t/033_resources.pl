# Proves that an ingest gets on where others get in its way and memory is short
# (fault matrix, rows 30, 32 and 34): a forgotten prepared transaction, deadlocks
# and serialization failures, processes that may not have more memory, more
# groups than fit, large messages.  Nothing of it is taken for bad data.
# $MANY_GROUPS: how many groups.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use IPC::Run;
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $node = new_node('main', 'tidemark.restart_backoff_max' => '200ms', 'max_prepared_transactions' => 2,
	'work_mem' => '64kB', 'tidemark.worker_memory' => '64MB', 'deadlock_timeout' => '10ms',
	'autovacuum' => 'off', 'tidemark.log_min_batch_duration' => 0, 'log_statement' => 'none');

sub query { return $node->safe_psql('postgres', $_[0]); }

sub letters { return query("SELECT DISTINCT sqlstate FROM tidemark.dead_letters WHERE stream = '$_[0]'::regclass") }

# ---- conflicts: 40001, 40P01 ----

# A trigger of the raw table counts in a table that others write, too, in other
# orders, and in transactions that conflict.
my $topic = new_topic('conflicts', 2);
start_ids($node, 's', $topic, workers => 2, batch_max_rows => 40);
query($_) for (
	'CREATE TABLE counter (grp int PRIMARY KEY, n int NOT NULL, touched int NOT NULL)',
	'INSERT INTO counter SELECT g, 0, 0 FROM generate_series(0, 6) g',
	q{CREATE FUNCTION count_row() RETURNS trigger LANGUAGE plpgsql AS
		'BEGIN UPDATE public.counter SET n = n + 1 WHERE grp = 6 - new.grp; RETURN new; END'},
	'CREATE TRIGGER count_row BEFORE INSERT ON s_rows FOR EACH ROW EXECUTE FUNCTION count_row()',
	'CREATE MATERIALIZED VIEW joined WITH (tidemark.continuous) AS
		SELECT c.grp, count(*) AS n FROM s_rows s JOIN counter c USING (grp) GROUP BY c.grp',
	'ALTER DATABASE postgres SET default_transaction_isolation = serializable',
	q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'tidemark ingest'});
my $script = $node->basedir . '/conflict.sql';
append_to_file($script, <<~'SQL');
	\set a random(0, 6)
	\set b random(0, 6)
	BEGIN ISOLATION LEVEL SERIALIZABLE;
	UPDATE counter SET touched = touched + 1 WHERE grp = :a;
	SELECT sum(n) FROM joined;
	UPDATE counter SET touched = touched + 1 WHERE grp = :b;
	COMMIT;
	SQL
my $pgbench = IPC::Run::start(
	[ $node->installed_command('pgbench'), '-n', '-c', 4, '-T', 600, '--max-tries', 0, '-f', $script,
		'-h', $node->host, '-p', $node->port, 'postgres' ], '>', '/dev/null', '2>', '/dev/null');
produce_ids($topic, 2, 3000);
wait_for_ids($node, 's', $topic);
$pgbench->kill_kill;
like(query("SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'"), qr/[1-9]/, 'there were deadlocks');
check_ids($node, 's', $topic, 'conflicts');
check_views($node, 's', 'conflicts');
is(letters('s'), '22P02', 'no conflict made a dead letter');
is(query('SELECT count(*) FROM counter JOIN (SELECT 6 - grp AS grp, count(*) AS n FROM s_rows GROUP BY 1) r USING (grp) WHERE counter.n <> r.n'),
	0, 'the trigger has seen each row once');
is(query("SELECT * FROM tidemark.verify('joined')"), '', 'the join too');
query('ALTER DATABASE postgres RESET default_transaction_isolation');
query('DROP TRIGGER count_row ON s_rows');

# ---- a snapshot that nobody lets go ----

my $state = query("SELECT state_table FROM tidemark_state.view WHERE view = 's_table'::regclass");

# Batches of 100 rows of all 7 groups, each of which leaves 7 versions.
sub batches
{
	produce_ids($topic, 2, 1000);
	wait_for_ids($node, 's', $topic);
	return query("SELECT pg_relation_size('$state')");
}

my $size = batches();
$size = batches();
query("BEGIN; INSERT INTO counter VALUES (7, 0, 0); PREPARE TRANSACTION 'forgotten'");
my $held = batches();
like(query('SELECT gid, age(transaction) FROM pg_prepared_xacts'), qr/^forgotten\|[1-9]/, 'who holds it can be seen');
query("ROLLBACK PREPARED 'forgotten'");
query("VACUUM $state");
my $grown = query("SELECT pg_relation_size('$state')");
is(batches(), $grown, 'once it is gone, no more room is taken');
cmp_ok($held, '<=', $size + 200 * 8192, 'and little meanwhile');
check_ids($node, 's', $topic, 'a held snapshot');

# ---- no more memory for one process, or for the server ----

# What one row of this view needs, no process may have.
my $big = new_topic('memory', 1);
create_kafka_server($node);
query($_) for (
	"CREATE FOREIGN TABLE m (id int, t text) SERVER kafka OPTIONS (topic '$big', batch_max_rows '200')",
	'CREATE TABLE m_rows (LIKE m)',
	"SELECT tidemark.start_ingest('m', into_table => 'm_rows')",
	'CREATE MATERIALIZED VIEW longest WITH (tidemark.continuous) AS
		SELECT count(*) AS n, max(length(repeat(t, 1000))) AS most FROM m_rows');

sub produce
{
	my ($length, @ids) = @_;
	produce_lines($big, map { sprintf '{"value": {"id": %d, "t": "%s"}}', $_, 'x' x $length } @ids);
	return;
}

# The address space of the postmaster's future children.
sub limit_memory
{
	my ($mb) = @_;
	my ($postmaster) = split /\n/, slurp_file($node->data_dir . '/postmaster.pid');
	my $bytes = $mb ? $mb * 1024 * 1024 : 'unlimited';

	system_or_bail('prlimit', '--pid', $postmaster, "--as=$bytes:unlimited");
	return;
}

produce(1, 1 .. 10);
wait_until($node, 'SELECT n FROM longest', 10);
my $worker = worker_pid($node, 'm');
my ($mb) = slurp_file("/proc/$worker/status") =~ /VmSize:\s+(\d+)/;
my $log_start = -s $node->logfile;
limit_memory(int($mb / 1024) + 200);
query("SELECT pg_terminate_backend($worker)");
produce(400_000, 11);
produce(1, 12 .. 40);
wait_until($node, "SELECT state || sqlstate FROM tidemark.ingests WHERE stream = 'm'::regclass", 'retrying53200');
wait_until($node, "SELECT failures >= 4 FROM tidemark_state.worker_status() WHERE role = 'ingest' AND object = 'm'::regclass");
is(query('SELECT n FROM longest'), 10, 'nothing is taken in by halves');
limit_memory(0);
wait_until($node, 'SELECT n, most FROM longest', '40|400000000');
is(query('SELECT count(*) FROM tidemark.dead_letters WHERE stream = \'m\'::regclass'), 0, 'no dead letters');
unlike(slurp_file($node->logfile, $log_start), qr/terminated by signal/, 'nothing crashed');

# After that, batches are smaller.
SKIP:
{
	skip 'built without fault points', 1
	  if query(q{SELECT count(*) FROM pg_settings WHERE name = 'tidemark.fault_points'}) eq '0';
	fault($node, 'commit:error-53200');
	produce(1, 41 .. 240);
	wait_until($node, "SELECT failures >= 4 FROM tidemark_state.worker_status() WHERE role = 'ingest' AND object = 'm'::regclass");
	$log_start = -s $node->logfile;
	fault($node, '');
	wait_until($node, 'SELECT n FROM longest', 240);
	my $log = slurp_file($node->logfile, $log_start);
	is((grep { $_ > 200 / 16 } $log =~ /batch of (\d+) messages/g), 0, 'four halvings of 200 rows');

	# The same while a view reads the log: by its second batch it has one of them.
	fault($node, 'backfilled:error-53200');
	query('CREATE MATERIALIZED VIEW counted WITH (tidemark.continuous) AS SELECT count(*) AS n FROM m');
	wait_until($node, "SELECT failures >= 4 FROM tidemark_state.worker_status() WHERE role = 'backfill'");
	fault($node, 'backfilled:wait:2');
	wait_for_fault($node, 'backfilled');
	my $position = query("SELECT max(next_offset) FROM tidemark_state.view_partition
		WHERE state_table = (SELECT state_table FROM tidemark_state.view WHERE view = 'counted'::regclass)");
	cmp_ok($position, '>', 0, 'a view that reads the log takes smaller batches');
	cmp_ok($position, '<=', 200 / 16, 'four halvings, too');
	fault($node, '');
	wait_until($node, 'SELECT count(*) FROM tidemark.views WHERE view = \'counted\'::regclass AND state = \'live\'', 1);
	is(query('SELECT n FROM counted'), 240, 'and has everything in the end');
}
query("DROP FOREIGN TABLE m CASCADE; DROP TABLE m_rows CASCADE");


# ---- more groups in one batch than fit ----

my $many = new_topic('groups', 1);
query($_) for (
	"CREATE FOREIGN TABLE g (id int) SERVER kafka OPTIONS (topic '$many', batch_max_rows '1000000', batch_max_bytes '1GB')",
	'CREATE TABLE g_rows (LIKE g)');
my $groups = $ENV{MANY_GROUPS} || 150_000;
produce_lines($many, map { "{\"value\": {\"id\": $_}}" } 1 .. $groups);
query($_) for (
	'CREATE MATERIALIZED VIEW g_before WITH (tidemark.continuous) AS SELECT id, count(*) AS n, sum(id) AS total FROM g_rows GROUP BY id',
	q{SELECT tidemark.start_ingest('g', into_table => 'g_rows')});
wait_until($node, 'SELECT count(*) FROM g_rows', $groups);
query('CREATE MATERIALIZED VIEW g_after WITH (tidemark.continuous) AS SELECT id, count(*) AS n, sum(id) AS total FROM g_rows GROUP BY id');
is(query("SELECT count(*), sum(n), sum(total) FROM $_"), join('|', $groups, $groups, $groups * ($groups + 1) / 2),
	"$_: $groups groups") for qw(g_before g_after);
is(query("SELECT * FROM tidemark.verify('g_before')"), '', 'and verify() finds nothing');

# ---- large messages ----

# One is taken however large it is; what does not fit into an answer by the
# user's own limit is said, until that is raised.
my $large = new_topic('large', 1, 'max.message.bytes' => 20_000_000);
{
	local $ENV{KAFKA_PROPS} = 'message.max.bytes=20000000';
	produce_lines($large, map { sprintf '{"value": {"id": %d, "t": "%s"}}', @$_, }
		  map { [ $_->[0], 'x' x $_->[1] ] } [ 1, 1 ], [ 2, 12_000_000 ], [ 3, 1 ], [ 4, 9_000_000 ]);
}
my $brokers = brokers();
query($_) for (
	"CREATE SERVER narrow FOREIGN DATA WRAPPER tidemark_kafka
		OPTIONS (bootstrap_servers '$brokers', receive_message_max_bytes '5000000', fetch_max_bytes '1000000')",
	'CREATE USER MAPPING FOR PUBLIC SERVER narrow',
	"CREATE FOREIGN TABLE wide_l (id int, t text) SERVER kafka OPTIONS (topic '$large')",
	"CREATE FOREIGN TABLE narrow_l (id int, t text) SERVER narrow OPTIONS (topic '$large')",
	map { ("CREATE TABLE ${_}_rows (LIKE ${_}_l)", "SELECT tidemark.start_ingest('${_}_l', into_table => '${_}_rows')") } qw(wide narrow));
my $lengths = "SELECT string_agg(length(t)::text, ' ' ORDER BY id) FROM";
wait_until($node, "$lengths wide_rows", '1 12000000 1 9000000');
my ($own) = slurp_file('/proc/' . worker_pid($node, 'wide_l') . '/status') =~ /RssAnon:\s+(\d+)/;
cmp_ok($own, '<', 300_000, 'the memory for them is bounded');
my $narrow = "FROM tidemark.ingests WHERE stream = 'narrow_l'::regclass";
# not only until the broker has answered other questions, which takes a second
wait_until($node, "SELECT state $narrow AND reason LIKE '%increase receive.message.max.bytes%' AND since < now() - interval '4 s'", 'retrying');
query(q{ALTER SERVER narrow OPTIONS (SET receive_message_max_bytes '50000000')});
wait_until($node, "$lengths narrow_rows", '1 12000000 1 9000000');
wait_until($node, "SELECT state $narrow", 'running');

done_testing();
