# Recall of indexes that came about in different ways, in every space of float
# vectors, on data with the clusters that real embeddings have.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('maintenance_work_mem = 256MB');

# What must be reached with the default options, and with a narrow and a wide
# search.  The floors are a little below what random levels give at worst.
sub is_recall
{
	my ($table, $op, $floor, $name, $exact) = @_;
	$exact //= neighbours($node, $table, $op, exact => 1);
	my $recall = recall(neighbours($node, $table, $op), $exact);
	cmp_ok($recall, '>=', $floor, sprintf('%s: recall %.4f', $name, $recall));
	return $recall;
}

# ---------------------------------------------------------------------------
# every space, 32 dimensions: built, and filled by inserts as after a migration

my $dim = 32;
my @vectors = clustered_vectors(10000, $dim, 42);

queries($node, 50, $dim, 4711);
$node->safe_psql('postgres', "CREATE TABLE built (id int, v knn_vector($dim))");
load_vectors($node, 'built', 1, @vectors);
foreach my $space (sort keys %operators)
{
	my ($op, $opclass) = @{ $operators{$space} };
	my $exact = neighbours($node, 'built', $op, exact => 1);

	$node->safe_psql('postgres',
		"CREATE INDEX built_idx ON built USING knn_hnsw (v $opclass)");
	ok(uses_index($node, 'built', $op), "$space: the index is used");
	is_recall('built', $op, 0.985, "$space, built", $exact);
	my $narrow =
	  recall(neighbours($node, 'built', $op, settings => 'SET knn.ef_search = 10;'), $exact);
	my $wide =
	  recall(neighbours($node, 'built', $op, settings => 'SET knn.ef_search = 400;'), $exact);
	cmp_ok($wide, '>=', 0.99, sprintf('%s: recall %.4f of a wide search', $space, $wide));
	cmp_ok($wide, '>=', $narrow, "$space: a wider search is no worse");
	# in the order asked for, and what strict order leaves out hardly counts
	my $relaxed = recall(
		neighbours($node, 'built', $op, settings => 'SET knn.scan_order = relaxed;'), $exact);
	my $strict = recall(neighbours($node, 'built', $op), $exact);
	cmp_ok(abs($relaxed - $strict), '<=', 0.01,
		sprintf('%s: strict order %.4f, relaxed %.4f', $space, $strict, $relaxed));
	$node->safe_psql('postgres', 'DROP INDEX built_idx');

	$node->safe_psql(
		'postgres', qq{
		CREATE TABLE filled (id int, v knn_vector($dim));
		CREATE INDEX filled_idx ON filled USING knn_hnsw (v $opclass);
		INSERT INTO filled SELECT * FROM built WHERE id <= 4000});
	is_recall('filled', $op, 0.98, "$space, filled by inserts");
	check_structure($node, 'filled_idx', $space);
	$node->safe_psql('postgres', 'DROP TABLE filled');
}

# ---------------------------------------------------------------------------
# deletes and inserts

$node->safe_psql('postgres', 'CREATE INDEX built_idx ON built USING knn_hnsw (v)');
my $before = is_recall('built', '<->', 0.985, 'before deletes');
$node->safe_psql('postgres', 'DELETE FROM built WHERE id % 10 < 3');
my $dead = is_recall('built', '<->', 0.985, 'with dead rows in the heap');
$node->safe_psql('postgres', 'VACUUM built');
my $vacuumed = is_recall('built', '<->', 0.985, 'after VACUUM');
cmp_ok($vacuumed, '>=', $dead - 0.01, 'VACUUM does not lower the recall');
# dead nodes are known as such, and no search counts them among its results
is($node->safe_psql('postgres', q{SELECT nodes - tombstones FROM knn_index_info('built_idx')}),
	$node->safe_psql('postgres', 'SELECT count(DISTINCT v) FROM built'), 'nodes without rows are tombstones');
my $narrow = neighbours($node, 'built', '<->',
	settings => 'SET knn.ef_search = 10; SET knn.max_scan_tuples = 0; SET knn.scan_order = relaxed;');
is(scalar(grep { @{ $narrow->{$_} } == 10 } keys %$narrow), 50, 'a search finds as many live rows as it is wide');
# other vectors than those that went
load_vectors($node, 'built', 20001, clustered_vectors(3000, $dim, 43));
is_recall('built', '<->', 0.98, 'after inserts in place of the deleted');
check_whole_index($node, 'built', 'built_idx', 'after deletes and inserts');

# one live row is found when all others are dead, from anywhere
$node->safe_psql('postgres', 'DELETE FROM built WHERE id <> 1234; VACUUM built');
my $one = neighbours($node, 'built', '<->', k => 1);
is(scalar(grep { @{ $one->{$_} } == 1 && $one->{$_}[0][0] == 1234 } keys %$one),
	50, 'one live row is found when all others are dead');
# and none where there is none
$node->safe_psql('postgres', 'DELETE FROM built; VACUUM built');
is(scalar(keys %{ neighbours($node, 'built', '<->') }), 0, 'no row is found when all are dead');
# a graph of tombstones still leads to what is inserted
load_vectors($node, 'built', 1, @vectors[ 0 .. 1999 ]);
is_recall('built', '<->', 0.98, 'inserts among tombstones');
$node->safe_psql('postgres', 'DELETE FROM built; VACUUM built');
load_vectors($node, 'built', 1, clustered_vectors(2000, $dim, 44));
is_recall('built', '<->', 0.97, 'other inserts among tombstones');
$node->safe_psql('postgres', 'DROP TABLE built');

# ---------------------------------------------------------------------------
# equal rows: they must not stand in the way of the others

$node->safe_psql(
	'postgres', qq{
	CREATE TABLE equal_rows (id int, v knn_vector($dim));
	CREATE INDEX equal_idx ON equal_rows USING knn_hnsw (v)});
load_vectors($node, 'equal_rows', 1, @vectors[ 0 .. 1999 ]);
$node->safe_psql('postgres',
	'INSERT INTO equal_rows SELECT 100000 + i, q.v FROM queries q, generate_series(1, 10000) i WHERE q.id = 7');
load_vectors($node, 'equal_rows', 2001, @vectors[ 2000 .. 2999 ]);
is_recall('equal_rows', '<->', 0.98, 'with 10,000 equal rows inserted');
check_structure($node, 'equal_idx', '10,000 equal rows inserted');
is( $node->safe_psql(
		'postgres', q{
		SET enable_seqscan = off; SET knn.ef_search = 1;
		SELECT count(DISTINCT id) FROM (SELECT id FROM equal_rows
			ORDER BY v <-> (SELECT v FROM queries WHERE id = 7) LIMIT 10000) s WHERE id > 100000}),
	10000,
	'all of them are found by the narrowest search');
$node->safe_psql('postgres', 'REINDEX INDEX equal_idx');
is_recall('equal_rows', '<->', 0.98, 'with 10,000 equal rows built');
$node->safe_psql('postgres', 'DROP TABLE equal_rows, queries');

# ---------------------------------------------------------------------------
# 128 dimensions

$dim = 128;
queries($node, 30, $dim, 815);
$node->safe_psql('postgres', "CREATE TABLE wide (id int, v knn_vector($dim))");
load_vectors($node, 'wide', 1, clustered_vectors(6000, $dim, 45));
$node->safe_psql('postgres', 'CREATE INDEX wide_idx ON wide USING knn_hnsw (v)');
my $exact = neighbours($node, 'wide', '<->', exact => 1, k => 100);
is_recall('wide', '<->', 0.98, '128 dimensions');
my $hundred = recall(neighbours($node, 'wide', '<->', k => 100), $exact);
cmp_ok($hundred, '>=', 0.93, sprintf('128 dimensions: recall %.4f of 100 rows', $hundred));
# more rows than the search is wide
$hundred = recall(
	neighbours($node, 'wide', '<->', k => 100, settings => 'SET knn.ef_search = 20;'), $exact);
cmp_ok($hundred, '>=', 0.8, sprintf('128 dimensions: recall %.4f of 100 rows at width 20', $hundred));
my $counts = neighbours($node, 'wide', '<->', k => 100, settings => 'SET knn.ef_search = 20;');
is(scalar(grep { @{ $counts->{$_} } == 100 } keys %$counts), 30, 'a LIMIT beyond the width is met');
load_vectors($node, 'wide', 10001, clustered_vectors(1500, $dim, 46));
is_recall('wide', '<->', 0.97, '128 dimensions, inserts into a built index');

# filters: as many rows as there are
$node->safe_psql('postgres', 'ALTER TABLE wide ADD cat int; UPDATE wide SET cat = id % 50');
my $filtered = $node->safe_psql(
	'postgres', q{
	SET enable_seqscan = off;
	SELECT min(n), max(n) FROM (SELECT count(*) AS n FROM queries q,
		LATERAL (SELECT id FROM wide WHERE cat = 7 ORDER BY v <-> q.v LIMIT 20) s GROUP BY q.id) s});
is($filtered, '20|20', 'a filter of 2 % gets all rows it asks for');
check_whole_index($node, 'wide', 'wide_idx', '128 dimensions, after updates');

$node->stop;
done_testing();
