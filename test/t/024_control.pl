# Proves what control functions and processes do in corners: prepared
# transactions, a standby, a stream that is locked or broken beside others,
# processes that are used up.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_node('main', 'max_prepared_transactions' => 5, 'tidemark.max_workers' => 3,
	'wal_level' => 'replica', 'max_wal_senders' => 4, 'hot_standby' => 'on');

skip_without_faults($node);

sub query { return $node->safe_psql('postgres', $_[0], extra_params => [ '-q' ]); }

# Nobody answers there: a worker that is wanted tries, and says so.
query(q{
	CREATE SERVER nobody FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '127.0.0.1:1');
	CREATE USER MAPPING FOR PUBLIC SERVER nobody;
	CREATE SERVER m FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
	CREATE FOREIGN TABLE manual (id int) SERVER m OPTIONS (topic 'manual');
	CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS SELECT count(*) FROM manual});
for my $s ('a' .. 'e')
{
	query("CREATE FOREIGN TABLE $s (id int) SERVER nobody OPTIONS (topic '$s')");
}
my $workers = q{SELECT coalesce(string_agg(object::regclass::text, ',' ORDER BY object), '')
	FROM tidemark_state.worker_status() WHERE role = 'ingest'};

is(query(q{SELECT count(*) FROM tidemark.workers WHERE role = 'scheduler' AND phase IN ('wait', 'look')}), 1,
	'the scheduler has phases of its own');
wait_until($node, q{SELECT phase || ' ' || wait FROM tidemark.workers WHERE role = 'scheduler'}, 'wait waiting for work');

# COMMIT PREPARED is noticed at once (TAP's own timeout is below a minute).
query(q{BEGIN; SELECT tidemark.start_ingest('a'); PREPARE TRANSACTION 'p'});
is(query($workers), '', 'start_ingest() is prepared: nothing runs');
query(q{COMMIT PREPARED 'p'});
wait_until($node, $workers, 'a');
query(q{BEGIN; SELECT tidemark.pause('a'); PREPARE TRANSACTION 'p'});
is(query($workers), 'a', 'pause() is prepared: it goes on');
query(q{COMMIT PREPARED 'p'});
wait_until($node, $workers, '');
pass('COMMIT PREPARED starts and stops a worker');
query(q{BEGIN; SELECT tidemark.resume('a'); PREPARE TRANSACTION 'p'});
query(q{ROLLBACK PREPARED 'p'});
is(query(q{SELECT state FROM tidemark.ingests WHERE stream = 'a'::regclass}), 'paused', 'ROLLBACK PREPARED does not');
query(q{SELECT tidemark.drop_ingest('a')});

# Streams that are locked, or whose definition cannot be read, stop nobody else.
query(q{SELECT tidemark.start_ingest('a')});
wait_until($node, $workers, 'a');
query(q{BEGIN; ALTER FOREIGN TABLE a ADD COLUMN x int; PREPARE TRANSACTION 'locked'});
query(q{SELECT tidemark.start_ingest('b')});
wait_until($node, $workers, 'a,b');
pass('a locked stream does not keep another from starting');
query(q{ROLLBACK PREPARED 'locked'});
query(q{UPDATE pg_foreign_table SET ftoptions = '{topic=a,batch_max_rows=none}' WHERE ftrelid = 'a'::regclass});
query(q{SELECT pg_terminate_backend(pid) FROM tidemark.workers WHERE role = 'scheduler'});
query(q{SELECT tidemark.start_ingest('c')});
wait_until($node, q{SELECT count(*) FROM tidemark_state.worker_status()
	WHERE object = 'c'::regclass AND state IN ('running', 'backoff')}, 1);
pass('nor does a broken one');
query(q{SELECT pg_terminate_backend(pid) FROM tidemark_state.worker_status()
	WHERE object = 'a'::regclass AND pid IS NOT NULL});
my $ingest_a = q{SELECT state FROM tidemark.ingests WHERE stream = 'a'::regclass};
wait_until($node, $ingest_a, 'failed');
like(query(q{SELECT sqlstate || ' ' || reason FROM tidemark.ingests WHERE stream = 'a'::regclass}),
	qr/^22023 .*batch_max_rows/, 'the broken one has failed, and says why');
query(q{UPDATE pg_foreign_table SET ftoptions = '{topic=a}' WHERE ftrelid = 'a'::regclass});
query(q{SELECT tidemark.resume('a')});
wait_until($node, $ingest_a, 'retrying');

# A standby: what would change something says that it cannot.
$node->backup('copy');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'copy', has_streaming => 1);
$standby->start;
my %refused = (
	"tidemark.start_ingest('d')" => 'tidemark.start_ingest()',
	"tidemark.alter_ingest('a', workers => 2)" => 'tidemark.alter_ingest()',
	"tidemark.drop_ingest('a')" => 'tidemark.drop_ingest()',
	"tidemark.pause('a')" => 'tidemark.pause()',
	"tidemark.pause('v')" => 'tidemark.pause()',
	"tidemark.resume('a')" => 'tidemark.resume()',
	"tidemark.reset_ingest('a', 'latest')" => 'tidemark.reset_ingest()',
	"tidemark.inject('manual', '{}')" => 'tidemark.inject()',
	"tidemark.inject('manual', '{}'::bytea)" => 'tidemark.inject()',
	"tidemark.inject('manual', ARRAY['{}'])" => 'tidemark.inject()');
for my $call (sort keys %refused)
{
	my (undef, undef, $err) = $standby->psql('postgres', "\\set VERBOSITY sqlstate\nSELECT $call");
	my (undef, undef, $text) = $standby->psql('postgres', "SELECT $call");
	like("$err $text", qr/ERROR:  25006 .*ERROR:  cannot execute \Q$refused{$call}\E during recovery/s,
		"standby: $call");
}
is($standby->safe_psql('postgres', q{SELECT * FROM tidemark.verify('v')}), '', 'standby: verify()');
is($standby->safe_psql('postgres', q{SELECT count(*) FROM tidemark.ingests}), 4, 'standby: tidemark.ingests');
is($standby->safe_psql('postgres', q{SELECT tidemark.wait_for('manual', 0, 0, '0')}), 'f', 'standby: wait_for() asks');
for my $statement ('DROP MATERIALIZED VIEW v', 'ALTER MATERIALIZED VIEW v RENAME TO w',
	'CREATE MATERIALIZED VIEW w WITH (tidemark.continuous) AS SELECT count(*) FROM manual',
	'DELETE FROM tidemark.dead_letters')
{
	my (undef, undef, $err) = $standby->psql('postgres', "\\set VERBOSITY sqlstate\n$statement");
	like($err, qr/ERROR:  25006/, "standby: $statement");
}
$standby->stop;

# Limits: which one, and what to type.
query("SELECT tidemark.drop_ingest('$_')") for qw(a b c);
wait_until($node, $workers, '');
fault($node, 'started:wait');
query('ALTER SYSTEM SET tidemark.max_workers_per_database = 1');
$node->reload;
query(q{SELECT tidemark.start_ingest('d')});
wait_for_fault($node, 'started');
query(q{SELECT tidemark.start_ingest('e')});
my $why = q{SELECT state || '|' || sqlstate || '|' || reason || '|' || hint FROM tidemark.ingests WHERE stream <> 'manual'::regclass};
wait_until($node, "$why AND stream = 'e'::regclass",
	'retrying|53400|all workers that "tidemark.max_workers_per_database" (1) allows are running|'
	  . 'ALTER SYSTEM SET tidemark.max_workers_per_database = 9; SELECT pg_reload_conf();');
pass('max_workers_per_database');
query(q{SELECT tidemark.drop_ingest('e')});

query('CREATE DATABASE other');
$node->safe_psql('other', $_) for (
	'CREATE EXTENSION tidemark',
	q{CREATE SERVER m FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual')},
	q{CREATE FOREIGN TABLE manual (id int) SERVER m OPTIONS (topic 'manual')},
	q{CREATE SERVER nobody FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '127.0.0.1:1')},
	q{CREATE FOREIGN TABLE o (id int) SERVER nobody OPTIONS (topic 'o')});
query('ALTER SYSTEM RESET tidemark.max_workers_per_database');
query('ALTER SYSTEM SET tidemark.max_workers = 1');
$node->restart;
wait_for_fault($node, 'started');
$node->safe_psql('other', q{SELECT tidemark.start_ingest('o')});
wait_until($node, $why, 'retrying|53400|all workers that "tidemark.max_workers" (1) allows are running, '
	. '1 of them in other databases|ALTER SYSTEM SET tidemark.max_workers = 9; then restart the server.', 'other');
pass('max_workers');

# no room for a second scheduler, and none for a worker of the first
query('ALTER SYSTEM SET max_worker_processes = 3');
$node->restart;
wait_until($node, $why, 'retrying|53400|all background processes that "max_worker_processes" (3) allows are in use|'
	. 'ALTER SYSTEM SET max_worker_processes = 11; then restart the server.', $_) for qw(postgres other);
pass('max_worker_processes');
fault($node, '');
$node->stop('fast');
done_testing();
