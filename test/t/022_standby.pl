# A standby answers as the primary does, while it replays and after promotion.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 20;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', new_settings());
# queries of the standby wait for nothing and cancel nothing
$primary->append_conf('postgresql.conf',
	"max_standby_streaming_delay = -1\nhot_standby_feedback = on\nfsync = off");
$primary->start;
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

$primary->safe_psql('postgres', 'CREATE EXTENSION knn');
queries($primary, 20, $dim, 1);
$primary->safe_psql(
	'postgres', qq{
	CREATE TABLE t (id int, v knn_vector($dim));
	CREATE TABLE pool (id int PRIMARY KEY, v knn_vector($dim));
	CREATE SEQUENCE ids START 100000;
	CREATE INDEX t_idx ON t USING knn_hnsw (v);
	CREATE UNLOGGED TABLE u (id int, v knn_vector($dim));
	CREATE INDEX u_idx ON u USING knn_hnsw (v)});
my @vectors = clustered_vectors(4000, $dim, 2);
load_vectors($primary, 'pool', 0, @vectors);
$primary->safe_psql('postgres', 'INSERT INTO u SELECT * FROM pool WHERE id < 500');

sub same_answers
{
	my ($name) = @_;
	$primary->wait_for_catchup($standby);
	my $answers = neighbours($primary, 't', '<->');
	# through the cache a standby may find rows that the graph does not lead to
	is_deeply(neighbours($standby, 't', '<->', settings => 'SET knn.use_cache = off;'),
		$answers, "$name: equal answers");
	my $exact = neighbours($primary, 't', '<->', exact => 1);
	my $recall = recall($answers, $exact);
	cmp_ok($recall, '>=', 0.97, sprintf('%s: recall %.4f', $name, $recall));
	$recall = recall(neighbours($standby, 't', '<->'), $exact);
	cmp_ok($recall, '>=', 0.97, sprintf('%s: recall %.4f on the standby', $name, $recall));
	my $measured =
	  $standby->safe_psql('postgres', "SELECT recall FROM knn_index_recall('t_idx', 50)");
	cmp_ok($measured, '>=', 0.95, sprintf('%s: measured on the standby %.4f', $name, $measured));
	check_whole_index($standby, 't', 't_idx', $name);
	return;
}

# one session each on the standby that keeps what it knows of the index
my $session = $standby->background_psql('postgres');
$session->query_safe('SET enable_seqscan = off; SET enable_sort = off');
sub nearest
{
	my ($id) = @_;
	return $session->query_safe("SELECT id FROM t ORDER BY v <-> '$vectors[$id]' LIMIT 1");
}

$primary->wait_for_catchup($standby);
is(nearest(0), '', 'empty index');
$primary->safe_psql('postgres', 'INSERT INTO t SELECT * FROM pool WHERE id < 1500');
same_answers('inserts');
is(nearest(77), 77, 'a session that knew the empty index sees the rows');

$primary->safe_psql('postgres', 'DELETE FROM t WHERE id % 3 = 0');
same_answers('deletes');
$primary->safe_psql('postgres', 'VACUUM t');
same_answers('VACUUM');
isnt(nearest(78), 78, 'the session does not see deleted rows');
is(nearest(77), 77, 'and goes on seeing the others');

$primary->safe_psql('postgres', 'INSERT INTO t SELECT * FROM pool WHERE id % 3 = 0');
same_answers('the deleted inserted again');
is(nearest(78), 78, 'the session sees a row that came back');

$primary->safe_psql('postgres', 'INSERT INTO t SELECT 10000 + i, v FROM pool, generate_series(1, 200) i WHERE id = 5');
same_answers('equal rows');

$primary->safe_psql('postgres', 'REINDEX INDEX t_idx');
same_answers('REINDEX');
is(nearest(79), 79, 'the session uses the new index');
$primary->safe_psql('postgres', 'REINDEX INDEX CONCURRENTLY t_idx');
same_answers('REINDEX CONCURRENTLY');
$primary->safe_psql('postgres', 'TRUNCATE t; INSERT INTO t SELECT * FROM pool WHERE id >= 1000 AND id < 2500');
same_answers('TRUNCATE');
is(nearest(1079), 1079, 'the session uses the new file');

# ---------------------------------------------------------------------------
# queries of the standby while the primary inserts, deletes and vacuums: a row
# that is there all the time is found at all times

my $changes = start_pgbench(
	$primary,
	{
		"\\set r random(2500, 3999)\nINSERT INTO t SELECT nextval('ids'), v FROM pool WHERE id = :r;" => 50,
		"\\set r random(0, 99)\nDELETE FROM t WHERE id % 100 = :r AND id >= 2500;" => 5,
		"VACUUM t;" => 1
	},
	'-c', '3', '-T', '6');
my $reads = start_pgbench(
	$standby,
	{
		"\\set r random(1000, 2499)\n"
		  . "SET enable_seqscan = off;\n"
		  . "SELECT 1 / count(*) FROM (SELECT id FROM t ORDER BY v <-> (SELECT v FROM pool WHERE id = :r) LIMIT 1) s WHERE id = :r;"
		  => 1
	},
	'-c', '2', '-T', '6');
ok($reads->finish, 'the standby found the row of every query');
ok($changes->finish, 'while the primary was changing the index');
is(scalar(log_errors($standby)), 0, 'no error on the standby')
  or diag join "\n", log_errors($standby);
$primary->safe_psql('postgres', 'VACUUM t');
same_answers('after concurrent changes');

# a scan that began before a VACUUM goes on after its replay
$session->query_safe('BEGIN ISOLATION LEVEL REPEATABLE READ');
$session->query_safe("DECLARE c CURSOR FOR SELECT id FROM t ORDER BY v <-> '$vectors[1200]'");
is($session->query_safe('FETCH 1 FROM c'), 1200, 'first row of a cursor');
$primary->safe_psql('postgres', 'DELETE FROM t WHERE id >= 2500; VACUUM t');
$primary->safe_psql('postgres', 'INSERT INTO t SELECT id, v FROM pool WHERE id < 300');
my $moved = $session->query_safe("SET LOCAL knn.scan_order = relaxed; MOVE ALL IN c; SELECT 'done'");
like($moved, qr/done/, 'the cursor comes to its end');
$session->query_safe('COMMIT');
same_answers('after a cursor');

# ---------------------------------------------------------------------------
# promotion

$session->quit;
my $unlogged = $standby->psql('postgres', 'SELECT count(*) FROM u');
isnt($unlogged, 0, 'unlogged tables cannot be read during recovery');
$standby->promote;
$standby->safe_psql('postgres', 'INSERT INTO t SELECT * FROM pool WHERE id >= 3000');
check_whole_index($standby, 't', 't_idx', 'promoted');
my $recall = recall(neighbours($standby, 't', '<->'), neighbours($standby, 't', '<->', exact => 1));
cmp_ok($recall, '>=', 0.97, sprintf('promoted: recall %.4f', $recall));
$standby->safe_psql('postgres', 'DELETE FROM t WHERE id % 2 = 0; VACUUM t');
check_whole_index($standby, 't', 't_idx', 'promoted, after VACUUM');

check_whole_index($standby, 'u', 'u_idx', 'unlogged, promoted');
$standby->safe_psql('postgres', 'INSERT INTO u SELECT * FROM pool WHERE id < 500');
check_whole_index($standby, 'u', 'u_idx', 'unlogged, promoted and filled');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM u'), 500, 'unlogged rows start anew');

$primary->stop;
$standby->stop;
unlike(slurp_file($standby->logfile) . slurp_file($primary->logfile),
	qr/PANIC|TRAP|is damaged|unexpected zero page|damaged page/, 'no damage was seen');
done_testing();
