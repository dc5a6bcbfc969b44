# layers.pl FILE...: arrows between rooms point down.  A file may include its
# own room, base/, and the door (room/room.h) of a room of lower rank.  Files
# directly in src/ are assembly and may include any door.
use strict;
use warnings;

my %rank = (
	base => 0,
	kafka => 1, format => 1, window => 1, worker => 1, stats => 1,
	meta => 2,
	stream => 3,
	view => 4,
	maintain => 5,
	ingest => 6, verify => 6, sink => 6,
	'' => 7);
my $bad = 0;

sub complain { print "@_\n"; $bad = 1; }

foreach my $file (@ARGV)
{
	my ($room) = $file =~ m{^src/(?:(\w+)/)?[^/]+$};
	$room = '' unless defined $room;
	complain("$file: room \"$room\" has no rank in layers.pl") unless exists $rank{$room};

	open my $in, '<', $file or die "$file: $!";
	while (<$in>)
	{
		next unless /^\s*#\s*include\s+"(\w+)\/([\w.]+)"/ && exists $rank{$1};
		my ($to, $header) = ($1, $2);
		next if $to eq $room || $to eq 'base';
		complain("$file:$.: $room/ (rank $rank{$room}) includes $to/ (rank $rank{$to})")
		  if $rank{$to} >= $rank{$room};
		complain("$file:$.: \"$to/$header\" is not the door of $to/")
		  if $header ne "$to.h";
	}
}
exit $bad;
