# Proves what happens when a forgotten replication slot holds the oldest
# transaction id until PostgreSQL gives no more (fault matrix, rows 30 and 31):
# the ingest says so and tries again with pauses, sets nothing aside, and goes on
# by itself once the slot is gone and vacuum has been there.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $node = new_node('main', 'wal_level' => 'logical', 'autovacuum_naptime' => '1s');
my $topic = new_topic('wraparound', 2);

sub query { return $node->safe_psql('postgres', $_[0]); }

start_ids($node, 's', $topic);
produce_ids($topic, 2, 200);
wait_for_ids($node, 's', $topic);
query("SELECT pg_create_logical_replication_slot('forgotten', 'pgoutput')");

# Two thousand million transactions later: the next id is the one at which
# PostgreSQL stops, also after vacuum has come as far as the slot lets it.  The
# page of the commit log that it lies on comes with it.
my $stop = query('SELECT catalog_xmin FROM pg_replication_slots') + 2**31 - 1 - 3_000_000;
my $segment = sprintf '%s/pg_xact/%04X', $node->data_dir, $stop / (8192 * 32 * 4);
$node->stop;
command_ok([ 'pg_resetwal', '-x', $stop, $node->data_dir ], 'pg_resetwal');
append_to_file($segment, "\0" x (8192 * 32)) unless -e $segment;
my $log_start = -s $node->logfile;
$node->start;

produce_ids($topic, 2, 1000);
wait_until($node, "SELECT state FROM tidemark.ingests WHERE reason LIKE '%wraparound%'", 'retrying');
like(query('SELECT sqlstate || hint FROM tidemark.ingests'), qr/^54000.*vacuum.*replication slots/is,
	'the ingest says what is the matter and what to do');
my ($rc, $out, $err) = $node->psql('postgres', 'CREATE TABLE t ()');
like($err, qr/wraparound/, 'others cannot write either');
is(query("SELECT count(*) > 0 FROM s_table"), 't', 'views can be read');

# it stays so, with pauses between the attempts
my $failures = "SELECT failures FROM tidemark_state.worker_status() WHERE role = 'ingest'";
wait_until($node, "SELECT ($failures) >= 5");
is(query('SELECT state FROM tidemark.ingests'), 'retrying', 'not failed');
my $log = slurp_file($node->logfile, $log_start);
my @errors = $log =~ /^[^\n]*tidemark[^\n]*ERROR: [^\n]*wraparound/mg;
cmp_ok(scalar @errors, '<=', 2, 'the log is not filled');
unlike($log, qr/exited with exit code|terminated by signal/, 'no process has crashed');

query("SELECT pg_drop_replication_slot('forgotten')");
wait_for_ids($node, 's', $topic);
wait_until($node, "SELECT state FROM tidemark.ingests", 'running');
check_ids($node, 's', $topic, 'after vacuum');
check_views($node, 's', 'after vacuum');
is(query(q{SELECT string_agg(DISTINCT sqlstate, ' ') FROM tidemark.dead_letters}), '22P02',
	'dead letters are those of their own faults only');
done_testing();
