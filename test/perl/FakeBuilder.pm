# Fake programs in the place of knn-builder (fake_builder.pl), and what is left of
# them and of the real one: for the tests of one server.

package FakeBuilder;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

our @EXPORT = qw(fake_builders program spools children nothing_left start_build);

my ($node, $dir, $real, %programs);

# Sets the server, and returns the directory of the programs.
sub fake_builders
{
	($node) = @_;
	chomp($real = `pg_config --bindir`);
	$real .= '/knn-builder';
	$dir = PostgreSQL::Test::Utils::tempdir();
	return $dir;
}

# A program that behaves as told by the mode.
sub program
{
	my ($mode) = @_;
	return $programs{$mode} if $programs{$mode};
	my $fake = abs_path(dirname(__FILE__) . '/fake_builder.pl');
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

# Processes of fake programs, and of the real one: that of this server works in its data
# directory.
sub children
{
	my @found;
	foreach my $process (glob '/proc/[0-9]*')
	{
		my $text = '';
		if (open my $in, '<', "$process/cmdline") { local $/; $text = <$in> // '' }
		push @found, $process
		  if $text =~ m{\Q$dir\E/fake}
		  || ((readlink("$process/exe") // '') eq $real && (readlink("$process/cwd") // '') eq $node->data_dir);
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

# Starts commands that build an index; returns their process and its messages, when
# the progress is seen that a condition tells, and the backend.
sub start_build
{
	my ($condition, @commands) = @_;
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start(
		[ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, 'postgres', map { ('-c', $_) } @commands ],
		'<', \'', '>', \$out, '2>', \$err);
	$node->poll_query_until('postgres', "SELECT count(*) = 1 FROM pg_stat_progress_create_index WHERE $condition")
	  or die "the program was not seen at work";
	my $pid = $node->safe_psql('postgres', 'SELECT pid FROM pg_stat_progress_create_index');
	return ($run, \$err, $pid);
}

1;
