
=pod

=head1 NAME

TidemarkIngest - a numbered stream, and the proof that nothing of it was lost

=head1 SYNOPSIS

  use TidemarkTest;
  use TidemarkIngest;

  my $topic = new_topic('ids', 4);
  start_ids($node, 's', $topic);
  produce_ids($topic, 4, 1000);
  wait_for_ids($node, 's', $topic);
  check_ids($node, 's', $topic, 'after the fault');

=head1 DESCRIPTION

Every message has the next number as its id; one in fifty cannot be decoded and
belongs into the dead letters.  The stream NAME is stored in table NAME_rows;
view NAME_table reads that table, view NAME_stream the stream itself.

=cut

package TidemarkIngest;

use strict;
use warnings;
use Exporter 'import';
use Test::More;
use TidemarkTest;

our @EXPORT = qw(create_kafka_server create_ids start_ids produce_ids produce_ids_begin produced
  wait_for_ids ids_sql check_ids check_views worker_pid);

my %next_id;    # by topic

=head2 create_kafka_server(node, database = 'postgres')

Server "kafka" at the brokers in use, with what makes a test quick to notice
that brokers are gone or back.

=cut

sub create_kafka_server
{
	my ($node, $database) = @_;
	my $brokers = brokers();

	$node->safe_psql($database || 'postgres', qq{
		CREATE SERVER IF NOT EXISTS kafka FOREIGN DATA WRAPPER tidemark_kafka
			OPTIONS (bootstrap_servers '$brokers');
		CREATE USER MAPPING IF NOT EXISTS FOR PUBLIC SERVER kafka});
	return;
}

=head2 create_ids(node, name, topic, option => value, ...)

Server, stream, table and the two views' queries, but no ingest.

=cut

sub create_ids
{
	my ($node, $name, $topic, %options) = @_;
	my $options = join '', map { ", $_ '$options{$_}'" } sort keys %options;

	create_kafka_server($node);
	$node->safe_psql('postgres', qq{
		CREATE FOREIGN TABLE $name (
			id bigint NOT NULL,
			grp int,
			val numeric,
			at timestamptz,
			k_part int OPTIONS (metadata 'partition'),
			k_offset bigint OPTIONS (metadata 'offset')
		) SERVER kafka OPTIONS (topic '$topic', event_time 'at' $options);
		CREATE TABLE ${name}_rows (LIKE $name)});
	return;
}

sub view_query
{
	my ($source) = @_;

	return "SELECT grp, count(*) AS n, sum(val) AS total, max(id) AS last, avg(val) AS mean "
	  . "FROM $source GROUP BY grp";
}

=head2 start_ids(node, name, topic, option => value, ...)

The same with the ingest and the views running; option workers is that of
start_ingest().

=cut

sub start_ids
{
	my ($node, $name, $topic, %options) = @_;
	my $workers = delete $options{workers} || 1;

	create_ids($node, $name, $topic, %options);
	$node->safe_psql('postgres', $_) for (
		"SELECT tidemark.start_ingest('$name', into_table => '${name}_rows', workers => $workers)",
		"CREATE MATERIALIZED VIEW ${name}_table WITH (tidemark.continuous) AS "
		  . view_query("${name}_rows"),
		"CREATE MATERIALIZED VIEW ${name}_stream WITH (tidemark.continuous) AS "
		  . view_query($name));
	return;
}

=head2 produce_ids(topic, partitions, count), produced(topic)

Produce the next numbers, round robin over the partitions; the number produced
so far.

=cut

sub lines_of_ids
{
	my ($topic, $partitions, $count) = @_;
	my $from = $next_id{$topic} || 0;
	my $base = 1_767_225_600;    # 2026-01-01 00:00:00 UTC
	my @lines;

	for my $id ($from .. $from + $count - 1)
	{
		my $val = $id % 50 == 49 ? '"none"' : $id / 4;
		my $at = ($base + $id) * 1000;
		push @lines, qq({"partition": ${\ ($id % $partitions)}, "timestamp": $at, "value": )
		  . qq({"id": $id, "grp": ${\ ($id % 7)}, "val": $val, "at": "2026-01-01T00:00:00Z"}});
	}
	$next_id{$topic} = $from + $count;
	return @lines;
}

sub produce_ids
{
	my ($topic, $partitions, $count) = @_;

	produce_lines($topic, lines_of_ids($topic, $partitions, $count));
	return;
}

=head2 produce_ids_begin(topic, partitions, count)

The same, but returns while they are still being produced; kafka_end() waits
for the end, and must be called before anything else is asked of Kafka.

=cut

sub produce_ids_begin
{
	my ($topic, $partitions, $count) = @_;

	kafka_begin('produce', $topic, \join("\n", lines_of_ids($topic, $partitions, $count), ''));
	return;
}

sub produced
{
	my ($topic) = @_;
	return $next_id{$topic} || 0;
}

=head2 ids_sql(name)

A query that gives, in one snapshot: ids in table and dead letters, different
ones, highest one, the sum of the positions less the rows that passed (0 for a
topic without transactions), groups in which a view differs from its query,
partitions whose position is not behind their last row.

=cut

sub ids_sql
{
	my ($name) = @_;
	my $query = view_query("${name}_rows");
	my $differ = join ' + ', map {
		"(SELECT count(*) FROM ((TABLE $_ EXCEPT ALL $query) UNION ALL ($query EXCEPT ALL TABLE $_)) d)"
	} "${name}_table", "${name}_stream";

	return qq{
		WITH letters AS (
			SELECT * FROM tidemark.dead_letters WHERE stream = '$name'::regclass),
		ids AS (
			SELECT id FROM ${name}_rows
			UNION ALL
			SELECT (convert_from(value, 'UTF8')::json->>'id')::bigint FROM letters),
		positions AS (
			SELECT * FROM tidemark_state.partition WHERE stream = '$name'::regclass)
		SELECT count(*), count(DISTINCT id), coalesce(max(id), -1) + 1,
			(SELECT coalesce(sum(next_offset - skipped - first_offset), 0) FROM positions) - count(*),
			$differ,
			(SELECT count(*) FROM positions p WHERE next_offset <=
				(SELECT max(k_offset) FROM ${name}_rows WHERE k_part = p.partition))
		FROM ids};
}

=head2 wait_for_ids(node, name, topic)

Wait until as many messages have passed as were produced.

=cut

sub wait_for_ids
{
	my ($node, $name, $topic) = @_;
	my $n = produced($topic);

	wait_until($node, "SELECT (SELECT count(*) FROM ${name}_rows) + "
	  . "(SELECT count(*) FROM tidemark.dead_letters WHERE stream = '$name'::regclass)", $n);
	wait_until($node, "SELECT bool_and(state = 'live') FROM tidemark.views "
	  . "WHERE view IN ('${name}_table'::regclass, '${name}_stream'::regclass)");
	return;
}

=head2 check_ids(node, name, topic, label), check_views(node, name, label)

Test that all that was produced is there exactly once, and that views and
positions agree with it; the second, slower, lets verify() judge.

=cut

sub check_ids
{
	my ($node, $name, $topic, $label) = @_;
	my $n = produced($topic);

	is($node->safe_psql('postgres', ids_sql($name)), "$n|$n|$n|0|0|0",
		"$label: exactly once, views and offsets agree");
	return;
}

sub check_views
{
	my ($node, $name, $label) = @_;

	is($node->safe_psql('postgres', "SELECT * FROM tidemark.verify('${name}_$_')"), '',
		"$label: verify() of the view over the $_") for qw(table stream);
	return;
}

=head2 worker_pid(node, name, index = 0)

The process that ingests; waits for it.

=cut

sub worker_pid
{
	my ($node, $name, $index) = @_;
	my $from = "FROM tidemark_state.worker_status() WHERE role = 'ingest' AND state = 'running' "
	  . "AND object = '$name'::regclass AND index = " . ($index || 0);

	# it may end between two looks
	for (1 .. 100)
	{
		wait_until($node, "SELECT count(*) $from", 1);
		my $pid = $node->safe_psql('postgres', "SELECT pid $from");
		return $pid if $pid ne '';
	}
	die "no worker of $name stays";
}

1;
