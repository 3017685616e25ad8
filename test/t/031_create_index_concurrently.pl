# CREATE INDEX CONCURRENTLY and REINDEX CONCURRENTLY while rows are inserted,
# updated and deleted: the index that comes out has each row once.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 12;

my $node = start_node();
queries($node, 30, $dim, 1);
$node->safe_psql(
	'postgres', qq{
	CREATE SEQUENCE ids START 100000;
	CREATE TABLE pool (id int PRIMARY KEY, v knn_vector($dim));
	CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('ids'), n int DEFAULT 0, v knn_vector($dim))});
load_vectors($node, 'pool', 0, clustered_vectors(5000, $dim, 2));
$node->safe_psql('postgres', 'INSERT INTO t (v) SELECT v FROM pool');

my %writes = (
	"\\set r random(0, 4999)\nINSERT INTO t (v) SELECT v FROM pool WHERE id = :r;" => 30,
	# equal rows join a node that a concurrent build may know already
	"INSERT INTO t (v) SELECT v FROM queries WHERE id = 3;" => 10,
	"\\set r random(0, 999)\nDELETE FROM t WHERE id IN (SELECT id FROM t WHERE id % 1000 = :r ORDER BY id FOR UPDATE);" => 10,
	"\\set r random(0, 999)\nUPDATE t SET n = n + 1 WHERE id IN (SELECT id FROM t WHERE id % 1000 = :r ORDER BY id FOR UPDATE);" => 20,
	"\\set r random(0, 999)\nUPDATE t SET v = v + v WHERE id IN (SELECT id FROM t WHERE id % 1000 = :r ORDER BY id FOR UPDATE);" => 5,
	"BEGIN;\n\\set r random(0, 4999)\nINSERT INTO t (v) SELECT v FROM pool WHERE id = :r;\nROLLBACK;" => 5);

# Rows by the index and by the table, in one snapshot while others write.
sub check_snapshot
{
	my ($name) = @_;
	my $counts = $node->safe_psql(
		'postgres', q{
		BEGIN ISOLATION LEVEL REPEATABLE READ;
		SET LOCAL knn.scan_order = relaxed; SET LOCAL knn.max_scan_tuples = -1;
		SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off;
		CREATE TEMP TABLE by_index ON COMMIT DROP AS
			SELECT id FROM t ORDER BY v <-> (SELECT v FROM queries LIMIT 1);
		SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off;
		SELECT count(*) - count(DISTINCT id) AS twice,
			(SELECT count(*) FROM t WHERE NOT EXISTS (SELECT FROM by_index b WHERE b.id = t.id)) AS lost
		FROM by_index;
		COMMIT});
	is($counts, '0|0', "$name: rows returned twice, rows lost");
	return;
}

foreach my $round (1 .. 3)
{
	my $writers = start_pgbench($node, \%writes, '-c', '4', '-T', '180');
	foreach my $command (
		'CREATE INDEX CONCURRENTLY t_idx ON t USING knn_hnsw (v)',
		'REINDEX INDEX CONCURRENTLY t_idx',
		'VACUUM t',
		'REINDEX TABLE CONCURRENTLY t')
	{
		my $name = "round $round: $command";
		my ($rc, $out, $err) = $node->psql('postgres', $command);
		is($rc, 0, $name) or diag $err;
		ok(uses_index($node, 't', '<->'), "$name: the index is used");
		check_snapshot($name);
	}
	$writers->signal('INT');
	$writers->finish;
	check_whole_index($node, 't', 't_idx', "round $round");
	my $recall = recall(neighbours($node, 't', '<->'), neighbours($node, 't', '<->', exact => 1));
	cmp_ok($recall, '>=', 0.97, sprintf('round %d: recall %.4f', $round, $recall));
	check_entries($node, 't', 't_idx', "round $round");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_index WHERE NOT indisvalid OR NOT indisready'),
		0, "round $round: no index is left half made");
	$node->safe_psql('postgres', 'DROP INDEX CONCURRENTLY t_idx; VACUUM t');
}

# one that fails leaves an invalid index, which another REINDEX puts right; it waits
# for a writer's transaction until it is cancelled
$node->safe_psql('postgres', 'CREATE INDEX t_idx ON t USING knn_hnsw (v)');
my $writer = $node->background_psql('postgres');
$writer->query_safe('BEGIN');
$writer->query_safe("UPDATE t SET n = 1 WHERE id = (SELECT min(id) FROM t)");
my ($rc, $out, $err) = $node->psql('postgres',
	"SET statement_timeout = '500ms'; REINDEX INDEX CONCURRENTLY t_idx");
isnt($rc, 0, 'REINDEX CONCURRENTLY is cancelled');
$writer->query_safe('COMMIT');
$writer->quit;
is($node->safe_psql('postgres', q{SELECT count(*) FROM pg_index WHERE NOT indisvalid AND indrelid = 't'::regclass}),
	1, 'and leaves an invalid index');
check_whole_index($node, 't', 't_idx', 'after REINDEX was cancelled');
$node->safe_psql('postgres', 'INSERT INTO t (v) SELECT v FROM pool WHERE id < 200');
check_whole_index($node, 't', 't_idx', 'inserts next to an invalid index');
$node->safe_psql('postgres', 'DROP INDEX t_idx_ccnew; REINDEX TABLE CONCURRENTLY t; VACUUM t');
check_whole_index($node, 't', 't_idx', 'put right');
check_entries($node, 't', 't_idx', 'put right');

is(join("\n", log_errors($node, 0, qr/canceling statement|terminating connection|cannot reindex invalid|skipping reindex|connection to client lost/)),
	'', 'no other error in the log');
$node->stop;
done_testing();
