# sizes.pl FILE...: a file has fewer than 800 lines, a function at most 120;
# above 60 it is named.  A function body is from a { to a } in column one.
use strict;
use warnings;

my $bad = 0;

foreach my $file (@ARGV)
{
	my ($start, $name, $last) = (0, '', '');
	open my $in, '<', $file or die "$file: $!";
	while (<$in>)
	{
		$last = $1 if !$start && /^(\w+)\s*\(/;
		($start, $name) = ($., $last) if /^\{/;
		next unless /^\}/ && $start;
		my $lines = $. - $start + 1;
		print "$file:$start: $name() has $lines lines\n" if $lines > 60;
		$bad = 1 if $lines > 120;
		$start = 0;
	}
	next unless $. >= 800;
	print "$file: $. lines\n";
	$bad = 1;
}
exit $bad;
