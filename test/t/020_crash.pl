# Crashes at any moment leave an index that finds every committed row.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $dim = 16;

my $node = start_node('restart_after_crash = on');
queries($node, 30, $dim, 1);
$node->safe_psql('postgres',
	"CREATE TABLE pool (id int PRIMARY KEY, v knn_vector($dim)); CREATE SEQUENCE ids START 100000");
load_vectors($node, 'pool', 0, clustered_vectors(5000, $dim, 2));

sub check
{
	my ($name) = @_;
	check_whole_index($node, 't', 't_idx', $name);
	my $recall = recall(neighbours($node, 't', '<->'), neighbours($node, 't', '<->', exact => 1));
	cmp_ok($recall, '>=', 0.97, sprintf('%s: recall %.4f', $name, $recall));
	return;
}

sub is_up
{
	my ($name) = @_;
	ok($node->poll_query_until('postgres', 'SELECT 1', '1'), "$name: the server is up again");
	return;
}

# Either the whole server at once, or one backend, after which the postmaster
# restarts the others.
sub crash
{
	my ($how, $name) = @_;
	if ($how eq 'server')
	{
		$node->stop('immediate');
		$node->start;
	}
	else
	{
		my $pid = $node->safe_psql('postgres',
			"SELECT pid FROM pg_stat_activity WHERE $how AND pid <> pg_backend_pid() LIMIT 1");
		# when it is done already there is nothing to kill
		if ($pid eq '')
		{
			note "$name: nothing to kill";
			return;
		}
		kill 'KILL', $pid;
		is_up($name);
	}
	return;
}

# ---------------------------------------------------------------------------
# during a build: it is complete or not there

$node->safe_psql('postgres', "CREATE TABLE t (id int DEFAULT nextval('ids'), v knn_vector($dim), n int DEFAULT 0)");
$node->safe_psql('postgres', 'INSERT INTO t (id, v) SELECT id, v FROM pool WHERE id < 2000');
foreach my $round (1 .. 3)
{
	my $name = "crash during build $round";
	my $build = IPC::Run::start(
		[
			'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, '-c',
			'CREATE INDEX t_idx ON t USING knn_hnsw (v) WITH (ef_construction = 400)', 'postgres'
		],
		'<', \'', '>', '/dev/null', '2>', '/dev/null');
	usleep(50_000 * $round * $round);
	crash($round % 2 ? 'server' : "query ~ '^CREATE INDEX'", $name);
	$build->finish;
	is_up($name);
	$node->safe_psql('postgres', 'CREATE INDEX IF NOT EXISTS t_idx ON t USING knn_hnsw (v)');
	check($name);
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_ls_tmpdir()'),
		0, "$name: no temporary file is left");
	$node->safe_psql('postgres', 'DROP INDEX t_idx');
}

# ---------------------------------------------------------------------------
# during inserts into an index that starts empty, by several backends; then with
# updates, deletes and VACUUM going on as well

$node->safe_psql('postgres', 'TRUNCATE t; CREATE INDEX t_idx ON t USING knn_hnsw (v)');
my %inserts = (
	"\\set r random(0, 4999)\nINSERT INTO t (v) SELECT v FROM pool WHERE id = :r;" => 100,
	"\\set r random(0, 4999)\nINSERT INTO t (v) SELECT v + v FROM pool WHERE id BETWEEN :r AND :r + 3;" => 10,
	"\\set r random(0, 9)\nINSERT INTO t (v) SELECT v FROM queries WHERE id = :r;" => 5,
	"CHECKPOINT;" => 1);
my %everything = (
	%inserts,
	"\\set r random(0, 19)\nDELETE FROM t WHERE id % 20 = :r AND id < (SELECT last_value FROM ids) - 500;" => 3,
	"\\set r random(0, 99)\nUPDATE t SET n = n + 1 WHERE id % 100 = :r;" => 5,
	"\\set r random(0, 99)\nUPDATE t SET v = v * v WHERE id % 100 = :r;" => 2,
	"VACUUM t;" => 5);
my $round = 0;
foreach my $scripts (\%inserts, \%everything)
{
	foreach my $how ('server', "query ~ '^INSERT'", 'server')
	{
		my $name = ($scripts == \%inserts ? 'inserts' : 'inserts, updates, deletes and VACUUM')
		  . ', crash ' . ++$round;
		my $bench = start_pgbench($node, $scripts, '-c', '4', '-T', '60');
		usleep(200_000 + 150_000 * $round);
		crash($how, $name);
		$bench->kill_kill;
		is_up($name);
		check($name);
	}
}

# the index goes on as if nothing had happened
$node->safe_psql('postgres', 'DELETE FROM t WHERE id % 2 = 0; VACUUM t');
$node->safe_psql('postgres', 'INSERT INTO t (v) SELECT v FROM pool WHERE id < 500');
check('afterwards');
check_entries($node, 't', 't_idx', 'afterwards');

# ---------------------------------------------------------------------------
# an unlogged index is empty after a crash, and whole after a clean restart

$node->safe_psql(
	'postgres', qq{
	CREATE UNLOGGED TABLE u (id int, v knn_vector($dim));
	CREATE INDEX u_idx ON u USING knn_hnsw (v);
	INSERT INTO u SELECT id, v FROM pool WHERE id < 1000});
$node->restart;
check_whole_index($node, 'u', 'u_idx', 'unlogged, clean restart');
is($node->safe_psql('postgres', 'SELECT count(*) FROM u'), 1000, 'unlogged rows survive a clean restart');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', 'SELECT count(*) FROM u'), 0, 'unlogged rows do not survive a crash');
check_whole_index($node, 'u', 'u_idx', 'unlogged, after a crash');
$node->safe_psql('postgres', 'INSERT INTO u SELECT id, v FROM pool WHERE id < 1000');
check_whole_index($node, 'u', 'u_idx', 'unlogged, filled again');

$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|is damaged|unexpected zero page|damaged page|invalid page/,
	'no damage was seen');
done_testing();
