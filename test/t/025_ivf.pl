# knn_ivf: crashes at any moment, a standby that replays, and inserts, deletes, VACUUM
# and scans at once, leave an index that finds every row.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $dim = 16;
my $with = "WITH (nlist = 20, nprobes = 8, compression_level = '8x')";

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', new_settings());
$node->append_conf('postgresql.conf',
	"fsync = off\nrestart_after_crash = on\nwal_consistency_checking = 'generic'\n"
	  . "max_standby_streaming_delay = -1\nhot_standby_feedback = on\n"
	  . "wal_receiver_status_interval = 1s\nwal_keep_size = 1GB");
$node->start;
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;

$node->safe_psql('postgres', 'CREATE EXTENSION knn');
queries($node, 30, $dim, 1);
$node->safe_psql(
	'postgres', qq{
	CREATE SEQUENCE ids START 100000;
	CREATE TABLE pool (id int PRIMARY KEY, v knn_vector($dim));
	CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('ids'), n int DEFAULT 0, v knn_vector($dim))});
load_vectors($node, 'pool', 0, clustered_vectors(6000, $dim, 2));

sub check
{
	my ($name, $least) = @_;
	$least //= 0.95;
	check_whole_index($node, 't', 't_idx', $name);
	my $exact = neighbours($node, 't', '<->', exact => 1);
	my $recall = recall(neighbours($node, 't', '<->'), $exact);
	cmp_ok($recall, '>=', $least, sprintf('%s: recall %.4f', $name, $recall));
	is(recall(neighbours($node, 't', '<->', settings => 'SET knn.nprobes = 20;'), $exact),
		1, "$name: all lists find all");
	return;
}

# Distances of the neighbours of each query.
sub distances_of
{
	my $found = neighbours($_[0], 't', '<->');
	return { map { my $query = $_; $query => [ map { $_->[1] } @{ $found->{$query} } ] } keys %$found };
}

sub same_on_standby
{
	my ($name) = @_;
	$node->wait_for_catchup($standby);
	# several rows have the same vector, and any of them may be the tenth
	is_deeply(distances_of($standby), distances_of($node), "$name: equal answers");
	check_whole_index($standby, 't', 't_idx', "$name, standby");
	return;
}

sub crash
{
	my ($how, $name) = @_;
	if ($how eq 'server')
	{
		$node->stop('immediate');
		$node->start;
		return;
	}
	my $pid = $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE $how AND pid <> pg_backend_pid() LIMIT 1");
	if ($pid eq '')
	{
		note "$name: nothing to kill";
		return;
	}
	kill 'KILL', $pid;
	ok($node->poll_query_until('postgres', 'SELECT 1', '1'), "$name: the server is up again");
	return;
}

# ---------------------------------------------------------------------------
# several backends find the index without lists and make the first

foreach my $round (1 .. 3)
{
	$node->safe_psql('postgres', "DROP INDEX IF EXISTS t_idx; TRUNCATE t; CREATE INDEX t_idx ON t USING knn_ivf (v) $with");
	ok( start_pgbench(
			$node,
			{ "\\set r random(0, 5999)\nINSERT INTO t (v) SELECT v FROM pool WHERE id = :r;" => 1 },
			'-c', '8', '-t', '5')->finish,
		"no lists $round: pgbench ends well");
	check_whole_index($node, 't', 't_idx', "no lists $round");
	is($node->safe_psql('postgres', "SELECT lists FROM knn_index_info('t_idx')"), 1, "no lists $round: one is made");
}
same_on_standby('one list');

# ---------------------------------------------------------------------------
# everything at once; scans check that no row comes twice

$node->safe_psql('postgres', 'INSERT INTO t (id, v) SELECT id, v FROM pool WHERE id < 3000; REINDEX INDEX t_idx');
check('built');
my $scan = q{
\set q random(1, 30)
SET enable_seqscan = off;
SET enable_sort = off;
SELECT 1 / (count(*) = count(DISTINCT id))::int FROM
	(SELECT id FROM t ORDER BY v <-> (SELECT v FROM queries WHERE id = :q) LIMIT 50) s;
};
my %everything = (
	"\\set r random(0, 5999)\nINSERT INTO t (v) SELECT v FROM pool WHERE id = :r;" => 60,
	"\\set r random(1, 5)\nINSERT INTO t (v) SELECT v FROM queries WHERE id = :r;" => 5,
	"\\set r random(0, 999)\nDELETE FROM t WHERE id IN (SELECT id FROM t WHERE id % 1000 = :r AND id >= 100000 ORDER BY id FOR UPDATE);" => 20,
	"\\set r random(0, 999)\nUPDATE t SET n = n + 1 WHERE id IN (SELECT id FROM t WHERE id % 1000 = :r ORDER BY id FOR UPDATE);" => 10,
	"\\set r random(0, 999)\nUPDATE t SET v = v + v WHERE id IN (SELECT id FROM t WHERE id % 1000 = :r AND id >= 100000 ORDER BY id FOR UPDATE);" => 5,
	"BEGIN;\n\\set r random(0, 5999)\nINSERT INTO t (v) SELECT v FROM pool WHERE id = :r;\nROLLBACK;" => 5,
	"VACUUM t;" => 6,
	"SELECT knn_index_check('t_idx');" => 1,
	$scan => 40);
ok(start_pgbench($node, \%everything, '-c', '6', '-T', '8')->finish, 'everything at once: pgbench ends well');
is(join("\n", log_errors($node)), '', 'everything at once: no error in the log');
check('everything at once', 0.9);
wait_until_removable($node);
$node->safe_psql('postgres', 'VACUUM t');
check_entries($node, 't', 't_idx', 'everything at once, then VACUUM');
same_on_standby('everything at once');

# places are used again: as many rows come as go, and the index stays as it is
wait_until_removable($node);
$node->safe_psql('postgres', 'VACUUM t; CREATE TABLE moved AS SELECT * FROM t');
my $size = $node->safe_psql('postgres', "SELECT pg_relation_size('t_idx')");
foreach my $round (1 .. 3)
{
	$node->safe_psql('postgres', 'DELETE FROM t WHERE id % 3 = 0');
	wait_until_removable($node);
	$node->safe_psql('postgres', 'VACUUM t');
	$node->safe_psql('postgres', 'INSERT INTO t SELECT * FROM moved WHERE id % 3 = 0');
}
is($node->safe_psql('postgres', "SELECT pg_relation_size('t_idx')"), $size, 'places are used again');
check('places used again', 0.9);

# ---------------------------------------------------------------------------
# crashes

my $round = 0;
foreach my $how ('server', "query ~ '^INSERT'", 'server', "query ~ '^VACUUM'")
{
	my $name = 'crash ' . ++$round;
	my $bench = start_pgbench($node, \%everything, '-c', '4', '-T', '60');
	usleep(300_000 + 200_000 * $round);
	crash($how, $name);
	$bench->kill_kill;
	$node->poll_query_until('postgres', 'SELECT 1', '1');
	check($name, 0.9);
}
same_on_standby('after crashes');

# queries of the standby while the primary changes the index: a row that is there all
# the time is found at all times
my $log_offset = -s $standby->logfile;
my $changes = start_pgbench($node, \%everything, '-c', '3', '-T', '5');
my $reads = start_pgbench(
	$standby,
	{
		"\\set r random(0, 99)\nSET enable_seqscan = off;\nSET knn.nprobes = 20;\n"
		  . "SELECT 1 / count(*) FROM (SELECT n.v FROM t n ORDER BY n.v <-> (SELECT v FROM t WHERE id = :r) LIMIT 1) s WHERE s.v = (SELECT v FROM t WHERE id = :r);"
		  => 1
	},
	'-c', '2', '-T', '5');
ok($reads->finish, 'the standby found the row of every query');
ok($changes->finish, 'while the primary was changing the index');
is(join("\n", log_errors($standby, $log_offset)), '', 'no error on the standby');
$node->safe_psql('postgres', 'REINDEX INDEX CONCURRENTLY t_idx');
check('REINDEX CONCURRENTLY');
same_on_standby('REINDEX CONCURRENTLY');

# an unlogged index has no lists after a crash
$node->safe_psql(
	'postgres', qq{
	CREATE UNLOGGED TABLE u (id int, v knn_vector($dim));
	INSERT INTO u SELECT id, v FROM pool WHERE id < 1000;
	CREATE INDEX u_idx ON u USING knn_ivf (v) $with});
$node->restart;
check_whole_index($node, 'u', 'u_idx', 'unlogged, clean restart');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', "SELECT lists FROM knn_index_info('u_idx')"), 0, 'unlogged, after a crash: no lists');
$node->safe_psql('postgres', 'INSERT INTO u SELECT id, v FROM pool WHERE id < 1000');
check_whole_index($node, 'u', 'u_idx', 'unlogged, filled again');

$standby->promote;
$standby->safe_psql('postgres', 'INSERT INTO t (id, v) SELECT 50000 + id, v FROM pool; DELETE FROM t WHERE id % 2 = 0; VACUUM t');
check_whole_index($standby, 't', 't_idx', 'promoted');

$node->stop;
$standby->stop;
unlike(slurp_file($node->logfile) . slurp_file($standby->logfile),
	qr/PANIC|TRAP|is damaged|unexpected zero page|damaged page|invalid page|inconsistent page/, 'no damage was seen');
done_testing();
