# Crashes while indexes are loaded, searched and changed: the cache starts empty, is
# filled again, and has what pages have.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $dim = 16;
my $large_dim = 8;

my $node = start_node('restart_after_crash = on', cache => '64MB');
queries($node, 30, $dim, 1);
$node->safe_psql(
	'postgres', qq{
	CREATE SEQUENCE ids START 100000;
	CREATE TABLE pool (id int PRIMARY KEY, v knn_vector($dim));
	CREATE TABLE t (id int DEFAULT nextval('ids'), n int DEFAULT 0, v knn_vector($dim));
	CREATE INDEX t_idx ON t USING knn_hnsw (v);
	-- lists of links so long that it takes some milliseconds to load
	CREATE TABLE large (id int PRIMARY KEY, v knn_vector($large_dim));
	INSERT INTO large SELECT i, array_agg(((i * 73856093::bigint) # (j * 19349663::bigint)) % 2003 / 1000.0::real)::real[]::knn_vector
		FROM generate_series(1, 40000) i, generate_series(1, $large_dim) j GROUP BY i;
	CREATE INDEX large_idx ON large USING knn_hnsw (v) WITH (m = 100, ef_construction = 16)});
load_vectors($node, 'pool', 0, clustered_vectors(4000, $dim, 2));
$node->safe_psql('postgres', 'INSERT INTO t (id, v) SELECT id, v FROM pool WHERE id < 1500');

sub is_up
{
	my ($name) = @_;
	ok($node->poll_query_until('postgres', 'SELECT 1', '1'), "$name: the server is up again");
	return;
}

# The nearest rows of some rows of the large table.
sub large_answers
{
	my ($settings) = @_;
	return $node->safe_psql(
		'postgres', qq{
		SET enable_seqscan = off; SET enable_sort = off; SET jit = off; $settings;
		SELECT i, array_agg(n.id) FROM generate_series(1, 40000, 2000) i,
			LATERAL (SELECT id FROM large ORDER BY v <-> (SELECT v FROM large WHERE id = i) LIMIT 5) n GROUP BY i ORDER BY i});
}
my $answers = large_answers('SET knn.use_cache = off');
is(stat_of($node, 'load_success_count'), 0, 'nothing was loaded yet');

sub check
{
	my ($name) = @_;
	is(stat_of($node, q{concat_ws(' ', cache_used, indices_in_cache, hit_count, load_success_count, circuit_breaker_triggered)}),
		'0 0 0 0 f', "$name: the cache starts empty");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM knn_progress'), 0, "$name: nobody is at work");
	check_mirror($node, 't', '<->', $name);
	is(large_answers(''), $answers, "$name: answers of the large index");
	is($node->safe_psql('postgres', q{SELECT string_agg(indexrelname || ' ' || state, ', ' ORDER BY indexrelname) FROM knn_cache}),
		'large_idx ready, t_idx ready', "$name: both are in the cache");
	check_whole_index($node, 't', 't_idx', $name);
	my $recall = recall(neighbours($node, 't', '<->'), neighbours($node, 't', '<->', exact => 1));
	cmp_ok($recall, '>=', 0.97, sprintf('%s: recall %.4f', $name, $recall));
	# it is kept up to date, as before
	$node->safe_psql('postgres', q{INSERT INTO t (v) SELECT v FROM queries WHERE id <= 5; DELETE FROM t WHERE v IN (SELECT v FROM queries WHERE id = 3); VACUUM t});
	check_mirror($node, 't', '<->', "$name, changed");
	is($node->safe_psql('postgres', q{
			SET enable_seqscan = off; SET enable_sort = off;
			SELECT array_agg(id ORDER BY id) FROM queries q WHERE v = (SELECT v FROM t ORDER BY v <-> q.v LIMIT 1)}),
		'{1,2,4,5}', "$name: new rows are found");
	$node->safe_psql('postgres', 'DELETE FROM t WHERE v IN (SELECT v FROM queries)');
	check_empty_cache($node, $name);
	return;
}

# ---------------------------------------------------------------------------
# a load that does not come to its end, by an error, by the end of its session and by
# a crash

my $session = $node->background_psql('postgres', on_error_stop => 0);
my $pid = catch_loading($node, $session, 'large_idx');
ok($pid, 'caught in the middle of a load') or BAIL_OUT('no load could be caught');
$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
kill 'CONT', $pid;
$session->query('SELECT 1');
like($session->{stderr}, qr/canceling statement due to user request/, 'the load is cancelled');
$session->{stderr} = '';
is(stat_of($node, q{concat_ws(' ', cache_used, indices_in_cache)}), '0 0', 'a cancelled load leaves nothing');
is($node->safe_psql('postgres', 'SELECT count(*) FROM knn_progress'), 0, 'nor a report');
is($session->query_safe(q{SELECT knn_warmup('large_idx') ->> 'successful'}), 1, 'the same session can load it then');
is(large_answers(''), $answers, 'answers after a cancelled load');
check_empty_cache($node, 'cancelled');

ok($pid = catch_loading($node, $session, 'large_idx'), 'caught again');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
kill 'CONT', $pid;
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
check_empty_cache($node, 'terminated');
is(large_answers(''), $answers, 'answers after a load whose session was ended');
check_empty_cache($node, 'terminated, then loaded');
eval { $session->quit };

# others can do what they like meanwhile: search it through pages, change it, remove it
$session = $node->background_psql('postgres', on_error_stop => 0);
ok($pid = catch_loading($node, $session, 'large_idx'), 'caught once more');
my $writer = start_pgbench($node, { "INSERT INTO large SELECT nextval('ids'), v * v FROM large WHERE id <= 20;" => 1,
		"DELETE FROM large WHERE id > 40000 AND id % 2 = 0; VACUUM large;" => 1 }, '-c', '1', '-t', '6');
my ($out, $err) = ('', '');
my $reader = IPC::Run::start(
	[ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, '-c',
		'SET enable_seqscan = off; SET knn.ef_search = 1000; SELECT id FROM large ORDER BY v <-> (SELECT v FROM large WHERE id = 77) LIMIT 1', 'postgres' ],
	'<', \'', '>', \$out, '2>', \$err);
usleep(400_000);
kill 'CONT', $pid;
$session->query('SELECT 1');
ok($writer->finish, 'inserts, deletes and VACUUM while an index is loaded');
ok($reader->finish, 'and a search');
is("$out$err", "77\n", 'which finds its row');
is($node->safe_psql('postgres', q{SELECT state FROM knn_cache WHERE indexrelname = 'large_idx'}), 'ready', 'the load has ended well');
my $through = large_answers('');
is($through, large_answers('SET knn.use_cache = off'), 'what was changed during the load is in the cache');
$node->safe_psql('postgres', 'DELETE FROM large WHERE id > 40000; VACUUM large');
# tombstones lead to the same rows, but not necessarily to all of them
is(large_answers(''), large_answers('SET knn.use_cache = off'), 'and what is changed after it');
$answers = large_answers('');
check_empty_cache($node, 'changed while loaded');

ok($pid = catch_loading($node, $session, 'large_idx'), 'caught for a crash');
kill 'KILL', $pid;
eval { $session->quit };
is_up('crash of a load');
check('crash of a load');

# ---------------------------------------------------------------------------
# crashes of backends and of the server while the index is written and searched

my %everything = (
	"\\set r random(0, 3999)\nINSERT INTO t (v) SELECT v FROM pool WHERE id = :r;" => 60,
	"\\set r random(0, 3999)\nINSERT INTO t (v) SELECT v + v FROM pool WHERE id BETWEEN :r AND :r + 3;" => 10,
	"\\set r random(0, 9)\nINSERT INTO t (v) SELECT v * v FROM queries WHERE id = :r;" => 5,
	"\\set r random(0, 19)\nDELETE FROM t WHERE id % 20 = :r AND id < (SELECT last_value FROM ids) - 500;" => 3,
	"\\set r random(0, 99)\nUPDATE t SET n = n + 1 WHERE id % 100 = :r;" => 5,
	"VACUUM t;" => 2,
	"SET enable_seqscan = off;\n\\set r random(1, 30)\nSELECT id FROM t ORDER BY v <-> (SELECT v FROM queries WHERE id = :r) LIMIT 10;" => 40,
	"SELECT knn_clear_cache('t');\nSELECT knn_warmup('*');" => 2);
foreach my $how ('one backend', 'all at once', 'immediate shutdown')
{
	my $bench = start_pgbench($node, \%everything, '-c', '4', '-T', '60');
	usleep(1_200_000);
	cmp_ok(stat_of($node, 'hit_count'), '>', 0, "$how: the cache was in use");
	if ($how eq 'one backend')
	{
		$pid = $node->safe_psql('postgres', q{
			SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
			ORDER BY query ~ '^INSERT' AND state = 'active' DESC LIMIT 1});
		kill 'KILL', $pid;
		is_up($how);
	}
	elsif ($how eq 'all at once')
	{
		$pid = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
		$node->kill9;
		# the others go when they notice, when nobody gives them more to do; those
		# that are left keep the next postmaster from starting
		$bench->kill_kill;
		my $started = 0;
		foreach (1 .. 100)
		{
			usleep(100_000);
			next if kill 0, $pid;
			last if $started = $node->start(fail_ok => 1);
			$node->{_pid} = undef;
		}
		ok($started, "$how: started again");
	}
	else
	{
		$node->stop('immediate');
		$node->start;
	}
	$bench->kill_kill;
	is_up($how);
	# some of its sessions may have come back
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend'});
	$node->safe_psql('postgres', 'DELETE FROM t WHERE v IN (SELECT v FROM queries)');
	check($how);
}

# ---------------------------------------------------------------------------
# a clean restart

large_answers('');
$node->restart;
is(stat_of($node, q{concat_ws(' ', cache_used, indices_in_cache, hit_count, load_success_count)}), '0 0 0 0', 'a clean restart empties the cache');
is(large_answers(''), $answers, 'answers after it');

$node->stop;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|is damaged|unexpected zero page|damaged page|invalid page/,
	'no damage was seen');
done_testing();
