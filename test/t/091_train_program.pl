# knn-builder train, which becomes the program knn-train, without a server: what it
# writes, and what it says of jobs it does not take.

use strict;
use warnings;

use File::Copy qw(copy);
use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $pkglibdir = `pg_config --pkglibdir`;
chomp $pkglibdir;
plan skip_all => 'knn-train is not installed' unless -x "$pkglibdir/knn-train";
my $bindir = `pg_config --bindir`;
chomp $bindir;
my $program = "$bindir/knn-builder";

my $dir = PostgreSQL::Test::Utils::tempdir;
srand(7);

sub write_file
{
	my ($name, $data) = @_;
	open my $file, '>:raw', "$dir/$name" or die $!;
	print $file $data;
	close $file;
	return "$dir/$name";
}

my ($dim, $count) = (16, 600);
my %vectors = (
	float => write_file('float', pack 'f<*', map { rand } 1 .. $dim * $count),
	byte => write_file('byte', pack 'c*', map { int(rand(256)) - 128 } 1 .. $dim * $count),
	binary => write_file('binary', pack 'C*', map { int rand 256 } 1 .. $dim / 8 * $count));
my %flat = (name => 'flat', parameters => {});

# A job of that method, with changes.
sub job
{
	my ($method, %changes) = @_;
	my %job = (
		job => 'train', version => 1, result => "$dir/result", dimension => $dim, count => $count,
		data_type => 'float', space => 'l2', threads => 1, memory_limit => 0, method => $method, %changes);
	$job{vectors} //= $vectors{ $job{data_type} } // 'none';
	return encode_json(\%job);
}

# (status, last line decoded, all lines)
sub run_job
{
	my ($input) = @_;
	my ($out, $err) = ('', '');
	unlink "$dir/result";
	# a file, since not all of it need be read
	IPC::Run::run([ $program, 'train' ], '<', write_file('job', $input), '>', \$out, '2>', \$err);
	my $status = $? >> 8;
	my @lines = map { decode_json($_) } split /\n/, $out;
	return ($status, $lines[-1], @lines);
}

sub ivf { return { name => 'ivf', parameters => { nlist => 4, nprobes => 1, encoder => \%flat, @_ } } }
sub encoder { my ($name, %parameters) = @_; return { name => $name, parameters => \%parameters } }

my $pq = { name => 'pq', parameters => { m => 4, code_size => 6 } };
my @good = (
	[ 'IwFl', 'cluster', ivf() ],
	[ 'IwFl', 'cluster', ivf(nlist => 600) ],
	[ 'IwFl', 'cluster', ivf(encoder => encoder('binary', bits => 1)), space => 'innerproduct' ],
	[ 'IwSq', 'cluster', ivf(encoder => encoder('sq', bits => 16, type => 'fp16', clip => JSON::PP::false)) ],
	[ 'IwPQ', 'cluster codebook', ivf(encoder => $pq), space => 'cosinesimil', threads => 2 ],
	[ 'IHNp', 'codebook', { name => 'hnsw', parameters => { m => 8, ef_construction => 50, ef_search => 60,
		encoder => encoder('pq', m => 2, code_size => 8) } } ],
	[ 'IwFl', 'cluster', ivf(), data_type => 'byte' ],
	[ 'IBwF', 'cluster', ivf(), data_type => 'binary', space => 'hamming' ]);
for my $case (@good)
{
	my ($kind, $steps, $method, %changes) = @$case;
	my ($status, $last, @lines) = run_job(job($method, %changes));
	is($status, 0, "$kind: status");
	is($last->{result}{bytes}, -s "$dir/result", "$kind: result");
	my @progress = map { $_->{progress} } @lines[ 0 .. $#lines - 1 ];
	my @phases = map { $_->{phase} } @progress;
	is(join(' ', map { $_ == 0 || $phases[$_] ne $phases[ $_ - 1 ] ? $phases[$_] : () } 0 .. $#phases),
		"read $steps write", "$kind: phases");
	is_deeply([ grep { $_->{done} > $_->{total} } @progress ], [], "$kind: progress");
	my $head = substr(slurp_file("$dir/result"), 0, 4);
	is($head, $kind, "$kind: what it is");
	ok(!-e "$dir/result.part", "$kind: nothing else");
}

my @bad = (
	[ bad_job => qr/not a JSON object/, 'nonsense' ],
	[ bad_job => qr/not a JSON object/, '' ],
	[ bad_job => qr/"job" is missing/, '{}' ],
	[ bad_job => qr/"other" is not known/, job(ivf(), other => 1) ],
	[ bad_job => qr/not a training/, job(ivf(), version => 2) ],
	[ bad_job => qr/not a training/, job(ivf(), job => 'build') ],
	[ bad_job => qr/"dimension" is out of range/, job(ivf(), dimension => 0) ],
	[ bad_job => qr/"m" is not known/, job(ivf(m => 3)) ],
	[ bad_job => qr/"lvq" is not known/, job(ivf(encoder => encoder('lvq'))) ],
	[ bad_job => qr/does not divide/, job(ivf(encoder => encoder('pq', m => 5, code_size => 8))) ],
	[ bad_job => qr/"code_size" is out of range/, job(ivf(encoder => encoder('pq', m => 4, code_size => 9))) ],
	[ bad_job => qr/needs no training/, job({ name => 'hnsw',
		parameters => { m => 8, ef_construction => 50, ef_search => 60, encoder => \%flat } }) ],
	[ bad_job => qr/"l1" is not for/, job(ivf(), space => 'l1') ],
	[ bad_job => qr/"l2" is not for/, job(ivf(), data_type => 'binary') ],
	[ bad_job => qr/needs method ivf/, job(ivf(encoder => $pq), data_type => 'byte') ],
	[ bad_input => qr/has \d+ bytes instead of/, job(ivf(), count => $count + 1) ],
	[ bad_input => qr/\(3\) should be at least as large as number of clusters \(4\)/, job(ivf(), count => 3) ],
	[ bad_input => qr/should be greater than 64/, job(ivf(encoder => $pq), count => 63) ],
	[ io => qr/could not open/, job(ivf(), vectors => "$dir/nothing"), detail => qr/^No such file/ ],
	[ internal => qr/faiss failed/, job(ivf(), result => "$dir/nowhere/result"), detail => qr/could not open|No such file/ ],
	[ out_of_memory => qr/needs about \d+ kB/, job(ivf(), memory_limit => 1000), hint => qr/^Raise maintenance_work_mem\.$/ ]);
for my $case (@bad)
{
	my ($code, $message, $input, %more) = @$case;
	my ($status, $last) = run_job($input);
	is($status, 1, "$message: status");
	is($last->{error}{code}, $code, "$message: code");
	like($last->{error}{message}, $message, "$message: message");
	like($last->{error}{$_}, $more{$_}, "$message: $_") foreach keys %more;
	ok(!-e "$dir/result" && !-e "$dir/result.part", "$message: no result");
}

# Iterations are counted, and who waits hears of it.
my $large = write_file('large', pack 'f<*', map { rand } 1 .. 64 * 20000);
my $slow = job(ivf(nlist => 1000), vectors => $large, dimension => 64, count => 20000);
my ($status, $last, @lines) = run_job($slow);
is($status, 0, 'a large one');
my @done = map { $_->{progress}{done} } grep { ($_->{progress}{phase} // '') eq 'cluster' } @lines;
cmp_ok(scalar(@done), '>=', 2, 'progress is told while it goes on');
is_deeply([ sort { $a <=> $b } @done ], \@done, 'and goes on');
is($lines[-2]{progress}{phase}, 'write', 'to the end');

# told to stop
my ($out, $err) = ('', '');
unlink "$dir/result";
my $run = IPC::Run::start([ $program, 'train' ], '<', write_file('job', $slow), '>', \$out, '2>', \$err,
	IPC::Run::timeout(180));
$run->pump until $out =~ /"cluster","done":[1-9]/;
$run->signal('TERM');
$run->finish;
is($run->result, 1, 'told to stop: status');
is(decode_json((split /\n/, $out)[-1])->{error}{code}, 'cancelled', 'told to stop: message');
is_deeply([ glob "$dir/result*" ], [], 'told to stop: no result');

# where it looks for knn-train
mkdir "$dir/bin" or die;
copy($program, "$dir/bin/knn-builder") or die;
chmod 0755, "$dir/bin/knn-builder";
my $installed = $program;
$program = "$dir/bin/knn-builder";
($status, $last) = run_job(job(ivf()));
is($status, 1, 'not installed: status');
is($last->{error}{code}, 'not_installed', 'not installed: code');
is($last->{error}{message}, 'the program "knn-train" is not installed', 'not installed: message');
like($last->{error}{detail}, qr{^It is neither in "\Q$dir\E/bin" nor in its "\.\./}, 'not installed: places');
like($last->{error}{hint}, qr/libfaiss-dev/, 'not installed: hint');
symlink "$pkglibdir/knn-train", "$dir/bin/knn-train" or die;
is((run_job(job(ivf())))[0], 0, 'beside knn-builder');
unlink "$dir/bin/knn-train" or die;
write_file('bin/knn-train', 'no program');
($status, $last) = run_job(job(ivf()));
is($last->{error}{code}, 'io', 'one that cannot be run: code');
is($last->{error}{detail}, 'Permission denied', 'one that cannot be run: reason');
symlink $installed, "$dir/link" or die;
$program = "$dir/link";
is((run_job(job(ivf())))[0], 0, 'by a link to knn-builder');

done_testing();
