# Recall of every compression level and data type: of indexes that were built, that
# were filled by inserts, and after deletes, VACUUM, inserts and many equal rows.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('maintenance_work_mem = 256MB');

# What must be reached with default widths: built, filled by inserts, and after the
# rest.  The floors are a little below what random levels and rotations give at worst.
my @configurations = (
	[ 'float', 'l2', '', 0.98, 0.98, 0.98 ],
	[ 'float', 'l2', "compression_level = '2x'", 0.98, 0.98, 0.98 ],
	[ 'float', 'l2', "compression_level = '8x'", 0.98, 0.98, 0.98 ],
	[ 'float', 'cosine', "compression_level = '16x'", 0.97, 0.97, 0.97 ],
	[ 'float', 'ip', "compression_level = '16x'", 0.95, 0.95, 0.95 ],
	[ 'float', 'l2', 'mode = on_disk', 0.95, 0.95, 0.95 ],
	[ 'float', 'cosine', 'mode = on_disk, store_vectors = off', 0.95, 0.9, 0.9 ],
	[ 'float', 'l1', 'store_vectors = off', 0.97, 0.97, 0.97 ],
	[ 'half', 'l2', '', 0.98, 0.98, 0.98 ],
	[ 'half', 'cosine', "compression_level = '8x'", 0.97, 0.97, 0.97 ],
	[ 'half', 'l2', 'mode = on_disk, store_vectors = off', 0.95, 0.9, 0.9 ],
	[ 'float', 'l2', 'encoder = pq, pq_m = 16', 0.95, 0.95, 0.95 ],
	[ 'half', 'ip', 'encoder = pq, pq_m = 16, store_vectors = off', 0.9, 0.9, 0.9 ],
	[ 'byte', 'l2', '', 0.98, 0.98, 0.98 ],
	[ 'byte', 'cosine', '', 0.98, 0.98, 0.98 ],
	[ 'binary', 'hamming', '', 0.97, 0.97, 0.97 ]);

# A float vector v in each data type.
sub converted
{
	my ($type, $dim) = @_;
	return ("knn_vector($dim)", 'v') if $type eq 'float';
	return ("knn_vector($dim, 'half')", 'v') if $type eq 'half';
	return ("knn_vector($dim, 'byte')",
		'(SELECT array_agg(round(e * 35) ORDER BY n) FROM unnest(v::real[]) WITH ORDINALITY AS u (e, n))::real[]')
	  if $type eq 'byte';
	# three bits an element: its sign, and whether it is large
	my $bits = 3 * $dim;
	return ("knn_vector($bits, 'binary')",
		"(SELECT string_agg(CASE WHEN e < -0.8 THEN '000' WHEN e < 0 THEN '001' WHEN e < 0.8 THEN '011' ELSE '111' END, '' ORDER BY n)
			FROM unnest(v::real[]) WITH ORDINALITY AS u (e, n))::bit($bits)::knn_vector");
}

sub is_recall
{
	my ($table, $op, $floor, $name) = @_;
	my $recall = recall(neighbours($node, $table, $op), neighbours($node, $table, $op, exact => 1));
	cmp_ok($recall, '>=', $floor, sprintf('%s: recall %.4f', $name, $recall));
	return;
}

foreach my $dim (64, 128)
{
	$node->safe_psql('postgres',
		"CREATE TABLE vectors (id int, v knn_vector($dim)); CREATE TABLE asked (id int, v knn_vector($dim))");
	load_vectors($node, 'vectors', 1, clustered_vectors(2800, $dim, 42));
	load_vectors($node, 'asked', 1, clustered_vectors(30, $dim, 4711));

	foreach my $configuration (@configurations)
	{
		my ($type, $space, $options, @floors) = @$configuration;
		my ($op, $opclass) =
		  $space eq 'hamming' ? ('<~>', 'knn_vector_hamming_ops') : @{ $operators{$space} };
		my ($column, $value) = converted($type, $dim);
		my $with = $options eq '' ? '' : "WITH ($options)";
		my $name = "$dim dimensions, $type, $space $options";

		# all at 64 dimensions, fewer bits at 128
		next if $dim == 128 && $options !~ /on_disk|8x/;
		$node->safe_psql(
			'postgres', qq{
			CREATE TABLE queries (id int PRIMARY KEY, v $column);
			INSERT INTO queries SELECT id, $value FROM asked;
			CREATE TABLE built (id int, v $column);
			CREATE TABLE filled (id int, v $column);
			INSERT INTO built SELECT id, $value FROM vectors WHERE id <= 2000;
			CREATE INDEX built_idx ON built USING knn_hnsw (v $opclass) $with});
		ok(uses_index($node, 'built', $op), "$name: the index is used");
		is_recall('built', $op, $floors[0], "$name, built");

		$node->safe_psql(
			'postgres', qq{
			CREATE INDEX filled_idx ON filled USING knn_hnsw (v $opclass) $with;
			INSERT INTO filled SELECT * FROM built WHERE id <= 1000});
		is_recall('filled', $op, $floors[1], "$name, filled by inserts");

		$node->safe_psql('postgres', 'DELETE FROM built WHERE id % 10 < 3');
		$node->safe_psql('postgres', 'VACUUM built');
		$node->safe_psql(
			'postgres', qq{
			INSERT INTO built SELECT id, $value FROM vectors WHERE id > 2200;
			INSERT INTO built SELECT 10000 + i, q.v FROM queries q, generate_series(1, 2000) i WHERE q.id = 7});
		is_recall('built', $op, $floors[2], "$name, after deletes, inserts and equal rows");
		is( $node->safe_psql(
				'postgres', qq{
				SET enable_seqscan = off; SET enable_sort = off;
				SELECT count(DISTINCT id) FROM (SELECT id FROM built
					ORDER BY v $op (SELECT v FROM queries WHERE id = 7) LIMIT 2000) s WHERE id > 10000}),
			2000,
			"$name: equal rows are all found")
		  if $space ne 'ip';
		my ($rc, $out, $err) = $node->psql('postgres',
			"SELECT knn_index_check('built_idx', true), knn_index_check('filled_idx', true)");
		is($rc, 0, "$name: the indexes are sound") or diag $err;
		$node->safe_psql('postgres', 'DROP TABLE built, filled, queries');
	}
	$node->safe_psql('postgres', 'DROP TABLE vectors, asked');
}

$node->stop;
done_testing();
