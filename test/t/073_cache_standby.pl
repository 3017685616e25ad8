# The cache of a standby: what the primary changes after an index was loaded is found
# or gone all the same, and a promotion makes an ordinary copy of it.

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
$primary->append_conf('postgresql.conf', new_settings(cache_apart => 1) . cache_settings('64MB'));
# queries of the standby wait for nothing and cancel nothing
$primary->append_conf('postgresql.conf',
	"max_standby_streaming_delay = -1\nhot_standby_feedback = on\nfsync = off");
$primary->start;
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

$primary->safe_psql('postgres', 'CREATE EXTENSION knn');
queries($primary, 30, $dim, 1);
$primary->safe_psql(
	'postgres', qq{
	CREATE TABLE pool (id int PRIMARY KEY, v knn_vector($dim));
	CREATE TABLE t (id int, v knn_vector($dim));
	CREATE TABLE ip (id int, v knn_vector($dim))});
my @vectors = clustered_vectors(8000, $dim, 2);
load_vectors($primary, 'pool', 0, @vectors);
$primary->safe_psql(
	'postgres', q{
	INSERT INTO t SELECT * FROM pool WHERE id < 2000;
	INSERT INTO ip SELECT * FROM pool WHERE id < 2000;
	CREATE INDEX t_idx ON t USING knn_hnsw (v);
	-- many nodes that no other leads to
	CREATE INDEX ip_idx ON ip USING knn_hnsw (v knn_vector_ip_ops) WITH (m = 8, compression_level = '2x');
	-- long lists of links, so that a refresh takes some milliseconds
	CREATE TABLE large (id int, v knn_vector(8));
	INSERT INTO large SELECT i, array_agg(((i * 73856093::bigint) # (j * 19349663::bigint)) % 2003 / 1000.0::real)::real[]::knn_vector
		FROM generate_series(1, 20000) i, generate_series(1, 8) j GROUP BY i;
	CREATE INDEX large_idx ON large USING knn_hnsw (v) WITH (m = 100, ef_construction = 16)});
my %op = (t => '<->', ip => '<#>');

sub catch_up
{
	$primary->wait_for_catchup($standby);
	return;
}

# Rows found through the standby's cache are those of its pages, but for a few.
sub check
{
	my ($name, $refreshes) = @_;
	catch_up();
	foreach my $table ('t', 'ip')
	{
		my $exact = neighbours($standby, $table, $op{$table}, exact => 1);
		# the first search may have to load it
		neighbours($standby, $table, $op{$table}, k => 1);
		my $misses = stat_of($standby, 'miss_count');
		my $cache = recall(neighbours($standby, $table, $op{$table}), $exact);
		is(stat_of($standby, 'miss_count'), $misses, "$name: searches of $table go through the cache");
		my $pages =
		  recall(neighbours($standby, $table, $op{$table}, settings => 'SET knn.use_cache = off;'), $exact);
		cmp_ok($cache, '>=', $pages - 0.01,
			sprintf('%s: recall of %s %.4f through the cache, %.4f through pages', $name, $table, $cache, $pages));
	}
	is(stat_of($standby, 'refresh_count'), $refreshes, "$name: $refreshes refreshes")
	  if defined $refreshes;
	return;
}

# one session that keeps what it knows of the index
my $session = $standby->background_psql('postgres', on_error_stop => 0);
$session->query_safe('SET enable_seqscan = off; SET enable_sort = off');

# The nearest row to a vector of the pool.
sub nearest
{
	my ($id) = @_;
	return $session->query_safe("SELECT id FROM t ORDER BY v <-> '$vectors[$id]' LIMIT 1");
}

# Of these ids, those whose rows are not found first by their vectors.
sub not_found
{
	my (@ids) = @_;
	return join(' ', grep { nearest($_) ne $_ } @ids);
}

catch_up();
is($standby->safe_psql('postgres', q{SELECT knn_warmup('*')}),
	'{"total": 3, "failed": 0, "successful": 3}', 'the standby loads the indexes');
is($standby->safe_psql('postgres', 'SELECT count(*), bool_and(standby) FROM knn_cache'), '3|t', 'as copies of some moment');
check('loaded', 0);
check_mirror($standby, 't', '<->', 'loaded');
is(not_found(0 .. 40), '', 'rows of the primary are found');

# few changes: no refresh
$primary->safe_psql('postgres', 'INSERT INTO t SELECT * FROM pool WHERE id BETWEEN 2000 AND 2199');
check('few inserts', 0);
is(not_found(2000 .. 2040, 2180 .. 2199), '', 'rows inserted since are found at once');
$primary->safe_psql('postgres', 'DELETE FROM t WHERE id % 3 = 0');
check('deletes', 0);
catch_up();
is(join(' ', grep { nearest($_) == $_ } (0, 3, 999, 2001, 2100)), '', 'deleted rows are not found');
is(not_found(1, 2, 2002, 2003), '', 'others are');
$primary->safe_psql('postgres', 'VACUUM t');
check('VACUUM', 0);
is(not_found(1, 2, 2002, 2003, 1000), '', 'rows are found among those removed by VACUUM');
# tombstones come back to life
$primary->safe_psql('postgres', 'INSERT INTO t SELECT * FROM pool WHERE id < 2200 AND id % 3 = 0');
check('inserted again', 0);
is(not_found(0, 3, 999, 1998, 2001, 2199), '', 'rows that came back are found');
# another vector for a row, another row for a vector
$primary->safe_psql('postgres', 'UPDATE t SET v = (SELECT v FROM pool WHERE id = 7000) WHERE id = 500; UPDATE t SET id = 7001 WHERE id = 501');
catch_up();
is(nearest(7000), 500, 'an updated row is found by its new vector');
isnt(nearest(500), 500, 'and not by its old one');
is(nearest(501), 7001, 'a new version of a row is found');
$primary->safe_psql('postgres', 'INSERT INTO t SELECT 20000 + i, v FROM pool, generate_series(1, 30) i WHERE id = 77');
catch_up();
is( $session->query_safe("SELECT count(DISTINCT id) FROM (SELECT id, v FROM t ORDER BY v <-> '$vectors[77]' LIMIT 31) s WHERE v = '$vectors[77]'"),
	31, 'equal rows are found');
check('few changes', 0);

# a cursor that began through a copy that is gone then: all rows, none twice
sub cursor_rest
{
	my ($name, $between) = @_;
	$session->query_safe(
		"BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL knn.scan_order = relaxed; SET LOCAL knn.max_scan_tuples = -1;
		DECLARE c NO SCROLL CURSOR FOR SELECT id FROM t ORDER BY v <-> '$vectors[1200]'");
	my $rows = $session->query_safe('SELECT count(*) FROM t');
	my @ids = split /\n/, $session->query_safe('FETCH 150 FROM c');
	$between->();
	push @ids, split /\n/, $session->query_safe('FETCH ALL FROM c');
	$session->query_safe('COMMIT');
	my %ids = map { $_ => 1 } @ids;
	is(scalar(keys %ids), scalar(@ids), "$name: no row comes twice");
	is(scalar(@ids), $rows, "$name: all rows come");
	return;
}
$primary->safe_psql('postgres', 'INSERT INTO t SELECT * FROM pool WHERE id BETWEEN 2200 AND 2230');
check('before a cursor', 0);
cursor_rest('cursor', sub { });
cursor_rest('cursor over a removal', sub { $standby->safe_psql('postgres', q{SELECT knn_clear_cache('t')}) });
my $before = stat_of($standby, 'refresh_count');
check('loaded again', $before);

# many changes: one refresh, not one for each search
$primary->safe_psql('postgres', 'INSERT INTO t SELECT * FROM pool WHERE id BETWEEN 2231 AND 3500');
$primary->safe_psql('postgres', 'INSERT INTO ip SELECT * FROM pool WHERE id BETWEEN 2231 AND 3500');
check('many inserts', $before + 2);
is(not_found(2231 .. 2270, 3480 .. 3500), '', 'rows of many are found');
$primary->safe_psql('postgres', 'DELETE FROM t WHERE id % 2 = 0; VACUUM t; INSERT INTO t SELECT * FROM pool WHERE id BETWEEN 4000 AND 4100');
check('many deletes', $before + 2);
is(not_found(4000 .. 4020), '', 'rows inserted among tombstones are found');

# changes all the time: a row that is there is found at any time
my $changes = start_pgbench(
	$primary,
	{
		"\\set r random(5000, 7999)\nINSERT INTO t SELECT 100000 + :r, v FROM pool WHERE id = :r;" => 50,
		"\\set r random(0, 99)\nDELETE FROM t WHERE id % 100 = :r AND id >= 100000;" => 5,
		"VACUUM t;" => 1
	},
	'-c', '3', '-T', '5');
my $reads = start_pgbench(
	$standby,
	{
		"\\set r random(0, 900)\n"
		  . "SET enable_seqscan = off;\n"
		  . "SELECT 1 / count(*) FROM (SELECT id FROM t ORDER BY v <-> (SELECT v FROM pool WHERE id = 2231 + 2 * (:r % 600)) LIMIT 1) s WHERE id = 2231 + 2 * (:r % 600);"
		  => 20,
		# loaded while inserts are replayed
		"SELECT knn_clear_cache('t');" => 1
	},
	'-c', '2', '-T', '5');
ok($reads->finish, 'the standby found the row of every query');
ok($changes->finish, 'while the primary was changing the index');
check('after concurrent changes');
# rows inserted while an index was loaded are found, as often as it is
foreach my $round (1 .. 5)
{
	my $first = 10000 * (20 + $round);
	$changes = start_pgbench($primary,
		{ "INSERT INTO t SELECT $first + id, v * v FROM pool WHERE id = (1 + :client_id) * 2000 + (SELECT count(*) FROM t WHERE id >= $first + (1 + :client_id) * 2000 AND id < $first + (2 + :client_id) * 2000);" => 1 },
		'-c', '2', '-t', '60');
	$standby->safe_psql('postgres', q{SELECT knn_clear_cache('t'); SELECT knn_warmup('t')}) foreach 1 .. 3;
	ok($changes->finish, "inserts while it is loaded $round");
	catch_up();
	is( $standby->safe_psql(
			'postgres', qq{
			SET enable_seqscan = off; SET enable_sort = off;
			SELECT count(*) FROM (SELECT v FROM t WHERE id >= $first AND id < $first + 10000 OFFSET 0) q
			WHERE NOT EXISTS (SELECT FROM (SELECT v FROM t ORDER BY v <-> q.v LIMIT 1) n WHERE n.v = q.v)}),
		0, "each of them is found $round");
}

# a search that is cancelled while it refreshes keeps nothing
$primary->safe_psql('postgres', 'INSERT INTO large SELECT id + 20000, v * v FROM large WHERE id % 20 = 0');
catch_up();
$standby->safe_psql('postgres', q{SELECT knn_warmup('large')});
$primary->safe_psql('postgres', 'INSERT INTO large SELECT id + 40000, v + v FROM large WHERE id % 20 = 0 AND id <= 20000');
catch_up();
$before = stat_of($standby, 'refresh_count');
my $cancelled = 0;
foreach my $timeout (1 .. 1000)
{
	$session->query_safe("SET statement_timeout = $timeout");
	$session->{stderr} = '';
	$session->query(q{SELECT id FROM large ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 1});
	$cancelled++ if $session->{stderr} =~ /canceling statement due to statement timeout/;
	$session->{stderr} = '';
	$session->query_safe('SET statement_timeout = 0');
	last if stat_of($standby, 'refresh_count') > $before;
}
cmp_ok($cancelled, '>=', 1, "$cancelled refreshes were cancelled");
is(stat_of($standby, 'refresh_count'), $before + 1, 'then there was one');
check_empty_cache($standby, 'cancelled searches');
check('after cancelled searches');

# indexes and databases that are dropped on the primary
$primary->safe_psql('postgres', 'REINDEX INDEX ip_idx; TRUNCATE t; INSERT INTO t SELECT * FROM pool WHERE id < 1500');
check('REINDEX and TRUNCATE');
is(not_found(0 .. 20), '', 'rows of the new file are found');
$primary->safe_psql('postgres', 'CREATE TABLE gone AS SELECT * FROM pool; CREATE INDEX gone_idx ON gone USING knn_hnsw (v)');
catch_up();
$standby->safe_psql('postgres', q{SELECT knn_warmup('gone')});
$primary->safe_psql('postgres', 'DROP TABLE gone');
catch_up();
check_empty_cache($standby, 'an index that was dropped on the primary');

# ---------------------------------------------------------------------------
# promotion

check('before promotion');
is(join("\n", log_errors($standby, 0, qr/canceling statement due to statement timeout/)), '', 'no error on the standby');
$before = stat_of($standby, 'refresh_count');
$primary->safe_psql('postgres', 'INSERT INTO t SELECT * FROM pool WHERE id BETWEEN 1500 AND 1550');
catch_up();
cursor_rest('cursor over a promotion', sub {
	$standby->promote;
	$standby->safe_psql('postgres', 'INSERT INTO t SELECT * FROM pool WHERE id BETWEEN 1600 AND 2500; DELETE FROM t WHERE id % 5 = 0');
});
is(not_found(1501, 1601, 2499), '', 'rows from before and after promotion are found');
is($standby->safe_psql('postgres', q{SELECT standby FROM knn_cache WHERE indexrelname = 't_idx'}), 'f', 'the copy is an ordinary one');
is(stat_of($standby, 'refresh_count'), $before + 1, 'by one refresh');
# the other has been changed before it is searched
$standby->safe_psql('postgres', 'INSERT INTO ip SELECT * FROM pool WHERE id BETWEEN 4000 AND 4500; DELETE FROM ip WHERE id % 7 = 0; VACUUM');
check_mirror($standby, 'ip', '<#>', 'promoted');
check_mirror($standby, 't', '<->', 'promoted');
is(stat_of($standby, 'refresh_count'), $before + 2, 'one refresh of each');
$standby->safe_psql('postgres', 'INSERT INTO t SELECT * FROM pool WHERE id % 5 = 0; UPDATE t SET v = v + v WHERE id < 100');
check_mirror($standby, 't', '<->', 'promoted and changed');
check_whole_index($standby, 't', 't_idx', 'promoted');
$session->quit;
check_empty_cache($standby, 'promoted');

$primary->stop;
$standby->stop;
unlike(slurp_file($standby->logfile) . slurp_file($primary->logfile),
	qr/PANIC|TRAP|is damaged|unexpected zero page|damaged page/, 'no damage was seen');
done_testing();
