# Launcher and schedulers: where they run, what ends them, what brings them back.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $launcher = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tidemark launcher'";
my $all = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'tidemark %'";

# Databases with a scheduler, in order.
my $schedulers = "SELECT coalesce(string_agg(datname, ',' ORDER BY datname), '') "
  . "FROM pg_stat_activity WHERE backend_type = 'tidemark scheduler'";

sub conf
{
	my ($node, @lines) = @_;
	$node->append_conf('postgresql.conf',
		join("\n", "shared_preload_libraries = 'tidemark'", @lines, ''));
}

# A command that needs a database for itself gives up after 5 s of waiting for
# others to leave it.
sub is_not_held_up
{
	my ($node, $sql, $name) = @_;

	is($node->psql('postgres', $sql), 0, "$name is not held up");
	return;
}

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
conf($node, 'restart_after_crash = on', 'log_min_messages = info');
$node->start;

# The launcher.
ok($node->poll_query_until('postgres', $launcher, '1'), 'launcher is running');
my $pid = $node->safe_psql('postgres',
	"SELECT pid FROM pg_stat_activity WHERE backend_type = 'tidemark launcher'");
my $newer = "$launcher AND pid <> $pid";
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('postgres', $newer, '1'), 'a new launcher after SIGTERM');
$pid = $node->safe_psql('postgres',
	"SELECT pid FROM pg_stat_activity WHERE backend_type = 'tidemark launcher'");
$newer = "$launcher AND pid <> $pid";
kill 'KILL', $pid;
ok($node->poll_query_until('postgres', $newer, '1'), 'a new launcher after kill -9');
$node->stop('immediate');
$node->start;
ok($node->poll_query_until('postgres', $launcher, '1'), 'launcher is running after an immediate stop');

# Schedulers: where the extension is, and nowhere else.
$node->safe_psql('postgres', 'CREATE DATABASE a');
$node->safe_psql('postgres', 'CREATE DATABASE b');
# one has a look, and leaves
ok($node->poll_query_until('postgres', $schedulers, ''), 'no scheduler without the extension');
$node->safe_psql('a', 'CREATE EXTENSION tidemark');
ok($node->poll_query_until('postgres', $schedulers, 'a'), 'scheduler after CREATE EXTENSION');
$node->safe_psql('b', 'BEGIN; CREATE EXTENSION tidemark; ROLLBACK');
ok($node->poll_query_until('postgres', $schedulers, 'a'), 'no scheduler after ROLLBACK');
is($node->safe_psql('a', 'SELECT role, state FROM tidemark_state.worker_status()'),
	'scheduler|running', 'the scheduler shows itself');
$node->safe_psql('a', 'DROP EXTENSION tidemark');
ok($node->poll_query_until('postgres', $schedulers, ''), 'scheduler goes with DROP EXTENSION');
$node->safe_psql('a', 'CREATE EXTENSION tidemark');
ok($node->poll_query_until('postgres', $schedulers, 'a'), 'and comes back with it');
$node->restart;
ok($node->poll_query_until('postgres', $schedulers, 'a'), 'scheduler is found again after a restart');

$pid = $node->safe_psql('postgres',
	"SELECT pid FROM pg_stat_activity WHERE backend_type = 'tidemark scheduler'");
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('postgres',
	"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tidemark scheduler' AND pid <> $pid", '1'),
	'a new scheduler after SIGTERM');

# Commands that want the database for themselves.
is_not_held_up($node, 'CREATE DATABASE a2 TEMPLATE a', 'CREATE DATABASE TEMPLATE');
ok($node->poll_query_until('postgres', $schedulers, 'a,a2'), 'scheduler in the copy too');
is_not_held_up($node, 'ALTER DATABASE a2 RENAME TO a3', 'ALTER DATABASE RENAME');
ok($node->poll_query_until('postgres', $schedulers, 'a,a3'), 'scheduler after the renaming');
my $tablespace = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE TABLESPACE ts LOCATION '$tablespace'");
is_not_held_up($node, 'ALTER DATABASE a3 SET TABLESPACE ts', 'ALTER DATABASE SET TABLESPACE');
ok($node->poll_query_until('postgres', $schedulers, 'a,a3'), 'scheduler after the move');
$node->safe_psql('postgres', 'ALTER DATABASE a3 ALLOW_CONNECTIONS false');
ok($node->poll_query_until('postgres', $schedulers, 'a'), 'scheduler leaves a closed database');
$node->safe_psql('postgres', 'ALTER DATABASE a3 ALLOW_CONNECTIONS true');
ok($node->poll_query_until('postgres', $schedulers, 'a,a3'), 'and comes back');

# A command that is refused stops nothing.
$pid = $node->safe_psql('postgres',
	"SELECT pid FROM pg_stat_activity WHERE backend_type = 'tidemark scheduler' AND datname = 'a3'");
$node->safe_psql('postgres', 'CREATE ROLE nobody LOGIN');
$node->psql('postgres', 'SET ROLE nobody; DROP DATABASE a3');
is($node->safe_psql('postgres',
	"SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tidemark scheduler' AND pid = $pid"),
	'1', 'DROP DATABASE without permission does not stop the scheduler');

# One that fails later brings the scheduler back.
my $session = $node->background_psql('a3');
$session->query_safe('SELECT 1');
my ($status, undef, $stderr) = $node->psql('postgres', 'DROP DATABASE a3');
like($stderr, qr/is being accessed by other users/, 'DROP DATABASE fails for other reasons');
like($stderr, qr/There is 1 other session/, 'which are not ours');
$session->quit;
ok($node->poll_query_until('postgres', $schedulers, 'a,a3'), 'scheduler is back');

my $log_offset = -s $node->logfile;
is_not_held_up($node, 'DROP DATABASE a3', 'DROP DATABASE');
ok($node->poll_query_until('postgres', $schedulers, 'a'), 'its scheduler is gone');
$node->safe_psql('postgres', 'DROP TABLESPACE ts');
$node->safe_psql('postgres', 'CREATE DATABASE c');
unlike(slurp_file($node->logfile, $log_offset), qr/FATAL|terminating background worker/,
	'nothing of it in the log');

# tidemark.enabled
$node->append_conf('postgresql.conf', 'tidemark.enabled = off');
$node->reload;
ok($node->poll_query_until('postgres', $schedulers, ''), 'no scheduler while tidemark.enabled is off');
$node->append_conf('postgresql.conf', 'tidemark.enabled = on');
$node->reload;
ok($node->poll_query_until('postgres', $schedulers, 'a'), 'scheduler when it is on again');

# A standby works only from its promotion on.
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', $all), '0', 'no process on a standby');
$standby->promote;
ok($standby->poll_query_until('postgres', $schedulers, 'a'), 'scheduler after promotion');
$standby->stop;

# max_worker_processes is exhausted: said once, tried again.
$node->append_conf('postgresql.conf', "max_worker_processes = 2\nmax_logical_replication_workers = 0");
$node->safe_psql('b', 'CREATE EXTENSION tidemark');
$node->restart;
# one that only looks whether the extension is there may have it for a moment
ok($node->poll_query_until('postgres', "SELECT count(*) FROM pg_stat_activity
	WHERE backend_type = 'tidemark scheduler' AND datname IN ('a', 'b')", '1'),
	'there is room for one scheduler');
my $blocked = $node->safe_psql('postgres', $schedulers) eq 'a' ? 'b' : 'a';
ok($node->poll_query_until($blocked,
	"SELECT state || sqlstate || message || hint FROM tidemark_state.worker_status() WHERE failures > 2",
	'backoff53400all background processes that "max_worker_processes" (2) allows are in use'
	  . 'ALTER SYSTEM SET max_worker_processes = 10; then restart the server.'),
	'the other one says why it does not run');
my $oid = $node->safe_psql('postgres', "SELECT oid FROM pg_database WHERE datname = '$blocked'");
my $count = () = slurp_file($node->logfile) =~ /"tidemark scheduler" of the database with OID $oid could not be started/g;
is($count, 1, 'it is logged once, not once per attempt');
my $other = $blocked eq 'a' ? 'b' : 'a';
$node->safe_psql($other, 'DROP EXTENSION tidemark');
ok($node->poll_query_until('postgres', $schedulers, $blocked), 'it starts when there is room');
is($node->safe_psql($blocked, 'SELECT message IS NULL FROM tidemark_state.worker_status()'), 't',
	'and has forgotten its trouble');

ok($node->stop('fast', fail_ok => 1), 'the server stops when it is told to');
done_testing();
