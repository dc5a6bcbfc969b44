# messages.pl FILE...: PostgreSQL's error style, as far as a program can see.
# Every ereport of ERROR or above has an errcode; the primary message begins in
# lower case (or with a quoted name, an acronym or an SQL word in capitals),
# ends without a period and uses none of the words that say nothing; detail and
# hint are sentences.
use strict;
use warnings;

my $bad = 0;

foreach my $file (@ARGV)
{
	open my $in, '<', $file or die "$file: $!";
	my $text = do { local $/; <$in> };
	$text =~ s{/\*.*?\*/}{ $& =~ s/[^\n]//gr }gse;    # keeps the line numbers

	my $complain = sub {
		my ($pos, $what) = @_;
		my $line = 1 + (substr($text, 0, $pos) =~ tr/\n//);
		print "$file:$line: $what\n";
		$bad = 1;
	};

	while ($text =~ /\bereport\s*(\((?:[^()"']|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|(?1))*\))/gs)
	{
		my ($pos, $call) = ($-[0], $1);
		$complain->($pos, 'ereport without errcode')
		  if $call =~ /^\(\s*(?:ERROR|FATAL|PANIC|elevel)\b/ && $call !~ /\berrcode\w*\s*\(/;
	}
	while ($text =~ /\b(err(?:msg|detail|hint)\w*)\s*\(\s*((?:"(?:\\.|[^"\\])*"|INT64_FORMAT|UINT64_FORMAT|PRI\w+|\s)+)/gs)
	{
		my ($pos, $kind, $words) = ($-[0], $1, $2);
		$words = join '', map { /^"/ ? substr($_, 1, -1) : '%d' }
		  ($words =~ /"(?:\\.|[^"\\])*"|\w+/g);
		next if $words eq '' || $words eq '%s';
		if ($kind =~ /^errmsg/)
		{
			$complain->($pos, "message begins with a capital: $words")
			  if $words =~ /^[A-Z](?![A-Z_0-9]+\b)/
			  && $words !~ /^(?:Kafka|PostgreSQL|Unicode)\b/;
			$complain->($pos, "message ends with a period: $words") if $words =~ /(?<!\.)\.$/;
			$complain->($pos, "message has a newline: $words") if $words =~ /\\n/;
			$complain->($pos, "message names the extension: $words") if $words =~ /^tidemark:/;
		}
		elsif ($kind =~ /^err(?:detail|hint)/)
		{
			$complain->($pos, "$kind is not a sentence: $words")
			  if $words !~ /^(?:[A-Z"%\\]|tidemark\.)/ || $words !~ /[.?!)]"?$|%s$/;
		}
		$complain->($pos, "\"$1\" says nothing: $words")
		  if $words =~ /\b(unable|bad|illegal)\b/i && $words !~ /\bbad messages?\b/i;
	}
}
exit $bad;
