# Proves with a real broker and real workers, which are superuser processes:
# secrets are nowhere but in the user mapping; what a low role owns runs as that
# role and cannot get out; operators and functions in a schema on everybody's
# search_path are never called; the install script adopts nothing.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_java();
my ($address, $port) = split /:/, start_own_broker();
my $sasl = "$address:" . ($port + 2);
my $node = new_node('main', 'log_min_messages' => 'warning');

sub query { return $node->safe_psql('postgres', $_[0]); }

sub as_low
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database || 'postgres', $sql, extra_params => [ '-U', 'low' ]);
}

# Standard output and messages, whether it fails or not.
sub all_of_low
{
	my ($sql) = @_;
	my ($out, $err);

	$node->psql('postgres', $sql, extra_params => [ '-U', 'low' ], stdout => \$out, stderr => \$err, on_error_stop => 0);
	return "$out\n$err\n";
}

query('CREATE ROLE low LOGIN; CREATE SCHEMA low AUTHORIZATION low');

# ---- secrets ----

my ($secret, $wrong) = ('alice-secret', 'wrong-marker');
query(qq{
	SET log_statement = none;
	CREATE SERVER kafka FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '$sasl',
		security_protocol 'sasl_plaintext', sasl_mechanism 'PLAIN');
	CREATE SERVER refused FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '$sasl',
		security_protocol 'sasl_plaintext', sasl_mechanism 'PLAIN');
	GRANT USAGE ON FOREIGN SERVER kafka, refused TO low;
	CREATE USER MAPPING FOR low SERVER kafka OPTIONS (sasl_username 'alice', sasl_password '$secret');
	CREATE USER MAPPING FOR low SERVER refused OPTIONS (sasl_username 'alice', sasl_password '$wrong')});
$node->append_conf('postgresql.conf', "log_min_messages = debug5\nlog_statement = all\n"
	. "log_error_verbosity = verbose\ndebug_print_parse = on\ndebug_print_plan = on\n");
$node->reload;
my $log_from = -s $node->logfile;

my $topic = new_topic('secret', 1);
produce_lines($topic, map { qq({"value": {"id": $_, "grp": ${\ ($_ % 3)}}}) } 1 .. 30);
as_low(qq{
	CREATE FOREIGN TABLE low.s (id bigint, grp int) SERVER kafka OPTIONS (topic '$topic');
	CREATE FOREIGN TABLE low.bad (id bigint) SERVER refused OPTIONS (topic '$topic');
	CREATE TABLE low.s_rows (LIKE low.s);
	CREATE TABLE low.bad_rows (LIKE low.bad);
	SELECT tidemark.start_ingest('low.s', into_table => 'low.s_rows');
	SELECT tidemark.start_ingest('low.bad', into_table => 'low.bad_rows')});
as_low('CREATE MATERIALIZED VIEW low.v WITH (tidemark.continuous) AS SELECT grp, count(*) FROM low.s GROUP BY grp');
wait_until($node, 'SELECT count(*) FROM low.s_rows', 30);
wait_until($node, "SELECT state IN ('failed', 'retrying') FROM tidemark.ingests WHERE stream = 'low.bad'::regclass");
my $seen = all_of_low(q{
	EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM low.s;
	SELECT * FROM low.bad;
	EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM low.bad;
	TABLE tidemark.ingests; TABLE tidemark.partitions; TABLE tidemark.views; TABLE tidemark.workers; TABLE tidemark.dead_letters;
	SELECT * FROM tidemark_state.worker_status(); TABLE tidemark_state.stream; TABLE tidemark_state.ingest;
	SELECT * FROM pg_stat_activity; SELECT * FROM pg_user_mappings;
	SELECT * FROM pg_foreign_server; SELECT * FROM pg_foreign_table; \des+ \deu+ \det+ \d+ low.*});
like($seen, qr/authentication/i, 'a refused password is reported');
my $mapping = qr/^.*umoptions.*$|^.*\{sasl_username=alice.*$|^.*\(sasl_username 'alice'.*$/m;
unlike($seen =~ s/$mapping//gr, qr/$secret|$wrong/, 'no secret in plans, errors, status, catalogs');
query('CREATE ROLE other LOGIN');
my ($out, $err);
$node->psql('postgres', 'SELECT * FROM pg_user_mappings; \deu+', extra_params => [ '-U', 'other' ], stdout => \$out);
unlike($out, qr/$secret|$wrong/, 'and other roles cannot read the mapping');
unlike(query("SELECT to_jsonb(a) FROM pg_stat_activity a WHERE backend_type LIKE 'tidemark %'"), qr/$secret|$wrong/,
	'nor in what workers show');
$node->command_ok([ 'pg_dump', '-U', 'low', '-n', 'low', '-f', "${PostgreSQL::Test::Utils::tmp_check}/low.sql",
	$node->connstr('postgres') ], 'a low role can dump its schema');
unlike(slurp_file("${PostgreSQL::Test::Utils::tmp_check}/low.sql"), qr/$secret|$wrong/, 'without secrets');
ok(slurp_file($node->logfile, $log_from) !~ /$secret|$wrong/, 'nor in the log at debug5');
$node->append_conf('postgresql.conf', "log_min_messages = log\ndebug_print_parse = off\ndebug_print_plan = off\nlog_error_verbosity = default\n");
$node->reload;
as_low("SELECT tidemark.drop_ingest('low.bad')");

# ---- options that would read files, run commands or load code ----

query('GRANT USAGE ON FOREIGN DATA WRAPPER tidemark_kafka TO low');
for my $option ('plugin.library.paths', 'ssl.engine.location', 'ssl.providers', 'sasl.kerberos.kinit.cmd',
	'sasl.oauthbearer.token.endpoint.url', 'debug', 'ssl.ca.location', 'ssl.key.location', 'ssl.keystore.location',
	'sasl.password', 'ssl.key.pem', 'ssl.key.password', 'statistics.interval.ms', 'log_cb')
{
	for my $name ($option, $option =~ tr/./_/r)
	{
		my $said = all_of_low(qq{CREATE SERVER x FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers 'x', "$name" '/tmp/x')});
		like($said, qr/ERROR/, "option $name is refused to a low role");
	}
}
is(query("SELECT count(*) FROM pg_foreign_server WHERE srvname = 'x'"), 0, 'none of it made a server');

# ---- as whom things run ----

# Everything that a table, a stream or a view may call; each tries to get out,
# and says as whom it ran.
as_low(q{
	CREATE TABLE low.seen (place text, who text, escaped text);
	CREATE FUNCTION low.evil(place text) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
	DECLARE
		attempt text;
		result text := 'no';
	BEGIN
		FOREACH attempt IN ARRAY ARRAY['ALTER ROLE low SUPERUSER', 'SET ROLE postgres', 'RESET ROLE',
			'SET SESSION AUTHORIZATION postgres', 'RESET SESSION AUTHORIZATION', 'CREATE TEMP TABLE evil ()',
			'UPDATE tidemark_state.ingest SET workers = 64', 'SET LOCAL tidemark.fault_points = ''x:kill''']
		LOOP
			BEGIN
				EXECUTE attempt;
				IF attempt NOT LIKE '%RESET%' OR current_user <> 'low' THEN
					result := attempt;
				END IF;
			EXCEPTION WHEN OTHERS THEN
				NULL;
			END;
		END LOOP;
		INSERT INTO low.seen VALUES (place, current_user, result);
		RETURN true;
	END $$;
	CREATE FUNCTION low.f(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM low.evil('view'); RETURN $1; END $$;
	CREATE FUNCTION low.t() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM low.evil(TG_NAME); RETURN new; END $$;
	CREATE FUNCTION low.d() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM low.evil('default'); RETURN 1; END $$;
	CREATE FUNCTION low.i(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM low.evil('index'); RETURN $1; END $$;
	CREATE FUNCTION low.g(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE AS
		$$ BEGIN PERFORM low.evil('generated'); RETURN $1; END $$;
	CREATE DOMAIN low.id AS bigint CHECK (low.evil('decode'));});
my $evil = new_topic('evil', 1);
as_low(qq{
	CREATE FOREIGN TABLE low.e (id low.id, grp int) SERVER kafka OPTIONS (topic '$evil');
	CREATE TABLE low.e_rows (id bigint CHECK (low.evil('check')), grp int, def int DEFAULT low.d(),
		gen bigint GENERATED ALWAYS AS (low.g(id)) STORED);
	CREATE INDEX ON low.e_rows (low.i(id));
	CREATE TRIGGER before_row BEFORE INSERT ON low.e_rows FOR EACH ROW EXECUTE FUNCTION low.t();
	CREATE TRIGGER after_row AFTER INSERT ON low.e_rows FOR EACH ROW EXECUTE FUNCTION low.t();
	CREATE TRIGGER statement AFTER INSERT ON low.e_rows EXECUTE FUNCTION low.t();
	CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON low.e_rows DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION low.t();
	SELECT tidemark.start_ingest('low.e', into_table => 'low.e_rows')});
as_low('CREATE MATERIALIZED VIEW low.w WITH (tidemark.continuous) AS SELECT low.f(grp) AS g, count(*) FROM low.e_rows GROUP BY 1');
query('TRUNCATE low.seen');    # from here on only what workers call
produce_lines($evil, map { qq({"value": {"id": $_, "grp": $_}}) } 1 .. 3);
wait_until($node, 'SELECT count(*) FROM low.e_rows', 3);
is(query('SELECT DISTINCT place, who, escaped FROM low.seen ORDER BY 1'),
	join("\n", map { "$_|low|no" } sort qw(after_row before_row check decode default deferred generated index statement view)),
	'all that a low role owns runs as that role and does not get out');
is(query("SELECT rolsuper FROM pg_roles WHERE rolname = 'low'"), 'f', 'the role is no superuser');
is(query("SELECT state FROM tidemark.ingests WHERE stream = 'low.e'::regclass"), 'running', 'and the ingest runs');

# A new owner counts from the next batch on.
query('ALTER TABLE low.e_rows OWNER TO other; GRANT ALL ON SCHEMA low TO other; GRANT ALL ON low.seen TO other; TRUNCATE low.seen');
produce_lines($evil, '{"value": {"id": 4, "grp": 4}}');
wait_until($node, "SELECT string_agg(DISTINCT who, ',') FROM low.seen WHERE place = 'before_row'", 'other');
is(query("SELECT string_agg(DISTINCT who, ',') FROM low.seen WHERE place = 'decode'"), 'low', 'the stream is decoded as its own owner');

# ---- search_path ----

# Whoever can create in a schema that is on the path lies in wait there.
query(q{CREATE SCHEMA trap AUTHORIZATION low; ALTER DATABASE postgres SET search_path = trap, pg_catalog, public});
as_low(q{
	DO $$
	DECLARE
		t text;
		op text;
		f text;
	BEGIN
		FOREACH t IN ARRAY ARRAY['int4', 'int8', 'text', 'oid', 'regclass', 'name', 'numeric', 'timestamptz', '"char"', 'bool'] LOOP
			EXECUTE pg_catalog.format('CREATE FUNCTION trap.op(%s, %s) RETURNS bool LANGUAGE plpgsql AS
				''BEGIN RAISE LOG $t$trap operator called by %%$t$, current_user; RETURN true; END''', t, t);
			FOREACH op IN ARRAY ARRAY['=', '<>', '<', '>', '<=', '>=', '+', '-', '||', '~'] LOOP
				EXECUTE pg_catalog.format('CREATE OPERATOR trap.%s (FUNCTION = trap.op, LEFTARG = %s, RIGHTARG = %s)', op, t, t);
			END LOOP;
		END LOOP;
		FOREACH f IN ARRAY ARRAY['now()', 'format(text)', 'quote_ident(text)', 'lower(text)', 'to_jsonb(anyelement)',
			'jsonb_build_object(VARIADIC "any")', 'pg_get_viewdef(oid)', 'pg_get_userbyid(oid)', 'clock_timestamp()',
			'statement_timestamp()', 'abs(numeric)', 'unnest(anyarray)', 'pg_table_is_visible(oid)'] LOOP
			CONTINUE WHEN f LIKE '%VARIADIC%';
			EXECUTE pg_catalog.format('CREATE FUNCTION trap.%s RETURNS text LANGUAGE plpgsql AS
				''BEGIN RAISE LOG $t$trap function called by %%$t$, current_user; RETURN $t$x$t$; END''', f);
		END LOOP;
	END $$;
	CREATE TABLE trap.ingest (LIKE tidemark_state.ingest);
	CREATE TABLE trap.pg_class (LIKE pg_catalog.pg_class);
	CREATE TABLE trap.pg_namespace (LIKE pg_catalog.pg_namespace);});
$node->restart;
$log_from = -s $node->logfile;
my $trapped = new_topic('trapped', 1);
produce_lines($trapped, map { qq({"value": {"id": $_, "grp": 1}}) } 1 .. 20);
query($_) for (
	"CREATE SCHEMA high",
	"CREATE USER MAPPING FOR postgres SERVER kafka OPTIONS (sasl_username 'alice', sasl_password '$secret')",
	"CREATE FOREIGN TABLE high.s (id bigint, grp int) SERVER kafka OPTIONS (topic '$trapped')",
	"CREATE TABLE high.s_rows (LIKE high.s)",
	"SELECT tidemark.start_ingest('high.s', into_table => 'high.s_rows')",
	"CREATE MATERIALIZED VIEW high.v WITH (tidemark.continuous) AS SELECT grp, count(*), sum(id), avg(id) FROM high.s_rows GROUP BY grp",
	"CREATE MATERIALIZED VIEW high.w WITH (tidemark.continuous) AS SELECT grp, count(*), min(id) FROM high.s GROUP BY grp",
	"SELECT tidemark.wait_caught_up('high.s')", "SELECT tidemark.wait_caught_up('high.w')",
	"TABLE high.v", "TABLE high.w",
	"SELECT * FROM tidemark.verify('high.v')", "SELECT * FROM tidemark.verify('high.w')",
	"TABLE tidemark.ingests", "TABLE tidemark.partitions", "TABLE tidemark.views", "TABLE tidemark.workers", "TABLE tidemark.dead_letters",
	"SELECT tidemark.pause('high.s')",
	"SELECT tidemark.reset_ingest('high.s', 'latest')", "SELECT tidemark.resume('high.s')",
	"SELECT tidemark.alter_ingest('high.s', workers => 2)",
	"REFRESH MATERIALIZED VIEW high.v", "ALTER MATERIALIZED VIEW high.v RENAME TO v2", "CREATE INDEX ON high.v2 (grp)",
	"DROP MATERIALIZED VIEW high.v2, high.w", "SELECT tidemark.drop_ingest('high.s')");
unlike(join("\n", grep { /LOG:  trap/ } split /\n/, slurp_file($node->logfile, $log_from)), qr/./, 'no operator or function of the trap was called');
query("SELECT 1::int8 = 1::int8");
like(slurp_file($node->logfile, $log_from), qr/LOG:  trap operator called by postgres/, 'though the trap works');

# ---- the install script ----

query('ALTER DATABASE postgres RESET search_path');
for my $what ('CREATE SCHEMA tidemark', 'CREATE SCHEMA tidemark_state')
{
	query('CREATE DATABASE adopt OWNER low');
	as_low($what, 'adopt');
	my (undef, undef, $stderr) = $node->psql('adopt', 'CREATE EXTENSION tidemark');
	like($stderr, qr/ERROR:  schema "tidemark\w*" already exists/, "$what beforehand: refused, not adopted");
	query('DROP DATABASE adopt');
}
done_testing();
