# Proves that a connection of some KB a second, and one that breaks in the middle
# of answers, only make an ingest slow: every message arrives once, no
# transaction is open while the worker waits for it, and the worker ends when
# told to (fault matrix, row 8).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use Time::HiRes qw(time usleep);
use TidemarkTest;
use TidemarkIngest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_java();
start_proxied_broker();
my $node = new_node('main', 'tidemark.restart_backoff_max' => '500ms');
my $topic = new_topic('slow', 2);

sub query { return $node->safe_psql('postgres', $_[0]); }

# Messages that were applied, good or bad.
my $applied = "SELECT (SELECT count(*) FROM s_rows) + (SELECT count(*) FROM tidemark.dead_letters)";

# With more messages behind it than the connection can bring in the time.
sub pile_up
{
	my ($count) = @_;

	query("SELECT tidemark.pause('s')");
	produce_ids($topic, 2, $count);
	return;
}

start_ids($node, 's', $topic);
produce_ids($topic, 2, 200);
wait_for_ids($node, 's', $topic);

# slow
pile_up(3000);
proxy('rate 60000');
query("SELECT tidemark.resume('s')");
my $open = 0;
my $waiting = 0;
my $samples = 0;
my $end = time() + 2;
while (time() < $end || $samples < 6)
{
	my ($all, $for_kafka) = split /\|/, query("SELECT count(*), count(*) FILTER (WHERE wait_event_type = 'Extension')
		FROM pg_stat_activity WHERE backend_type LIKE 'tidemark %' AND xact_start < clock_timestamp() - interval '200 ms'");
	$open += $all;
	$waiting += $for_kafka;
	$samples++;
	usleep(100_000);
}
cmp_ok($samples, '>', 5, 'slow: looked at often enough');
is($waiting, 0, 'slow: no transaction is open while it waits for Kafka');
# a busy machine may hold up one that does not wait for Kafka
cmp_ok($open, '<', $samples / 2, 'slow: no transaction stays open');
cmp_ok(query($applied), '<', produced($topic), 'slow: it does take its time');
my $pid = worker_pid($node, 's');
is(query("SELECT pg_terminate_backend($pid, 5000)"), 't', 'slow: the worker answers SIGTERM');
wait_for_ids($node, 's', $topic);
check_ids($node, 's', $topic, 'slow');

# cut
proxy('pass');
pile_up(3000);
proxy('cut 500');
query("SELECT tidemark.resume('s')");
wait_for_ids($node, 's', $topic);
check_ids($node, 's', $topic, 'cut');
is(query("SELECT state FROM tidemark.ingests"), 'running', 'cut: running');

# from then on as ever
proxy('pass');
produce_ids($topic, 2, 200);
wait_for_ids($node, 's', $topic);
check_ids($node, 's', $topic, 'at the end');
check_views($node, 's', 'at the end');
done_testing();
