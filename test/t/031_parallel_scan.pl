# Proves that a SELECT on a stream that several processes read together gives the
# rows, the WARNING and the errors of a serial one, and that it is chosen where
# the log is worth it and possible where it has to be.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use Time::HiRes qw(time);
use TidemarkTest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $node = new_node('main', max_parallel_workers => 8);
my $brokers = brokers();

sub query { return $node->safe_psql('postgres', join(' ', @_)); }

sub query_messages
{
	my ($out, $err);
	$node->psql('postgres', join(' ', @_), stdout => \$out, stderr => \$err);
	return ($out, $err);
}

# as other queries are planned; in parallel whatever it costs; never
my $serial = 'SET max_parallel_workers_per_gather = 0;';
my $parallel = 'SET min_parallel_table_scan_size = 0; SET parallel_setup_cost = 0;'
  . 'SET parallel_tuple_cost = 0; SET max_parallel_workers_per_gather = 3;';

sub analyze { return query($_[0], "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) $_[1]"); }

sub create_stream
{
	my ($name, $topic, $server) = @_;
	$server ||= 'kafka';
	query(qq{CREATE FOREIGN TABLE $name (
		id int, name text, amount numeric, at timestamptz, doc jsonb,
		k_part int OPTIONS (metadata 'partition'),
		k_offset bigint OPTIONS (metadata 'offset'),
		k_ts timestamptz OPTIONS (metadata 'timestamp'),
		k_wm timestamptz OPTIONS (metadata 'watermark')
		) SERVER $server OPTIONS (topic '$topic', watermark_delay '0 s')});
}

# rows that only one of two queries gives, one of them in parallel
sub is_same
{
	my ($what, $select) = @_;
	my $workers = analyze($parallel, $select) =~ /Workers Launched: (\d+)/ ? $1 : 0;

	cmp_ok($workers, '>', 0, "$what: in parallel");
	is(query("$serial CREATE TEMP TABLE a AS $select; $parallel CREATE TEMP TABLE b AS $select;"
			. 'SELECT (SELECT count(*) FROM a), count(*) FROM ((TABLE a EXCEPT ALL TABLE b) '
			. 'UNION ALL (TABLE b EXCEPT ALL TABLE a)) d') =~ /^[1-9]\d*\|0$/, 1, "$what: the same rows");
	return;
}

my $t0 = 1767225600000;    # 2026-01-01 00:00:00 UTC
sub line
{
	my ($id, $partition) = @_;
	return sprintf '{"value": {"id": %d, "name": "n%d", "amount": %d.5}, "partition": %d, "timestamp": %d}',
	  $id, $id % 7, $id, $partition, $t0 + 1000 * $id;
}

query("CREATE SERVER kafka FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '$brokers')");
my %topic = map { $_ => new_topic("scan$_", $_) } (1, 3, 16);
$topic{empty} = new_topic('scanempty', 3);
$topic{big} = new_topic('scanbig', 2);
create_stream("s$_", $topic{$_}) foreach (keys %topic);

foreach my $n (1, 3, 16)
{
	# skewed: half of it in partition 0
	produce_lines($topic{$n}, map { line($_, $_ % 2 ? 0 : $_ % $n) } 0 .. 4999);
	is_same("$n partitions", "SELECT id, name, amount, k_part, k_offset, k_ts FROM s$n");
	is_same("$n partitions, watermark", "SELECT id, k_wm, k_part, k_offset FROM s$n")
	  if $n > 1;
	is(query($parallel, "SELECT count(*), sum(id), count(DISTINCT (k_part, k_offset)) FROM s$n"),
		'5000|12497500|5000', "$n partitions: aggregates");
}
is(query($parallel, 'SELECT count(*) FROM sempty'), 0, 'empty topic');
unlike(analyze($parallel, 'SELECT count(*) FROM sempty'), qr/Launched: [^0]/, 'no workers for an empty topic');
unlike(analyze($parallel, 'SELECT id, k_wm FROM s1 WHERE k_part = 0'), qr/Gather/,
	'one partition with its watermark is not divided');

# what the planner chooses, and what the leader makes of it
produce_lines($topic{big}, map { sprintf '{"value": {"id": %d}, "partition": %d}', $_, $_ % 2 } 1 .. 140000);
my $plan = analyze('', 'SELECT count(*), sum(id) FROM sbig');
like($plan, qr/Gather.*Workers Launched: [12]\b.*Partial Aggregate.*Parallel Foreign Scan.*Messages: 140000\n.*Skipped: 0/s,
	'a large log is read in parallel');
is(query('SELECT count(*), sum(id) FROM sbig'), '140000|9800070000', 'its sum');
unlike(query('EXPLAIN SELECT id FROM sbig LIMIT 10'), qr/Gather/, 'LIMIT 10 is serial');
unlike(analyze($serial, 'SELECT count(*) FROM sbig'), qr/Gather/, 'turned off');
like(analyze('', 'SELECT count(*) FROM s3'), qr/Workers Planned: 2\n\s+Workers Launched: 0\n.*Messages: 5000/s,
	'a small log is not worth a worker');
like(analyze('SET parallel_leader_participation = off;', 'SELECT count(*) FROM sbig'),
	qr/Workers Launched: 2.*Messages: 140000/s, 'without the leader');

# conditions
my $some = "SELECT id, k_part, k_offset FROM s3 WHERE k_part IN (0, 2) AND k_offset BETWEEN 100 AND 299";
is_same('partition and offset', $some);
like(analyze($parallel, $some), qr/Messages: 400\n/, 'only those are read');
like(analyze($parallel, "SELECT count(*) FROM s16 WHERE k_ts >= '2026-01-01 01:20:00+00'"),
	qr/Workers Launched: [1-3].*Messages: 200\n/s, 'start by timestamp');
is(query($parallel, "SELECT count(*), min(id) FROM s16 WHERE k_ts >= '2026-01-01 01:20:00+00'"),
	'200|4800', 'its rows');
like(analyze($parallel, 'SELECT count(*) FROM s16 WHERE k_part = (SELECT 0)'), qr/InitPlan.*Workers Launched: [1-3]/s, 'value of an InitPlan');

# other plans
is_same('a join', 'SELECT s.id, d FROM s3 s JOIN generate_series(0, 2) d ON d = s.k_part');
is_same('two streams', 'SELECT id FROM s3 UNION ALL SELECT id FROM s16');
is(query($parallel, 'SET enable_material = off; SELECT count(*), min(c), max(c) FROM generate_series(1, 3) g '
		. 'LEFT JOIN (SELECT count(*) c FROM s3) x ON g > 0'), '3|5000|5000', 'rescans of Gather');
like(analyze("$parallel SET enable_material = off;", 'SELECT * FROM generate_series(1, 3) g '
		. 'LEFT JOIN (SELECT count(*) c FROM s3) x ON g > 0'),
	qr/Gather \(actual rows=\d+(\.00)? loops=3\).*Messages: 15000\n/s, 'messages of all rescans');
is(query($parallel, 'SELECT g, c FROM generate_series(1, 2) g, LATERAL (SELECT count(*) c FROM s3 WHERE k_offset < g) x ORDER BY 1'),
	"1|3\n2|6", 'lateral');
is(query($parallel, 'BEGIN; DECLARE c CURSOR FOR SELECT id FROM s3; MOVE 2000 FROM c; MOVE 1000 FROM c;'
		. 'SELECT count(*) FROM pg_cursors; COMMIT;'), 1, 'cursor');
my $start = time;
is(scalar(split /\n/, query($parallel, 'SELECT id FROM sbig WHERE id > 0 LIMIT 3')), 3, 'LIMIT');
is(query($parallel, 'SELECT count(*) FROM (SELECT id FROM sbig WHERE id > 5 LIMIT 20) x'), 20, 'LIMIT below');
cmp_ok(time - $start, '<', 20, 'LIMIT ends soon');
my $force = query("SELECT name FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query')");
is(query("SET $force = regress;", 'SELECT count(*), sum(id) FROM s3'), '5000|12497500', 'forced');
is(query("SET $force = on;", $serial, 'SELECT count(*), sum(id) FROM s3'), '5000|12497500', 'forced, serial scan');
is(query($parallel, 'BEGIN; CREATE TABLE written (i int); INSERT INTO written VALUES (1);'
		. 'SELECT count(*) FROM s3, written; COMMIT'), 5000, 'in a transaction that wrote');

# bad messages: those that only an input function can judge, too
$topic{odd} = new_topic('scanodd', 3);
create_stream('odd', $topic{odd});
query('ALTER FOREIGN TABLE odd ADD COLUMN "userName" text, ADD COLUMN nowhere text');
produce_lines($topic{odd}, map {
		my $p = $_ % 3;
		($_ >= 100 && $_ % 50 == 0
			? (qq[{"value": "not json", "partition": $p}], qq[{"value": {"id": "seven"}, "partition": $p}],
				qq[{"value": {"at": "no time"}, "partition": $p}], qq[{"value": {"amount": "1e999999"}, "partition": $p}],
				qq[{"value": {"id": " 5 ", "at": "1 Jan 2026 UTC", "username": "x"}, "partition": $p}])
			: ()),
		  qq[{"value": {"id": $_, "doc": {"a": [$_]}, "name": "n"}, "partition": $p}]
	} 0 .. 2999);
is_same('among bad messages', 'SELECT id, at, doc, k_part, k_offset FROM odd');
foreach my $how ($serial, $parallel)
{
	my ($out, $err) = query_messages($how, 'SELECT count(*), count(at) FROM odd');
	is($out, '3058|58', 'neighbours of bad messages');
	is(() = $err =~ /WARNING:/g, 1, 'one WARNING');
	like($err, qr/WARNING:  232 bad messages of stream "odd" were skipped\nDETAIL:  The first is in partition \d at offset \d+: \S/,
		'with all of them');
	is(() = $err =~ /NOTICE:/g, 1, 'one NOTICE');
	like($err, qr/NOTICE:  no message of stream "odd" had a member for: "userName" \(messages have "username"\), "nowhere"\n/,
		'of what nobody has seen');
}
like((query_messages($parallel, 'SELECT count(*) FROM odd'))[1], qr/The first is in partition 0 at offset 50: /, 'the first in the log');
like(analyze($parallel, 'SELECT count(*) FROM odd'), qr/Workers Launched: [1-3].*Messages: 3290\n.*Skipped: 232/s, 'counters of all');
like((query_messages($parallel, 'SET enable_material = off; SELECT count(c) FROM generate_series(1, 3) g '
			. 'LEFT JOIN (SELECT count(*) c FROM odd) x ON g > 0'))[1],
	qr/\A(?:psql[^\n]*)?WARNING:  232 bad/, 'rescans do not add up');

# a guard in the leader, while others work for other parts of the query
query('CREATE TABLE large AS SELECT i FROM generate_series(1, 20000) i; ANALYZE large');
is(query("$parallel SET enable_hashjoin = off;", 'SELECT count(*), (SELECT count(*) FROM odd WHERE k_wm IS NULL AND k_part = 0) FROM large'),
	'20000|1', 'beside other workers');

# where it has to be serial
query('CREATE DOMAIN positive AS int');
query('CREATE FOREIGN TABLE checked (id positive) SERVER kafka OPTIONS (topic \'' . $topic{3} . '\')');
like(analyze($parallel, 'SELECT count(*) FROM checked'), qr/Workers Launched: [1-3]/, 'a domain');
like(query("$parallel SET plan_cache_mode = force_generic_plan; PREPARE p AS SELECT count(*) FROM checked; EXECUTE p;"
		. 'ALTER DOMAIN positive ADD CHECK (VALUE > 10); EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) EXECUTE p'),
	qr/\A5000\n(?:(?!Launched: [1-3]).)*Skipped: 11\n?/s, 'a domain that gets a constraint');
unlike(analyze($parallel, 'SELECT count(*) FROM checked'), qr/Gather/, 'a domain with a constraint');
query('CREATE SERVER manual FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport \'manual\')');
create_stream('manual', 'm', 'manual');
unlike(query("$parallel EXPLAIN SELECT count(*) FROM manual"), qr/Gather/, 'a manual stream');
query('CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS SELECT name, count(*), sum(id) FROM s3 GROUP BY name');
wait_until($node, "SELECT state FROM tidemark.views WHERE view = 'v'::regclass", 'live');
is(query($parallel, "SELECT count(*) FROM tidemark.verify('v')"), 0, 'verify()');

# who may read
query('CREATE ROLE guest; GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest; SELECT 1');
my @errors = map { (query_messages($_, 'SET ROLE guest; SELECT count(*) FROM s3'))[1] } ($serial, $parallel);
like($errors[0], qr/permission denied for foreign server kafka/, 'no USAGE');
is($errors[1], $errors[0], 'no USAGE, in parallel');
query('GRANT USAGE ON FOREIGN SERVER kafka TO guest');
is(query($parallel, 'SET ROLE guest; SELECT count(*) FROM s3'), 5000, 'USAGE');
query("CREATE SERVER closed FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '$brokers', security_protocol 'sasl_plaintext', sasl_mechanism 'PLAIN')");
query('GRANT USAGE ON FOREIGN SERVER closed TO guest');
query("CREATE USER MAPPING FOR CURRENT_USER SERVER closed OPTIONS (sasl_username 'u', sasl_password 'p')");
create_stream('closed', $topic{3}, 'closed');
query('GRANT SELECT ON closed TO guest');
@errors = map { (query_messages($_, 'SET ROLE guest; SELECT count(*) FROM closed'))[1] } ($serial, $parallel);
like($errors[0], qr/ERROR/, 'no user mapping');
is($errors[1], $errors[0], 'no user mapping, in parallel');

# a view over a stream is read as its owner, in the workers, too
query('CREATE VIEW public_view AS SELECT id FROM s3; GRANT SELECT ON public_view TO guest; REVOKE USAGE ON FOREIGN SERVER kafka FROM guest');
is(query($parallel, 'SET ROLE guest; SELECT count(*) FROM public_view'), 5000, 'as the owner of a view');

# cancel
$start = time;
my ($out, $err) = query_messages($parallel, "SET statement_timeout = '1s'; SELECT count(*) FROM sbig WHERE pg_sleep(0.01) IS NOT NULL");
like($err, qr/canceling statement due to statement timeout/, 'cancelled');
cmp_ok(time - $start, '<', 10, 'soon');
wait_until($node, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'parallel worker'", '0');
is(query($parallel, 'SELECT count(*) FROM s3'), 5000, 'and the next one runs');

unlike(slurp_file($node->logfile), qr/leak|TRAP|PANIC/, 'no leaks');

kafka('delete', $_) foreach (values %topic);
$node->stop;
done_testing();
