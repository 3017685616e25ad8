# Recall of encoder pq on real vectors, of graphs and lists: with rescoring it is that of
# the method; by codes alone it tells what the codebooks are worth.  The vectors are
# those of data/sample; with KNN_TEST_DATA, a folder that has them, also the sets sift128
# and lsa768 of bench/.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $sample = "$FindBin::RealBin/../../data/sample";
my $sets = $ENV{KNN_TEST_DATA} // '';
my $node = start_node('maintenance_work_mem = 512MB');

my $dir = PostgreSQL::Test::Utils::tempdir;

# --- the sets: each loads tables items and queries (id, v)

sub load_sample
{
	foreach my $load ([ 'docs', 'items', 4 ], [ 'questions', 'queries', 2 ])
	{
		my ($file, $table, $column) = @$load;
		open my $in, '-|', 'gzip', '-dc', "$sample/$file.tsv.gz" or die $!;
		open my $out, '>', "$dir/$table" or die $!;
		while (my $line = <$in>)
		{
			chomp $line;
			my @fields = split /\t/, $line;
			print $out "$fields[0]\t$fields[$column]\n";
		}
		close $out or die $!;
		close $in or die "$file cannot be read";
	}
	return;
}

# The number that a half is.
my @halves;

sub half
{
	my ($bits) = @_;
	my ($exponent, $mantissa) = ($bits >> 10 & 31, $bits & 1023);
	my $value = $exponent == 0 ? $mantissa * 2**-24 : (1024 + $mantissa) * 2**($exponent - 25);
	return $bits & 0x8000 ? -$value : $value;
}

# The first rows of a binary file as texts.
sub load_rows
{
	my ($file, $table, $dim, $n) = @_;
	my $is_half = $file =~ /f16$/;
	my $width = $is_half ? 2 * $dim : $dim;

	@halves = map { sprintf '%.7g', half($_) } 0 .. 65535 if $is_half && !@halves;
	open my $in, '<:raw', "$sets/$file" or die "$sets/$file: $!";
	open my $out, '>', "$dir/$table" or die $!;
	for my $id (1 .. $n)
	{
		last if (read($in, my $row, $width) // 0) < $width;
		my @v = unpack $is_half ? 'v*' : 'C*', $row;
		@v = @halves[@v] if $is_half;
		print $out "$id\t[", join(',', @v), "]\n";
	}
	close $out or die $!;
	return;
}

# name, dimensions, space, how it is loaded, options of knn_hnsw and knn_ivf, and of each
# the least recall with rescoring and without
my @all = (
	[ 'sample', 384, 'cosine', \&load_sample,
		'encoder = pq, pq_m = 48', 0.98, 0.7, 'encoder = pq, pq_m = 48, nlist = 64, nprobes = 24', 0.95, 0.7 ]);
push @all,
  [ 'sift128', 128, 'l2', sub { load_rows('sift128.base.u8', 'items', 128, 20000); load_rows('sift128.query.u8', 'queries', 128, 60) },
	'encoder = pq, pq_m = 32', 0.97, 0.78, 'encoder = pq, pq_m = 32, nlist = 100, nprobes = 20', 0.94, 0.76 ],
  [ 'lsa768', 768, 'cosine', sub { load_rows('lsa768.base.f16', 'items', 768, 8000); load_rows('lsa768.query.f16', 'queries', 768, 60) },
	'encoder = pq, pq_m = 96', 0.97, 0.72, 'encoder = pq, pq_m = 96, nlist = 64, nprobes = 24', 0.86, 0.6 ]
  if $sets ne '';

foreach my $set (@all)
{
	my ($name, $dim, $space, $load, @indexes) = @$set;
	my ($op, $opclass) = @{ $operators{$space} };

	$load->();
	foreach my $table (qw(items queries))
	{
		$node->safe_psql('postgres', "CREATE TABLE $table (id int, v knn_vector($dim))");
		$node->safe_psql('postgres', "\\copy $table from '$dir/$table'");
	}
	$node->safe_psql('postgres', 'VACUUM ANALYZE items');
	my $exact = neighbours($node, 'items', $op, exact => 1);
	foreach my $method (qw(knn_hnsw knn_ivf))
	{
		my ($options, @floors) = splice @indexes, 0, 3;

		$node->safe_psql('postgres', "CREATE INDEX idx ON items USING $method (v $opclass) WITH ($options)");
		is($node->safe_psql('postgres', "SELECT encoder FROM knn_index_info('idx')"), 'pq', "$name, $method: encoder pq");
		ok(uses_index($node, 'items', $op), "$name, $method: the index is used");
		foreach my $rescore ('auto', 'off')
		{
			my $found = neighbours($node, 'items', $op, settings => "SET knn.rescore = $rescore;");
			my $recall = recall($found, $exact);

			cmp_ok($recall, '>=', shift @floors, sprintf('%s, %s, rescore %s: recall %.3f', $name, $method, $rescore, $recall));
		}
		$node->safe_psql('postgres', 'DROP INDEX idx');
	}
	$node->safe_psql('postgres', 'DROP TABLE items, queries');
}

$node->stop;
done_testing();
