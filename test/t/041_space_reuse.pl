# Space of deleted rows: an equal vector that comes back takes the place of the
# old one, others grow the index until REINDEX.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 64;

my $node = start_node();
queries($node, 20, $dim, 1);
$node->safe_psql(
	'postgres', qq{
	CREATE TABLE pool (id int PRIMARY KEY, v knn_vector($dim));
	CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 0, v knn_vector($dim))});
load_vectors($node, 'pool', 0, clustered_vectors(4000, $dim, 2));

sub size { return $node->safe_psql('postgres', "SELECT pg_relation_size('t_idx')"); }

sub is_size
{
	my ($limit, $name) = @_;
	my $size = size();
	cmp_ok($size, '<=', $limit, "$name: $size of at most " . int($limit) . ' bytes');
	return $size;
}

# an empty index is one page, and a vector takes about its code, its links and itself
$node->safe_psql('postgres', 'CREATE INDEX t_idx ON t USING knn_hnsw (v)');
is(size(), $node->safe_psql('postgres', 'SHOW block_size'), 'an empty index is one page');
$node->safe_psql('postgres', 'INSERT INTO t (id, v) SELECT id, v FROM pool WHERE id < 2000');
my $filled = size();
$node->safe_psql('postgres', 'REINDEX INDEX t_idx');
my $built = size();
my $needed = 2000 * ($dim + 4 * $dim + 4 * 2 * 16 + 50);
is_size(1.15 * $needed, 'a built index');
cmp_ok($filled, '<=', 1.45 * $built, 'one filled by inserts is not much larger');

# the same vectors again and again
foreach my $round (1 .. 4)
{
	$node->safe_psql('postgres', 'DELETE FROM t' . ($round % 2 ? '' : ' WHERE id % 2 = 0'));
	$node->safe_psql('postgres', 'VACUUM t');
	$node->safe_psql('postgres', 'INSERT INTO t (id, v) SELECT id, v FROM pool WHERE id < 2000 ON CONFLICT DO NOTHING');
	is_size(1.03 * $built, "the same vectors, round $round");
}
check_whole_index($node, 't', 't_idx', 'the same vectors again');
check_entries($node, 't', 't_idx', 'the same vectors again');

# updates of another column put a second entry to a node until VACUUM
foreach my $round (1 .. 6)
{
	$node->safe_psql('postgres', 'UPDATE t SET id = id + 100000 WHERE id < 100000; UPDATE t SET id = id - 100000; VACUUM t');
}
is_size(1.1 * $built, 'updates of another column');
check_whole_index($node, 't', 't_idx', 'updates of another column');

# rows that were rolled back leave nodes that their vectors find again
foreach my $round (1 .. 3)
{
	$node->safe_psql('postgres',
		'BEGIN; INSERT INTO t (id, v) SELECT id + 200000, v FROM pool WHERE id BETWEEN 2000 AND 2199; ROLLBACK');
}
$node->safe_psql('postgres', 'VACUUM t');
is_size(1.25 * $built, 'rows that were rolled back');

# one row that is inserted, deleted and vacuumed over and over needs no space
my $before = size();
foreach my $round (1 .. 10)
{
	$node->safe_psql('postgres',
		'INSERT INTO t (id, v) SELECT 300000, v FROM pool WHERE id = 7; DELETE FROM t WHERE id = 300000');
	$node->safe_psql('postgres', 'VACUUM t');
}
is_size(1.03 * $before, 'a row that comes and goes');
$before = size();

# other vectors: tombstones stay, REINDEX recovers their space
$node->safe_psql('postgres', 'DELETE FROM t');
$node->safe_psql('postgres', 'VACUUM t');
is_size($before + 8192, 'VACUUM does not grow the index');
$node->safe_psql('postgres', 'INSERT INTO t (id, v) SELECT id, v FROM pool WHERE id >= 2000');
cmp_ok(size(), '>', $before, 'other vectors grow it');
check_whole_index($node, 't', 't_idx', 'other vectors');
$node->safe_psql('postgres', 'REINDEX INDEX CONCURRENTLY t_idx');
is_size(1.03 * $built, 'REINDEX recovers the space');
check_whole_index($node, 't', 't_idx', 'after REINDEX');
$node->safe_psql('postgres', 'DELETE FROM t; VACUUM t');
$node->safe_psql('postgres', 'REINDEX INDEX t_idx');
is(size(), 8192, 'REINDEX of an empty table leaves one page');

# 10,000 equal rows are one node and its rows
$node->safe_psql('postgres',
	'INSERT INTO t (id, v) SELECT i, v FROM pool, generate_series(1, 10000) i WHERE pool.id = 1');
is_size(10000 * 20 + 300_000, '10,000 equal rows inserted');
$node->safe_psql('postgres', 'REINDEX INDEX t_idx');
is_size(10000 * 12 + 80_000, '10,000 equal rows built');
# and so are those that come later, in place of those that went
my $equal = size();
foreach my $round (1 .. 4)
{
	$node->safe_psql('postgres', 'DELETE FROM t WHERE id <= 5000');
	$node->safe_psql('postgres', 'VACUUM t');
	$node->safe_psql('postgres',
		'INSERT INTO t (id, v) SELECT i, v FROM pool, generate_series(1, 5000) i WHERE pool.id = 1');
}
note 'equal rows come and go: ' . size() . " of $equal bytes";

$node->stop;
done_testing();
