# Programs that take the place of knn-builder, and what is left of them.  Each is a
# script of its own which runs fake_builder.pl in some mode.

package FakeBuilder;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

our @EXPORT = qw(fake_builders program spools children nothing_left);

my $fake = abs_path(dirname(__FILE__) . '/fake_builder.pl');
my ($node, $dir, %programs);

# For a server; returns a directory for more such programs (named fake...), and files.
sub fake_builders
{
	($node) = @_;
	return $dir = PostgreSQL::Test::Utils::tempdir();
}

# The path of a program that behaves as told by "mode".
sub program
{
	my ($mode) = @_;
	return $programs{$mode} if $programs{$mode};
	my $file = "$dir/fake" . scalar(keys %programs);
	open my $out, '>', $file or die "could not open $file: $!";
	print $out "#!$^X\nour \$mode = '$mode'; do '$fake'; die \$@ if \$@;\n";
	close $out;
	chmod 0755, $file;
	return $programs{$mode} = $file;
}

# Spool directories; or all temporary files.
sub spools
{
	my ($pattern) = @_;
	my @found = glob($node->data_dir . '/base/pgsql_tmp/' . ($pattern // 'pgsql_tmp_knn*'));
	return join ' ', map { s{.*/}{}r } @found;
}

# Fake programs that run.
sub children
{
	my @found;
	foreach my $cmdline (glob '/proc/[0-9]*/cmdline')
	{
		open my $in, '<', $cmdline or next;
		local $/;
		my $text = <$in> // '';
		push @found, $cmdline if $text =~ m{\Q$dir\E/fake};
	}
	return join ' ', @found;
}

sub nothing_left
{
	my ($name, $pattern) = @_;
	$pattern //= '*';
	# a process that was killed with its parent may take a moment
	for (1 .. 100) { last if children() eq ''; sleep 0.05 }
	is(children(), '', "$name: no program is left");
	is(spools($pattern), '', "$name: no file is left");
	return;
}

1;
