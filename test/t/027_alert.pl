# Proves that an alert reaches a client: a row produced to a real broker wakes a
# LISTENing session through a threshold view, and a window that closes through a
# view of closed windows, in that order; what is told is committed when it is heard.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use JSON::PP;
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

skip_without_kafka();
my $node = new_node('main');
my $topic = new_topic('alert', 2);

create_kafka_server($node);
$node->safe_psql('postgres', $_) for (
	"CREATE FOREIGN TABLE reading (sensor text, celsius int, at timestamptz)
		SERVER kafka OPTIONS (topic '$topic', event_time 'at')",
	"CREATE MATERIALIZED VIEW hot WITH (tidemark.continuous, tidemark.notify = 'alert') AS
		SELECT window_start, sensor, max(celsius) AS highest
		FROM reading, tidemark.tumble(at, '10 s') GROUP BY window_start, sensor HAVING max(celsius) > 80",
	"CREATE MATERIALIZED VIEW report WITH (tidemark.continuous, tidemark.emit = 'final', tidemark.notify = 'alert') AS
		SELECT window_start, window_end, sensor, max(celsius) AS highest
		FROM reading, tidemark.tumble(at, '10 s') GROUP BY window_start, window_end, sensor",
	'REFRESH MATERIALIZED VIEW hot',
	'REFRESH MATERIALIZED VIEW report');

my $client = $node->background_psql('postgres');
my @heard;
$client->query_safe('LISTEN alert');

# psql prints notifications behind the answer to a query, so ask until there are
# N more, each with what is in its view at that moment; or none for a while.
sub hear
{
	my ($n, $seconds) = @_;
	my $deadline = time + ($seconds || $PostgreSQL::Test::Utils::timeout_default);
	my $wanted = @heard + $n;

	while (@heard < $wanted && time < $deadline)
	{
		my $out = $client->query('SELECT 1');
		while ($out =~ /^Asynchronous notification "alert" with payload "(.*)" received/mg)
		{
			my $told = decode_json($1);
			my $view = $told->{view} =~ s/^public\.//r;
			push @heard, "$view " . join ' ', map { "$_->{sensor}=$_->{highest}" } @{ $told->{groups} };
			is($client->query("SELECT string_agg(sensor || '=' || highest, ' ' ORDER BY window_start DESC, sensor) "
					  . "FROM (SELECT * FROM $view ORDER BY window_start DESC, sensor LIMIT "
					  . @{ $told->{groups} } . ') d'),
				join(' ', map { "$_->{sensor}=$_->{highest}" } @{ $told->{groups} }),
				"$view: what is told can be read");
		}
		usleep(5_000);
	}
	return;
}

sub produce
{
	my ($label, $n, @rows) = @_;
	my @lines = map {
		sprintf '{"partition": %d, "value": {"sensor": "%s", "celsius": %d, "at": "2026-01-01T00:00:%02dZ"}}', @$_ } @rows;
	my $start = time;

	produce_lines($topic, @lines);
	hear($n, $n ? undef : 0.5);
	note(sprintf '%s: %.0f ms from before the first message was produced', $label, (time - $start) * 1000) if $n;
	return;
}

# Below the threshold nobody is woken.
produce('below', 0, [ 0, 'roof', 79, 1 ], [ 1, 'well', 20, 2 ]);
is_deeply(\@heard, [], 'below the threshold: silence');

# At once, long before the window closes; and again when it changes.
produce('threshold', 1, [ 0, 'roof', 81, 3 ]);
is_deeply(\@heard, ['hot roof=81'], 'the threshold wakes the client');
produce('change', 1, [ 0, 'roof', 85, 4 ]);
is($heard[1], 'hot roof=85', 'so does a change above it');

# One partition has passed the end of the window: it closes when both have.
produce('one partition', 0, [ 0, 'roof', 70, 11 ]);
is(scalar @heard, 2, 'the slowest partition holds the window open');
produce('closing', 1, [ 1, 'well', 21, 12 ]);
is($heard[2], 'report roof=85 well=20', 'closing wakes the client, once, with the final rows');

# Both views in one batch or two: the alarm is not behind the report of its window.
produce('both', 2, [ 0, 'roof', 90, 15 ], [ 0, 'roof', 1, 21 ], [ 1, 'well', 1, 22 ]);
hear(1, 1);
is_deeply([ grep { !/^hot / } @heard[ 3 .. $#heard ] ], ['report roof=90 well=21'], 'the report once');
is($heard[3], 'hot roof=90', 'the alarm comes before the report of its window');

$client->quit;
is($node->safe_psql('postgres', "SELECT count(*) FROM tidemark.views v, tidemark.verify(v.view)"), '0', 'verified');
done_testing();
