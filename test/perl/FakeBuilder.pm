# Fake programs in the place of knn-builder (fake_builder.pl), builds with them, and what
# is left of them and of the real one: for the tests of one server.

package FakeBuilder;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use IPC::Run;
use KnnTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

our @EXPORT = qw(fake_builders program spools children nothing_left start_build
  start_with_table build_index build_kind);

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

# A server, which programs build every index for, with a table t of vectors; and the
# directory of the programs.
sub start_with_table
{
	my ($rows, $dim, $settings) = @_;
	fake_builders(start_node("log_min_messages = debug1\nknn.build_external_min = 0\n" . ($settings // '')));
	$node->safe_psql('postgres', "CREATE TABLE t (id int, v knn_vector($dim))");
	load_vectors($node, 't', 1, clustered_vectors($rows, $dim, 2, 8));
	return ($node, $dir);
}

# Builds t_idx, "USING ..." that is, with a program; returns status, messages and seconds.
sub build_index
{
	my ($using, $program, $settings) = @_;
	my $begun = time;
	my ($rc, undef, $messages) = $node->psql('postgres',
		"SET knn.builder_path = '$program'; " . ($settings // '') . "; CREATE INDEX t_idx ON t USING $using");
	return ($rc, $messages, time - $begun);
}

# An index on a column of another kind, of t's vectors or as many bytes or bits and some
# twice, is built without a word, and whole.
sub build_kind
{
	my ($data_type, $type, $using, $name) = @_;
	my $data = $data_type eq 'byte' || $data_type eq 'binary'
	  ? "SELECT id, (SELECT array_agg((id * (j + 7) * 31) % 256 - 128) FROM generate_series(1, 16) j)::int[]::knn_vector::$type FROM t"
	  : "SELECT id, v::real[]::knn_vector::$type FROM t";
	my ($rc, undef, $messages) = $node->psql('postgres', qq{
		SET client_min_messages = warning;
		CREATE TABLE kinds (id int, v $type);
		INSERT INTO kinds $data;
		INSERT INTO kinds SELECT id + 1000, v FROM kinds WHERE id <= 20;
		CREATE INDEX kinds_idx ON kinds USING $using;
		SELECT knn_index_check('kinds_idx', heapallindexed => true);
		DROP TABLE kinds});
	is($rc, 0, "$name: built and whole") or diag $messages;
	is($messages, '', "$name: by the program");
	return;
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
