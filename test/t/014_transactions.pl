# Proves that a read_committed ingest sees committed transactions only, passes
# control records and aborted messages without counting them as lag or loss, and
# waits at an open transaction (fault matrix, row 15).
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/..";
use TidemarkTest;
use PostgreSQL::Test::Utils;
use Test::More;

skip_without_kafka();
my $node = new_node('main');
my $brokers = brokers();
my $topic = new_topic('txn', 1);

$node->safe_psql('postgres', qq{
	CREATE SERVER kafka FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers '$brokers');
	CREATE USER MAPPING FOR PUBLIC SERVER kafka;
	CREATE FOREIGN TABLE s (id int, k_offset bigint OPTIONS (metadata 'offset'))
		SERVER kafka OPTIONS (topic '$topic');
	CREATE TABLE t (LIKE s);
	SELECT tidemark.start_ingest('s', into_table => 't')});
$node->safe_psql('postgres',
	'CREATE MATERIALIZED VIEW v WITH (tidemark.continuous) AS SELECT count(*), sum(id) FROM t');

sub lines { return join '', map { qq({"value": {"id": $_}, "partition": 0}\n) } @_; }
sub ids { return $node->safe_psql('postgres', 'SELECT string_agg(id::text, \',\' ORDER BY k_offset) FROM t'); }
sub position { return $node->safe_psql('postgres', 'SELECT next_offset FROM tidemark.partitions'); }

# offsets 0, 1, then the commit marker at 2
kafka('produce', $topic, '--txn', "a$$", \lines(1, 2));
wait_until($node, 'SELECT count(*) FROM t', 2);
wait_until($node, 'SELECT next_offset, lag FROM tidemark.partitions', '3|0');
pass('position passes the marker of a commit');

# aborted: 3, 4 and the marker at 5
kafka('produce', $topic, '--txn', "b$$", '--abort', \lines(13, 14));
wait_until($node, 'SELECT next_offset, lag FROM tidemark.partitions', '6|0');
is(ids(), '1,2', 'aborted messages are not seen');

# aborted and committed ones in one go
kafka('produce', $topic, '--txn', "b$$", '--abort', \lines(15));
kafka('produce', $topic, '--txn', "a$$", \lines(3));
wait_until($node, 'SELECT count(*) FROM t', 3);
wait_until($node, 'SELECT next_offset, lag FROM tidemark.partitions', '10|0');
is(ids(), '1,2,3', 'the committed ones are');

# an open transaction holds what comes behind it
kafka('produce', $topic, '--txn', "c$$", '--hang', \lines(99));
kafka('produce', $topic, \lines(4));
is($node->safe_psql('postgres', "SELECT tidemark.wait_caught_up('s')"), 't',
	'caught up with the last stable offset');
is(ids(), '1,2,3', 'nothing behind an open transaction is seen');
is(position(), 10, 'position stays before it');

# the next producer of that id ends it
kafka('produce', $topic, '--txn', "c$$", \lines(5));
wait_until($node, 'SELECT count(*) FROM t', 5);
is(ids(), '1,2,3,4,5', 'it goes on when the transaction has ended');
wait_until($node, 'SELECT lag FROM tidemark.partitions', 0);
is($node->safe_psql('postgres', "SELECT count(*) FROM s"), 5, 'a SELECT sees the same');
is($node->safe_psql('postgres', "SELECT * FROM tidemark.verify('v')"), '', 'the view equals its query');
is($node->safe_psql('postgres', 'SELECT state, dead_letters FROM tidemark.ingests'), 'running|0', 'all is well');

$node->stop;
done_testing();
