
=pod

=head1 NAME

TidemarkTest - what the TAP tests share

=head1 SYNOPSIS

  use FindBin;
  use lib "$FindBin::Bin/..";
  use TidemarkTest;
  use Test::More;

  skip_without_kafka();
  my $node  = new_node('main', 'tidemark.max_workers' => 2);
  my $topic = new_topic('bid', 4);
  produce_lines($topic, '{"value": {"a": 1}, "partition": 0}');
  wait_until($node, 'SELECT count(*) FROM t', 1);

=head1 DESCRIPTION

A server with the library preloaded, a real broker, and conditions to wait for.
The broker of the test run is named by $KAFKA_BROKERS; a test that stops or
kills brokers starts its own with start_own_broker().

=cut

package TidemarkTest;

use strict;
use warnings;
use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use File::Temp qw(tempdir);
use IPC::Open2;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(new_node init_node wait_until fault wait_for_fault skip_without_faults
  skip_without_kafka skip_without_java brokers new_topic kafka kafka_begin
  kafka_end produce_lines start_own_broker own_broker own_broker_pid
  start_proxied_broker proxy);

my $kafka_folder = abs_path(dirname(__FILE__)) . '/kafka';
my ($helper_pid, $to_helper, $from_helper, $asked);
my %own;    # KAFKA_DIR and KAFKA_PORT of the test's own broker
my $own_brokers;

=head2 new_node(name, setting => value, ...), init_node(name, setting => value, ...)

A started server whose database postgres has the extension; one that was not
started and has only the settings.  It restarts after a crash as a real server
does, which test clusters by default do not.

=cut

sub init_node
{
	my ($name, %conf) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);

	%conf = (
		'shared_preload_libraries' => 'tidemark',
		'restart_after_crash'      => 'on',
		'jit'                      => 'off',
		'max_worker_processes'     => 16,
		'tidemark.restart_backoff_max' => '1s',
		%conf);
	$node->init;
	$node->append_conf('postgresql.conf',
		join('', map { "$_ = '$conf{$_}'\n" } sort keys %conf));
	return $node;
}

sub new_node
{
	my $node = init_node(@_);

	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION tidemark');
	return $node;
}

=head2 wait_until(node, sql, expected = 't', database = 'postgres')

Wait until the query returns the expected text; the test dies on a timeout
with the last answer in the log.  Survives a server that restarts meanwhile,
also one that refuses psql so soon that the query cannot be written to it.

=cut

sub wait_until
{
	my ($node, $sql, $expected, $database) = @_;

	$expected = 't' unless defined $expected;
	for my $attempt (1 .. 100)
	{
		my $found = eval { $node->poll_query_until($database || 'postgres', $sql, "$expected") };

		next if $@ =~ /Broken pipe/;
		die $@ if $@;
		$found or die "waited in vain for \"$expected\" from: $sql";
		return;
	}
	die "the server refused to be asked for \"$expected\" from: $sql";
}

=head2 fault(node, 'point:action[:visit], ...')

Set the fault points of the server (src/base/fault.h) and let every process
read them: at its next point it goes by them.  '' releases and removes all.

=cut

sub fault
{
	my ($node, $points) = @_;

	$node->safe_psql('postgres',
		"ALTER SYSTEM SET tidemark.fault_points = '$points'");
	$node->reload;
	# a new process has what the postmaster has, which has told the others by then
	wait_until($node, 'SHOW tidemark.fault_points', $points);
	return;
}

=head2 wait_for_fault(node, point)

Wait until a process waits at the point; returns its pid.

=cut

sub wait_for_fault
{
	my ($node, $point) = @_;
	my $from = "FROM pg_stat_activity WHERE query = 'waiting at fault point \"$point\"'";

	wait_until($node, "SELECT count(*) > 0 $from");
	return $node->safe_psql('postgres', "SELECT min(pid) $from");
}

=head2 skip_without_faults(node)

Skip the test when the library was built without C<make FAULTS=1>.

=cut

sub skip_without_faults
{
	my ($node) = @_;
	my $found = $node->safe_psql('postgres',
		"SELECT count(*) FROM pg_settings WHERE name = 'tidemark.fault_points'");

	plan skip_all => 'built without fault points' if $found eq '0';
	return;
}

=head2 skip_without_kafka(), skip_without_java(), brokers()

Skip the test when the run has no broker, or cannot start one of its own; the
bootstrap list in use.

=cut

sub skip_without_kafka
{
	plan skip_all => 'KAFKA_BROKERS is not set' unless $ENV{KAFKA_BROKERS};
	return;
}

sub skip_without_java
{
	skip_without_kafka();
	plan skip_all => 'no Java or no KAFKA_LIBS here'
	  unless $ENV{KAFKA_LIBS} && grep { -x "$_/java" } split /:/, $ENV{PATH};
	return;
}

sub brokers
{
	return $own_brokers || $ENV{KAFKA_BROKERS};
}

=head2 kafka(arguments of kafka_helper.py ..., \'standard input')

Run one command in a helper process that stays, at the brokers in use; returns
what it printed.  $ENV{KAFKA_PROPS} gives more client properties.  Between
kafka_begin(same arguments) and kafka_end() the command runs beside the test.

=cut

sub kafka
{
	kafka_begin(@_);
	return kafka_end();
}

sub kafka_begin
{
	my @args  = @_;
	my $stdin = ref $args[-1] ? ${ pop @args } : '';

	if (!$helper_pid)
	{
		$helper_pid = open2($from_helper, $to_helper,
			$ENV{KAFKA_PYTHON} || 'python3', "$kafka_folder/kafka_helper.py", 'serve');
	}
	print $to_helper encode_json({
			args    => [ map { "$_" } @args ],
			stdin   => $stdin,
			brokers => brokers(),
			props   => $ENV{KAFKA_PROPS} }), "\n";
	$to_helper->flush;
	$asked = "kafka @args";
	return;
}

sub kafka_end
{
	my $line = <$from_helper>;
	die "$asked: the helper ended" unless defined $line;
	my $answer = decode_json($line);
	die "$asked: $answer->{out}" unless $answer->{ok};
	return $answer->{out};
}

=head2 new_topic(name, partitions, config => value, ...)

Create a topic whose name carries the process id, so that tests may run side
by side; returns the name.

=cut

sub new_topic
{
	my ($name, $partitions, %config) = @_;
	my $topic = "${name}_$$";

	kafka('create', $topic, $partitions, map { "$_=$config{$_}" } sort keys %config);
	return $topic;
}

=head2 produce_lines(topic, line, ...)

Produce; each line is an object as kafka_helper.py reads it.  Returns when the
broker has acknowledged all of them.

=cut

sub produce_lines
{
	my ($topic, @lines) = @_;

	return kafka('produce', $topic, \join("\n", @lines, ''));
}

=head2 start_own_broker(nodes = 1), own_broker('stop' | 'kill' | 'start', node = 1), own_broker_pid(node = 1)

A broker that only this test uses, on ports and in a folder of its own, and
gone with the test; brokers(), kafka() and the rest then mean this one.  Begin
such a test with skip_without_java().

=cut

sub kafka_sh
{
	my @args = @_;
	local %ENV = (%ENV, %own);
	my $out = qx{"$kafka_folder/kafka.sh" @args 2>&1};

	die "kafka.sh @args: $out" if $? != 0;
	chomp $out;
	return $out;
}

sub start_own_broker
{
	my $nodes = shift || 1;

	$own{KAFKA_DIR} = tempdir('tidemark-kafka-XXXXXX', TMPDIR => 1, CLEANUP => 0) . '/broker';
	$own{KAFKA_PORT} = kafka_sh('port', $nodes);
	$own_brokers = kafka_sh('up', $nodes);
	return $own_brokers;
}

=head2 start_proxied_broker(), proxy(command)

The same, one node, behind a proxy that can be told to be slow or to cut
connections: see kafka/tcp_proxy.py for the commands.  Every client, the helper
too, is led through it.

=cut

my ($proxy_pid, $to_proxy, $from_proxy);

sub start_proxied_broker
{
	$own{KAFKA_DIR} = tempdir('tidemark-kafka-XXXXXX', TMPDIR => 1, CLEANUP => 0) . '/broker';
	$own{KAFKA_PORT} = kafka_sh('port', 2);
	$own{KAFKA_PROXY_PORT} = $own{KAFKA_PORT} + 10;
	$proxy_pid = open2($from_proxy, $to_proxy, $ENV{KAFKA_PYTHON} || 'python3',
		"$kafka_folder/tcp_proxy.py", $own{KAFKA_PROXY_PORT}, $own{KAFKA_PORT});
	die 'the proxy did not start' unless (<$from_proxy> // '') eq "ready\n";
	kafka_sh('up');
	$own_brokers = "127.0.0.1:$own{KAFKA_PROXY_PORT}";
	return $own_brokers;
}

sub proxy
{
	my ($command) = @_;

	print $to_proxy "$command\n";
	$to_proxy->flush;
	die "proxy: $command" unless (<$from_proxy> // '') eq "ok\n";
	return;
}

sub own_broker
{
	my ($what, $node) = @_;

	kafka_sh($what, $node || 1);
	return;
}

sub own_broker_pid
{
	my ($node) = @_;
	my $pid = slurp_file("$own{KAFKA_DIR}/node" . ($node || 1) . '/pid');

	chomp $pid;
	return $pid;
}

END
{
	my $status = $?;    # what follows must not change the exit status

	if ($helper_pid)
	{
		close $to_helper;
		close $from_helper;
		waitpid $helper_pid, 0;
	}
	if ($proxy_pid)
	{
		close $to_proxy;
		close $from_proxy;
		waitpid $proxy_pid, 0;
	}
	if (%own)
	{
		kafka_sh('down');
		rmdir dirname($own{KAFKA_DIR});
	}
	$? = $status;
}

1;
