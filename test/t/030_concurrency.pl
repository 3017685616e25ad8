# Inserts, deletes, updates, VACUUM and scans at once: nobody gets an error, no row
# is lost or doubled, and the recall stays.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 16;

my $node = start_node();
queries($node, 30, $dim, 1);
$node->safe_psql(
	'postgres', qq{
	CREATE SEQUENCE ids START 100000;
	CREATE TABLE pool (id int PRIMARY KEY, v knn_vector($dim));
	CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('ids'), n int DEFAULT 0, v knn_vector($dim))});
load_vectors($node, 'pool', 0, clustered_vectors(6000, $dim, 2));

sub check
{
	my ($name) = @_;
	check_whole_index($node, 't', 't_idx', $name);
	my $recall = recall(neighbours($node, 't', '<->'), neighbours($node, 't', '<->', exact => 1));
	cmp_ok($recall, '>=', 0.97, sprintf('%s: recall %.4f', $name, $recall));
	is(join("\n", log_errors($node)), '', "$name: no error in the log");
	return;
}

sub pgbench
{
	my ($name, $scripts, @options) = @_;
	ok(start_pgbench($node, $scripts, @options)->finish, "$name: pgbench ends well");
	return;
}

# several backends find the index empty and insert the first node
foreach my $round (1 .. 3)
{
	$node->safe_psql('postgres', 'DROP INDEX IF EXISTS t_idx; TRUNCATE t; CREATE INDEX t_idx ON t USING knn_hnsw (v) ');
	pgbench("empty index $round",
		{ "\\set r random(0, 5999)\nINSERT INTO t (v) SELECT v FROM pool WHERE id = :r;" => 1 },
		'-c', '8', '-t', '5');
	check_whole_index($node, 't', 't_idx', "empty index $round");
}

# inserts of different vectors into an index that starts empty
$node->safe_psql('postgres', 'DROP INDEX t_idx; TRUNCATE t; CREATE INDEX t_idx ON t USING knn_hnsw (v)');
pgbench('inserts',
	{ "INSERT INTO t (v) SELECT v FROM pool WHERE id = nextval('ids') % 6000;" => 1,
		"\\set r random(0, 5999)\nINSERT INTO t (v) SELECT v FROM pool WHERE id = :r;" => 1 },
	'-c', '6', '-t', '500');
is($node->safe_psql('postgres', 'SELECT count(*) > 1400 FROM t'), 't', 'inserts: rows are there');
check('inserts');

# everything at once; scans check that the order is an order and that no row
# comes twice (a division by zero is an error)
my $scan = q{
\set q random(1, 30)
SET enable_seqscan = off;
SET enable_sort = off;
SELECT 1 / (count(*) = count(DISTINCT id) AND count(*) FILTER (WHERE d < before - 1e-5) = 0)::int
FROM (SELECT id, d, lag(d) OVER () AS before FROM
	(SELECT id, v <-> (SELECT v FROM queries WHERE id = :q) AS d FROM t
	 ORDER BY v <-> (SELECT v FROM queries WHERE id = :q) LIMIT 50) s) s;
};
my %everything = (
	"\\set r random(0, 5999)\nINSERT INTO t (v) SELECT v FROM pool WHERE id = :r;" => 40,
	"\\set r random(1, 5)\nINSERT INTO t (v) SELECT v FROM queries WHERE id = :r;" => 5,
	"\\set r random(0, 999)\nDELETE FROM t WHERE id IN (SELECT id FROM t WHERE id % 1000 = :r ORDER BY id FOR UPDATE);" => 20,
	# rows are locked in the order of their ids, so that updates do not deadlock
	"\\set r random(0, 999)\nUPDATE t SET n = n + 1 WHERE id IN (SELECT id FROM t WHERE id % 1000 = :r ORDER BY id FOR UPDATE);" => 20,
	"\\set r random(0, 999)\nUPDATE t SET v = v + v WHERE id IN (SELECT id FROM t WHERE id % 1000 = :r ORDER BY id FOR UPDATE);" => 5,
	"BEGIN;\n\\set r random(0, 5999)\nINSERT INTO t (v) SELECT v FROM pool WHERE id = :r;\nROLLBACK;" => 5,
	"VACUUM t;" => 4,
	$scan => 40);
pgbench('everything', \%everything, '-c', '6', '-T', '8');
check('everything at once');
$node->safe_psql('postgres', 'VACUUM t');
check('everything at once, then VACUUM');
check_entries($node, 't', 't_idx', 'everything at once, then VACUUM');

# 10,000 equal rows, inserted by several backends, with VACUUM going on
$node->safe_psql('postgres', 'DELETE FROM t WHERE id % 2 = 0');
pgbench('equal rows',
	{ "INSERT INTO t (v) SELECT v FROM queries, generate_series(1, 20) WHERE id = 7;" => 30, "VACUUM t;" => 1 },
	'-c', '5', '-t', '104');
my $equal = $node->safe_psql('postgres', 'SELECT count(*) FROM t WHERE v = (SELECT v FROM queries WHERE id = 7)');
cmp_ok($equal, '>=', 9000, "equal rows: $equal rows");
is( $node->safe_psql(
		'postgres', qq{
		SET enable_seqscan = off; SET enable_sort = off; SET knn.ef_search = 10; SET knn.scan_order = relaxed;
		SELECT count(DISTINCT id) FROM (SELECT id, v FROM t
			ORDER BY v <-> (SELECT v FROM queries WHERE id = 7) LIMIT $equal + 100) s
		WHERE v = (SELECT v FROM queries WHERE id = 7)}),
	$equal,
	'equal rows: all are found by a narrow search');
my $recall = recall(neighbours($node, 't', '<->'), neighbours($node, 't', '<->', exact => 1));
cmp_ok($recall, '>=', 0.97, sprintf('equal rows: recall %.4f', $recall));
# deleted and inserted at the same time, by the same vector
pgbench('equal rows come and go',
	{
		"INSERT INTO t (v) SELECT v FROM queries, generate_series(1, 20) WHERE id = 7;" => 10,
		"\\set r random(0, 19)\nDELETE FROM t WHERE id % 20 = :r AND v = (SELECT v FROM queries WHERE id = 7);" => 5,
		"VACUUM t;" => 3
	},
	'-c', '5', '-T', '4');
$node->safe_psql('postgres', 'DELETE FROM t WHERE v = (SELECT v FROM queries WHERE id = 7) AND id % 16 <> 0; VACUUM t');
check('equal rows come and go');
check_entries($node, 't', 't_idx', 'equal rows come and go');

$node->stop;
done_testing();
