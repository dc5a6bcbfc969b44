# Proves that DDL under a running ingest loses nothing and leaves nothing behind:
# changes of table and stream, DROP DATABASE and its relatives, DROP EXTENSION,
# DROP OWNED, DROP ROLE (fault matrix, rows 27, 28 and 29).
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
my $brokers = brokers();

sub query { return $node->safe_psql($_[1] || 'postgres', $_[0]); }

# ---- tables, streams, views ----

my $topic = new_topic('ddl', 4);
start_ids($node, 's', $topic, workers => 2, batch_max_rows => 100);
for my $ddl (
	'ALTER FOREIGN TABLE s ADD COLUMN more text; ALTER TABLE s_rows ADD COLUMN more text',
	'ALTER TABLE s_rows ADD COLUMN d int DEFAULT 7 CHECK (d = 7)',
	'ALTER FOREIGN TABLE s DROP COLUMN more; ALTER TABLE s_rows DROP COLUMN more',
	"ALTER FOREIGN TABLE s OPTIONS (SET batch_max_rows '37')",
	"ALTER SERVER kafka OPTIONS (ADD fetch_wait_max_ms '50')",
	'ALTER TABLE s_rows ALTER COLUMN d TYPE bigint',
	'CREATE INDEX ON s_rows (id)', 'CREATE UNIQUE INDEX CONCURRENTLY one ON s_rows (k_part, k_offset)',
	'REINDEX TABLE CONCURRENTLY s_rows', 'CLUSTER s_rows USING one', 'VACUUM FULL s_rows',
	'ALTER TABLE s_rows RENAME TO renamed; ALTER TABLE renamed RENAME TO s_rows',
	'ALTER FOREIGN TABLE s RENAME TO t; ALTER FOREIGN TABLE t RENAME TO s',
	'CREATE SCHEMA away; ALTER TABLE s_rows SET SCHEMA away; ALTER TABLE away.s_rows SET SCHEMA public',
	'CREATE MATERIALIZED VIEW x WITH (tidemark.continuous) AS SELECT k_part, count(*) FROM s_rows GROUP BY 1',
	'CREATE INDEX ON x (k_part)', 'ALTER MATERIALIZED VIEW x RENAME TO y', 'DROP MATERIALIZED VIEW y',
	"SELECT tidemark.alter_ingest('s', workers => 3)", "SELECT tidemark.alter_ingest('s', workers => 1)",
	"SELECT tidemark.pause('s'); SELECT tidemark.resume('s')")
{
	produce_ids_begin($topic, 4, 1000);
	# one transaction, except what cannot be in one
	my @alone = $ddl =~ /CONCURRENTLY|VACUUM/ ? () : ('BEGIN;', ';COMMIT');
	my ($status, undef, $err) = $node->psql('postgres', @alone ? "$alone[0] $ddl $alone[1]" : $ddl);
	kafka_end();
	is($status, 0, $ddl) or diag($err);
	wait_for_ids($node, 's', $topic);
}
check_ids($node, 's', $topic, 'after all of it');
check_views($node, 's', 'after all of it');
is(query('SELECT count(*) FROM s_rows WHERE d <> 7'), 0, 'a new column has its default');
is(query("SELECT state FROM tidemark.ingests"), 'running', 'the ingest runs');

# What a role may no longer do fails visibly, and goes on when it may again.
query("CREATE ROLE owner LOGIN; GRANT USAGE ON FOREIGN SERVER kafka TO owner; CREATE SCHEMA o AUTHORIZATION owner");
my $own = new_topic('own', 1);
sub as_owner { return $node->safe_psql('postgres', $_[0], extra_params => [ '-U', 'owner' ]); }
sub create_own
{
	as_owner(qq{
		CREATE FOREIGN TABLE o.s (id int) SERVER kafka OPTIONS (topic '$own');
		CREATE TABLE o.t (LIKE o.s);
		SELECT tidemark.start_ingest('o.s', into_table => 'o.t')});
	as_owner('CREATE MATERIALIZED VIEW o.v WITH (tidemark.continuous) AS SELECT count(*) FROM o.t');
	return;
}
create_own();
produce_lines($own, '{"value": {"id": 1}}');
wait_until($node, 'SELECT count FROM o.v', 1);
query('REVOKE INSERT ON o.t FROM owner');
produce_lines($own, '{"value": {"id": 2}}');
wait_until($node, "SELECT state, sqlstate FROM tidemark.ingests WHERE stream = 'o.s'::regclass", 'failed|42501');
query('GRANT INSERT ON o.t TO owner');
as_owner("SELECT tidemark.resume('o.s')");
wait_until($node, 'SELECT count FROM o.v', 2);

# ---- DROP ----

my $processes = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'tidemark ingest' AND datname = 'postgres'";
my (undef, undef, $err) = $node->psql('postgres', 'DROP TABLE s_rows');
like($err, qr/ERROR:  cannot drop "s_rows" because other objects depend on it/, 'DROP TABLE needs CASCADE');
produce_ids_begin($topic, 4, 1000);
query('DROP FOREIGN TABLE s CASCADE');
kafka_end();
wait_until($node, $processes, 1);
is(query("SELECT (SELECT count(*) FROM tidemark.ingests), (SELECT count(*) FROM tidemark.views),
	(SELECT count(*) FROM tidemark_state.partition)"), '1|2|1', 'DROP FOREIGN TABLE takes its ingest and the view over it');
query('DROP TABLE s_rows CASCADE');

query('DROP OWNED BY owner CASCADE');
wait_until($node, $processes, 0);
is(query("SELECT (SELECT count(*) FROM tidemark_state.ingest), (SELECT count(*) FROM tidemark_state.view),
	(SELECT count(*) FROM tidemark_state.partition), (SELECT count(*) FROM tidemark_state.stream),
	(SELECT count(*) FROM pg_class WHERE relnamespace = 'tidemark_state'::regnamespace AND relname ~ '^(s|q|def|dead|log)_\\d')"),
	'0|0|0|0|0', 'DROP OWNED leaves nothing behind');
query('DROP ROLE owner');

query('DROP SERVER kafka CASCADE; DROP EXTENSION tidemark CASCADE; CREATE EXTENSION tidemark');
my $again = new_topic('again', 1);
start_ids($node, 'a', $again);
produce_ids($again, 1, 100);
wait_for_ids($node, 'a', $again);
query('DROP EXTENSION tidemark CASCADE');
wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE datname = 'postgres' AND backend_type LIKE 'tidemark %'", 0);
is(query("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tidemark%'"), 0, 'DROP EXTENSION takes all of it');
is(query('SELECT count(*) FROM a_rows'), 98, 'but not the rows');

# ---- databases ----

my $shared = new_topic('shared', 1);
query('CREATE DATABASE d');
query(qq{
	CREATE EXTENSION tidemark;
	CREATE SERVER kafka FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '$brokers');
	CREATE USER MAPPING FOR PUBLIC SERVER kafka;
	CREATE FOREIGN TABLE s (id int) SERVER kafka OPTIONS (topic '$shared');
	CREATE TABLE t (LIKE s);
	SELECT tidemark.start_ingest('s', into_table => 't')}, 'd');
my $sent = 0;

sub send_some
{
	produce_lines($shared, map { qq({"value": {"id": ${\ $sent++}}}) } 1 .. 50);
	return;
}

# A command that needs the database for itself gives up after 5 s of waiting for
# others to leave it.
sub is_not_held_up
{
	my ($sql) = @_;

	send_some();
	is($node->psql('postgres', $sql), 0, "$sql is not held up");
	return;
}

my $all = 'SELECT count(*) = count(DISTINCT id), count(*) FROM t';
send_some();
wait_until($node, $all, "t|$sent", 'd');
is_not_held_up('CREATE DATABASE copy TEMPLATE d');
wait_until($node, $all, "t|$sent", 'd');
is(query('SELECT state, reason FROM tidemark.ingests', 'copy'), 'paused|restored', 'the copy is paused');
is_not_held_up('ALTER DATABASE d RENAME TO e');
wait_until($node, $all, "t|$sent", 'e');
query("SELECT tidemark.resume('s')", 'copy');
wait_until($node, $all, "t|$sent", 'copy');
is_not_held_up('DROP DATABASE copy');
is_not_held_up('DROP DATABASE e WITH (FORCE)');
is(query("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'tidemark %' AND datname IS NOT NULL"), 0, 'no process is left');
unlike(slurp_file($node->logfile), qr/PANIC|terminated by signal|TRAP:/, 'nothing crashed');
done_testing();
