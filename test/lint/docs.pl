#!/usr/bin/perl
# docs.pl: the documents say what is true.
#
# docs/NAME.md that has a test sql/docs_NAME.sql: each block of SQL occurs in
# the test, each block without language in the test's expected output.
# docs/reference.md names every function, view and type of schema tidemark,
# every column of its views, every option and every setting.  Links lead somewhere.
use strict;
use warnings;

my $failed = 0;

sub text
{
	my ($file) = @_;
	open(my $in, '<', $file) or die "$file: $!\n";
	my $text = do { local $/; <$in> };
	$text =~ s/[ \t]+$//mg;
	return $text;
}

sub complain
{
	print "@_\n";
	$failed = 1;
	return;
}

# Blocks occur in the test.
for my $document (glob 'docs/*.md')
{
	my ($name) = $document =~ m{docs/(.*)\.md};
	next unless -e "sql/docs_$name.sql";
	my %where = (sql => "sql/docs_$name.sql", '' => "expected/docs_$name.out");
	my %test = map { $_ => text($where{$_}) } keys %where;
	my $text = text($document);

	while ($text =~ /^```(\w*)\n(.*?)^```$/msg)
	{
		my ($language, $block) = ($1, $2);
		my $line = 1 + (substr($text, 0, $-[0]) =~ tr/\n//);
		chomp $block;
		next unless exists $test{$language} && index($test{$language}, $block) < 0;
		complain("$document:$line: not in $where{$language}");
	}
}

# Links: files, and headings by their words.
sub anchors
{
	my ($document) = @_;
	my $text = text($document) =~ s/^```.*?^```$//msgr;
	my %anchor;
	for my $heading ($text =~ /^#+ (.*)$/mg)
	{
		$heading = lc $heading =~ s/[^\w -]//gr;
		$heading =~ tr/ /-/;
		my $n = $anchor{$heading}++;
		$anchor{"$heading-$n"} = 1 if $n;
	}
	return \%anchor;
}
for my $document ('README.md', glob('docs/*.md'), glob('src/README.md bench/README.md'))
{
	my $folder = $document =~ s{[^/]*$}{}r;
	my $text = text($document) =~ s/^```.*?^```$//msgr;
	for my $link ($text =~ /\]\((?!https?:)([^)\s]+)\)/g)
	{
		my ($file, $anchor) = $link =~ /^([^#]*)#?(.*)$/;
		my $path = $file ? "$folder$file" : $document;
		complain("$document: no file for the link $link") unless -e $path;
		complain("$document: no heading for the link $link")
		  if $anchor && -e $path && !anchors($path)->{$anchor};
	}
}

# Names that the reference has to know, each with what finds it there.
my $reference = text('docs/reference.md');
my $sql = join '', map { text($_) } glob 'src/sql/*.sql';
my %known;

# list FILE, PATTERN: the names within the text that PATTERN captures.
sub list
{
	my ($file, $pattern) = @_;
	text($file) =~ $pattern or die "$file: no list of names\n";
	my $text = $1;
	return $text =~ /"([a-z_.]+)"/g;
}

$known{"$1 tidemark.$2"} = qr/tidemark\.$2\b|`$2\(/
  while $sql =~ /^CREATE (?:OR REPLACE )?(FUNCTION|VIEW|TYPE) tidemark\.(\w+)/mg;
delete $known{'FUNCTION tidemark.window_rows_support'};    # for the planner only
$known{"column tidemark.$1.$2"} = qr/^### tidemark\.$1\n(?:(?!^###).)*^\| $2 \|/ms
  while $sql =~ /^COMMENT ON COLUMN tidemark\.(\w+)\.(\w+)/mg;
$known{"option of a stream $_"} = qr/^\| $_ \|/m
  for list('src/stream/stream_validate.c', qr/ table_options\[\] = \{(.*?)\}/s),
  list('src/stream/stream_validate.c', qr/ column_options\[\] = \{(.*?)\}/s);
$known{"option of a view $_"} = qr/^\| tidemark\.$_ \|/m
  for list('src/view/view_options.c', qr/ names\[\] = \{(.*?)\}/s);
$known{"setting $_"} = qr/^\| \Q$_\E \|/m
  for grep { $_ ne 'tidemark.fault_points' } text('src/base/settings.c') =~ /"(tidemark\.\w+)"/g;
for my $property (list('src/kafka/kafka_config.c', qr/ property_rules\[\] = \{(.*?)\};/s))
{
	my $name = $property =~ tr/./_/r;
	$known{"property $property"} = qr/`$name`|^\| $name \|/m;
}
for my $what (sort keys %known)
{
	complain("docs/reference.md: nothing about $what") unless $reference =~ $known{$what};
}
exit $failed;
