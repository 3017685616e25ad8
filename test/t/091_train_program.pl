# knn-train, the program that trains models, without a server: what it writes, and
# what it says of jobs it does not take.

use strict;
use warnings;

use IPC::Run;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $pkglibdir = `pg_config --pkglibdir`;
chomp $pkglibdir;
my $program = "$pkglibdir/knn-train";
plan skip_all => 'knn-train is not installed' unless -x $program;

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
	IPC::Run::run([$program], '<', \$input, '>', \$out, '2>', \$err);
	my $status = $? >> 8;
	my @lines = map { decode_json($_) } split /\n/, $out;
	return ($status, $lines[-1], @lines);
}

sub ivf { return { name => 'ivf', parameters => { nlist => 4, nprobes => 1, encoder => \%flat, @_ } } }
sub encoder { my ($name, %parameters) = @_; return { name => $name, parameters => \%parameters } }

my $pq = { name => 'pq', parameters => { m => 4, code_size => 6 } };
my @good = (
	[ 'IwFl', ivf() ],
	[ 'IwFl', ivf(nlist => 600) ],
	[ 'IwFl', ivf(encoder => encoder('binary', bits => 1)), space => 'innerproduct' ],
	[ 'IwSq', ivf(encoder => encoder('sq', bits => 16, type => 'fp16', clip => JSON::PP::false)) ],
	[ 'IwPQ', ivf(encoder => $pq), space => 'cosinesimil', threads => 2 ],
	[ 'IHNp', { name => 'hnsw', parameters => { m => 8, ef_construction => 50, ef_search => 60,
		encoder => encoder('pq', m => 2, code_size => 8) } } ],
	[ 'IwFl', ivf(), data_type => 'byte' ],
	[ 'IBwF', ivf(), data_type => 'binary', space => 'hamming' ]);
for my $case (@good)
{
	my ($kind, $method, %changes) = @$case;
	my ($status, $last, @lines) = run_job(job($method, %changes));
	is($status, 0, "$kind: status");
	is($last->{result}{bytes}, -s "$dir/result", "$kind: result");
	is_deeply([ map { $_->{progress}{phase} } @lines[ 0 .. $#lines - 1 ] ], [qw(read train write)], "$kind: progress");
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
	[ io => qr/could not open/, job(ivf(), vectors => "$dir/nothing") ],
	[ internal => qr/could not open|No such file/, job(ivf(), result => "$dir/nowhere/result") ],
	[ out_of_memory => qr/needs about \d+ kB/, job(ivf(), memory_limit => 1000) ]);
for my $case (@bad)
{
	my ($code, $message, $input) = @$case;
	my ($status, $last) = run_job($input);
	is($status, 1, "$message: status");
	is($last->{error}{code}, $code, "$message: code");
	like($last->{error}{message}, $message, "$message: message");
	ok(!-e "$dir/result" && !-e "$dir/result.part", "$message: no result");
}

done_testing();
