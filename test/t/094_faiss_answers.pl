# Indexes made from models answer as faiss does by the same models: faiss reads what
# knn-train has written, gets the same vectors, and searches as many lists.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pkglibdir = `pg_config --pkglibdir`;
chomp $pkglibdir;
plan skip_all => 'knn-train is not installed' unless -x "$pkglibdir/knn-train";

my $dir = PostgreSQL::Test::Utils::tempdir;
my $faiss = "$dir/answers";
plan skip_all => 'no compiler, or no faiss to compile with'
  if system('g++', '-O1', '-w', '-fopenmp', '-o', $faiss, "$FindBin::RealBin/../faiss/answers.cpp",
	'-lfaiss', '-llapack', '-lblas') != 0;

my ($dim, $count, $nqueries, $k) = (32, 3000, 40, 10);
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', new_settings());
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

# --- the vectors: floats; of length 1; bytes; bits.  As texts, and as faiss reads them.
my %texts = (v => { items => [ clustered_vectors($count, $dim, 42, 8) ], queries => [ clustered_vectors($nqueries, $dim, 7, 8) ] });
my %types = (
	v => "knn_vector($dim)", u => "knn_vector($dim)",
	b => "knn_vector($dim, 'byte')", s => "knn_vector(@{[ 8 * $dim ]}, 'binary')");
foreach my $table (qw(items queries))
{
	my %raw;
	foreach my $text (@{ $texts{v}{$table} })
	{
		my @v = $text =~ /[-\d.]+/g;
		my $norm = 0;
		$norm += $_ * $_ for @v;
		my @u = map { sprintf '%.9g', $_ / sqrt($norm) } @v;
		my @b = map { sprintf '%.0f', $_ * 50 } @v;
		# eight bits of each element: how large it is
		my @s = map { my $n = int(($_ + 2) * 2); $n = $n < 0 ? 0 : $n > 8 ? 8 : $n; unpack 'c', pack('C', (1 << $n) - 1 & 255) } @v;
		my %row = (v => \@v, u => \@u, b => \@b, s => \@s);
		foreach my $column (keys %row)
		{
			push @{ $texts{$column}{$table} }, '[' . join(',', @{ $row{$column} }) . ']' if $column ne 'v';
			$raw{$column} .= pack $column eq 's' ? 'c*' : 'f*', @{ $row{$column} };
		}
	}
	foreach my $column (keys %raw)
	{
		open my $out, '>:raw', "$dir/$table.$column" or die $!;
		print $out $raw{$column};
		close $out;
	}
	open my $out, '>', "$dir/$table" or die $!;
	foreach my $i (0 .. $#{ $texts{v}{$table} })
	{
		print $out join("\t", $i + 1, map { $texts{$_}{$table}[$i] } qw(v u b s)), "\n";
	}
	close $out;
	sql('CREATE EXTENSION IF NOT EXISTS knn; CREATE TABLE ' . $table . '(id int, '
		  . join(', ', map { "$_ $types{$_}" } qw(v u b s)) . ')');
	sql("\\copy $table from '$dir/$table'");
}
sql('VACUUM ANALYZE items');

sub train
{
	my ($id, $column, $method, %options) = @_;
	my $more = join '', map { ", $_ => '$options{$_}'" } sort keys %options;
	my $dimension = $column eq 's' ? 8 * $dim : $dim;
	sql("SELECT knn_train_model('$id', 'items', '$column', $dimension, '$method'$more)");
	$node->poll_query_until('postgres', "SELECT state <> 'training' FROM knn_models WHERE model_id = '$id'");
	is(sql("SELECT state, error FROM knn_models WHERE model_id = '$id'"), 'created|', "$id is created");
	my $blob = sql("SELECT encode(model_blob, 'hex') FROM knn_model WHERE model_id = '$id'");
	open my $out, '>:raw', "$dir/$id" or die $!;
	print $out pack 'H*', $blob;
	close $out;
	return;
}

# { nprobes => { query => { id => distance } } }
sub answers_of_faiss
{
	my ($id, $column, @probes) = @_;
	my ($out, $err) = run_command([ $faiss, "$dir/$id", "$dir/items.$column", "$dir/queries.$column", $k, @probes ]);
	is($err, '', "$id: faiss answers");
	my %found;
	foreach my $line (split /\n/, $out)
	{
		my ($n, $query, $vector, $distance) = split / /, $line;
		$found{$n}{$query}{$vector} = $distance;
	}
	return \%found;
}

# The same by the index.
sub answers_of_index
{
	my ($column, $op, $settings) = @_;
	my %found;
	foreach my $line (split /\n/, sql(qq{
		SET enable_seqscan = off; SET enable_sort = off; $settings
		SELECT q.id, n.id FROM queries q, LATERAL
			(SELECT id FROM items ORDER BY $column $op q.$column LIMIT $k) n}))
	{
		my ($query, $id) = split /\|/, $line;
		$found{$query}{$id} = 1;
	}
	return \%found;
}

# { query => { id => distance } } of all rows.
sub exact_distances
{
	my ($column, $op) = @_;
	my %distances;
	foreach my $line (split /\n/, sql("SELECT q.id, i.id, i.$column $op q.$column FROM queries q, items i"))
	{
		my ($query, $id, $distance) = split /\|/, $line;
		$distances{$query}{$id} = $distance;
	}
	return \%distances;
}

# Share of faiss's neighbours that the index found, or others that are as near.
sub agreement
{
	my ($ours, $theirs, $distances) = @_;
	my ($same, $all) = (0, 0);
	foreach my $query (keys %$theirs)
	{
		my @ids = keys %{ $theirs->{$query} };
		my ($last) = sort { $b <=> $a } map { $distances->{$query}{$_} } @ids;
		$all += @ids;
		my $near = grep { $theirs->{$query}{$_} || $distances->{$query}{$_} <= $last + 1e-5 * abs($last) }
		  keys %{ $ours->{$query} };
		$same += $near > @ids ? @ids : $near;
	}
	return $same / $all;
}

sub ivf { return '{"name": "ivf", "space_type": "' . shift . '", "parameters": {"nlist": 100' . (@_ ? ', "encoder": ' . shift : '') . '}}' }
my $pq = '{"name": "pq", "parameters": {"m": 16, "code_size": 8}}';
my $sq = '{"name": "sq", "parameters": {"type": "fp16"}}';

# name, column, operator, class, method, settings, floors for few lists and for all
my @kinds = (
	[ 'flat_l2', 'v', '<->', 'l2', ivf('l2'), '', 0.97, 1 ],
	[ 'flat_ip', 'v', '<#>', 'ip', ivf('innerproduct'), '', 0.97, 1 ],
	[ 'flat_cosine', 'u', '<=>', 'cosine', ivf('cosinesimil'), '', 0.97, 1 ],
	[ 'sq', 'v', '<->', 'l2', ivf('l2', $sq), '', 0.97, 0.99 ],
	[ 'bytes', 'b', '<->', 'l2', ivf('l2'), '', 0.97, 1, data_type => 'byte' ],
	[ 'bits', 's', '<~>', 'hamming', ivf('hamming'), '', 0.97, 1, data_type => 'binary' ],
	[ 'pq', 'v', '<->', 'l2', ivf('l2', $pq), 'SET knn.rescore = off;', 0.95, 0.95 ],
	[ 'pq_ip', 'v', '<#>', 'ip', ivf('innerproduct', $pq), 'SET knn.rescore = off;', 0.95, 0.95 ],
	[ 'hnsw_pq', 'v', '<->', 'l2', '{"name": "hnsw", "parameters": {"m": 16, "encoder": ' . $pq . '}}',
		'SET knn.rescore = off;', 0.95, 0.95 ]);
foreach my $kind (@kinds)
{
	my ($name, $column, $op, $class, $method, $settings, $some, $all, %options) = @$kind;
	my $hnsw = $name =~ /^hnsw/;
	my @probes = $hnsw ? (40, 400) : (2, 100);
	my $distances = exact_distances($column, $op);
	train($name, $column, $method, %options);
	my $theirs = answers_of_faiss($name, $column, @probes);
	sql("CREATE INDEX idx ON items USING @{[ $hnsw ? 'knn_hnsw' : 'knn_ivf' ]} ($column knn_vector_${class}_ops) WITH (model_id = '$name')");
	is(sql("SELECT knn_index_check('idx', true)"), '', "$name is sound");
	foreach my $i (0, 1)
	{
		my $ours = answers_of_index($column, $op,
			$settings . 'SET knn.' . ($hnsw ? 'ef_search' : 'nprobes') . " = $probes[$i];");
		my $agreement = agreement($ours, $theirs->{ $probes[$i] }, $distances);
		cmp_ok($agreement, '>=', $i ? $all : $some, sprintf("$name: %d probes: %.3f of faiss's neighbours", $probes[$i], $agreement));
	}
	sql('DROP INDEX idx');

	# a model's lists are there before any row is
	if ($name eq 'bits')
	{
		sql(qq{
			ALTER TABLE items RENAME TO filled;
			CREATE TABLE items (LIKE filled);
			CREATE INDEX idx ON items USING knn_ivf ($column knn_vector_${class}_ops) WITH (model_id = '$name');
			INSERT INTO items SELECT * FROM filled});
		is(sql("SELECT lists, rows FROM knn_index_info('idx')"), "100|$count", "$name, filled by inserts");
		is(sql("SELECT knn_index_check('idx', true)"), '', "$name, filled by inserts, is sound");
		my $agreement = agreement(answers_of_index($column, $op, "SET knn.nprobes = $probes[0];"),
			$theirs->{ $probes[0] }, $distances);
		cmp_ok($agreement, '>=', $some, sprintf("$name, filled by inserts: %.3f of faiss's neighbours", $agreement));
		sql('DROP TABLE items; ALTER TABLE filled RENAME TO items');
	}
}

$node->stop;
done_testing();
