# Proves that pg_upgrade takes a database along with its views as they are, that
# nothing starts by itself then, and that everything goes on exactly once when
# told to.  Old and new server are of one version here: that stored states have
# the same bytes on all of them is shown by regress/maintain_agg.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $old = new_node('old');
my $new = init_node('new');
my $topic = new_topic('upgrade', 3);

start_ids($old, 's', $topic);
produce_ids($topic, 3, 500);
wait_for_ids($old, 's', $topic);

# A manual stream with views of every kind, closed windows and late rows.
my %query = (
	tumbling => q{SELECT window_start, window_end, k, count(*), sum(x), avg(x) AS mean, stddev(x), avg(d)
		FROM m AS s, tidemark.tumble(s.at, '10 s') GROUP BY window_start, window_end, k},
	hopping => q{SELECT window_start, window_end, k, max(x) FROM m AS s, tidemark.hop(s.at, '5 s', '10 s')
		GROUP BY window_start, window_end, k},
	session => q{SELECT k, session_start, session_end, count(*) FROM (SELECT k,
		tidemark.session_start(at, '5 s') OVER w, tidemark.session_end(at, '5 s') OVER w
		FROM m WINDOW w AS (PARTITION BY k ORDER BY at)) s GROUP BY k, session_start, session_end},
	final => q{SELECT window_start, window_end, k, count(*), min(x)
		FROM m AS s, tidemark.tumble(s.at, '10 s') GROUP BY window_start, window_end, k});
my %options = (final => ", tidemark.emit = 'final', tidemark.allowed_lateness = '0 s', tidemark.late = 'table'");

sub inject
{
	my ($node, @seconds) = @_;
	my $lines = join ', ', map { sprintf q('{"k": %d, "x": %d.25, "d": "%d s", "at": "2026-01-01T00:%02d:%02dZ"}'),
		$_ % 3, $_, $_, $_ / 60, $_ % 60 } @seconds;

	$node->safe_psql('postgres', "SELECT tidemark.inject('m', ARRAY[$lines])");
	return;
}

$old->safe_psql('postgres', q{
	CREATE SERVER manual FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');
	CREATE FOREIGN TABLE m (k int, x numeric, d interval, at timestamptz) SERVER manual
		OPTIONS (topic 'm', event_time 'at', watermark_delay '5 s')});
for my $view (sort keys %query)
{
	my $more = $options{$view} || '';

	$old->safe_psql('postgres',
		"CREATE MATERIALIZED VIEW $view WITH (tidemark.continuous$more) AS $query{$view}");
}
$old->safe_psql('postgres', q{
	CREATE VIEW above AS SELECT k, sum(count) AS n FROM tumbling GROUP BY k;
	CREATE ROLE reader;
	GRANT SELECT ON tumbling TO reader;
	CREATE TABLE m_rows (LIKE m) PARTITION BY RANGE (at);
	SELECT tidemark.partition_by_time('m_rows', '1 day', 2, since => '2026-01-01')});
inject($old, 1 .. 60, 3, 4);
inject($old, 55 .. 80, 30);

my @views = (sort(keys %query), qw(above s_table s_stream));
my $content = join ' UNION ALL ',
	map { "SELECT '$_', json_agg(r ORDER BY r::text)::text FROM $_ r" } @views;
my $facts = q{SELECT view, late, closed, watermark, options FROM tidemark.views ORDER BY view::text;
	SELECT stream, partition, next_offset FROM tidemark.partitions ORDER BY 1, 2;
	SELECT count(*) FROM tidemark.dead_letters;
	SELECT view, row FROM tidemark.late_rows ORDER BY 1::text, 2::text;
	SELECT has_table_privilege('reader', 'tumbling', 'SELECT')};
my $content_before = $old->safe_psql('postgres', $content);
my $facts_before = $old->safe_psql('postgres', $facts);
like($facts_before, qr/final.*\nhopping/, 'the views are there');
cmp_ok($old->safe_psql('postgres', 'SELECT count(*) FROM tidemark.late_rows'), '>', 0, 'there are late rows');
$old->stop;

my $bindir = $old->config_data('--bindir');
chdir $PostgreSQL::Test::Utils::tmp_check or die;
command_ok([ 'pg_upgrade', '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $bindir, '-B', $bindir,
		'-s', $new->host, '-p', $old->port, '-P', $new->port ], 'pg_upgrade');
$new->start;

is($new->safe_psql('postgres', $content), $content_before, 'every view is as it was');
is($new->safe_psql('postgres', $facts), $facts_before, 'and what is known of it');
is($new->safe_psql('postgres', 'SELECT DISTINCT state, reason FROM tidemark.ingests'), 'paused|restored',
	'the ingests are paused');

produce_ids($topic, 3, 100);
$new->safe_psql('postgres', "SELECT tidemark.resume(stream) FROM tidemark.ingests WHERE state = 'paused'");
wait_for_ids($new, 's', $topic);
check_ids($new, 's', $topic, 'exactly once after resume()');
inject($new, 70 .. 120, 31);
for my $view (sort(keys %query), qw(s_table s_stream))
{
	is($new->safe_psql('postgres', "SELECT * FROM tidemark.verify('$view')"), '', "verify() of $view");
}
ok($new->safe_psql('postgres', $content) ne $content_before, 'the views have gone on');

done_testing();
