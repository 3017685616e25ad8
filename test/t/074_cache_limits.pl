# The limits of the cache: indexes that do not fit, the circuit breaker, expiry; and
# whatever may happen to an index while a copy of it is in the cache.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 16;

# ---------------------------------------------------------------------------
# expiry takes a minute at least: it goes on elsewhere meanwhile, see the end

my $idle = PostgreSQL::Test::Cluster->new('idle');
$idle->init;
$idle->append_conf('postgresql.conf', new_settings(cache_apart => 1) . cache_settings('4MB'));
$idle->append_conf('postgresql.conf', "fsync = off\nknn.cache_item_expiry_enabled = on\nknn.cache_item_expiry_minutes = 1");
$idle->start;
$idle->safe_psql(
	'postgres', q{
	CREATE EXTENSION knn;
	CREATE TABLE used (v knn_vector(2));
	INSERT INTO used SELECT ARRAY[i, i % 7]::real[] FROM generate_series(1, 100) i;
	CREATE TABLE unused AS SELECT * FROM used;
	CREATE INDEX used_idx ON used USING knn_hnsw (v);
	CREATE INDEX unused_idx ON unused USING knn_hnsw (v);
	SELECT knn_warmup('*')});
my $idle_use = start_pgbench($idle, { "SET enable_seqscan = off;\nSELECT * FROM used ORDER BY v <-> '[1,1]' LIMIT 1;\n\\sleep 3 s" => 1 }, '-c', '1', '-T', '72');
is(stat_of($idle, 'indices_in_cache'), 2, 'expiry: two indexes are loaded');

# ---------------------------------------------------------------------------

my $node = start_node('max_prepared_transactions = 2', cache => '8MB');
queries($node, 20, $dim, 1);
$node->safe_psql(
	'postgres', qq{
	CREATE TABLE pool (id int PRIMARY KEY, v knn_vector($dim));
	CREATE TABLE a (id int, v knn_vector($dim));
	CREATE TABLE plain (id int, v knn_vector($dim));
	CREATE TABLE large (id int, v knn_vector(8));
	INSERT INTO large SELECT i, array_agg(((i * 73856093::bigint) # (j * 19349663::bigint)) % 2003 / 1000.0::real)::real[]::knn_vector
		FROM generate_series(1, 12000) i, generate_series(1, 8) j GROUP BY i;
	CREATE INDEX large_idx ON large USING knn_hnsw (v) WITH (m = 100, ef_construction = 16)});
load_vectors($node, 'pool', 0, clustered_vectors(8000, $dim, 2));
# each index takes 768 kB
$node->safe_psql(
	'postgres', q{
	INSERT INTO a SELECT * FROM pool WHERE id < 4000;
	CREATE TABLE b AS SELECT * FROM a;
	CREATE TABLE c AS SELECT * FROM a;
	CREATE INDEX a_idx ON a USING knn_hnsw (v);
	CREATE INDEX b_idx ON b USING knn_hnsw (v);
	CREATE INDEX c_idx ON c USING knn_hnsw (v)});

# Change a setting by a reload, and wait until new sessions have it.
sub set_to
{
	my ($name, $value) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET $name = '$value'");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('$name') = '$value'")
	  or BAIL_OUT("$name is not $value");
	return;
}

sub cached
{
	return $node->safe_psql('postgres', q{SELECT string_agg(indexrelname, ' ' ORDER BY indexrelname) FROM knn_cache WHERE state = 'ready'});
}

# What has been counted since the last call of this.
my %counted;
sub counted
{
	my (@names) = @_;
	my @values = split /\|/, stat_of($node, join(', ', @names));
	my @since;
	foreach my $name (@names)
	{
		my $value = shift @values;
		push @since, $value - ($counted{$name} // 0);
		$counted{$name} = $value;
	}
	return join(' ', @since);
}
my @counts = ('miss_count', 'hit_count', 'load_success_count', 'load_exception_count', 'eviction_count');

my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe('SET enable_seqscan = off; SET enable_sort = off; SET jit = off');

sub search
{
	my ($table, $query) = @_;
	$query //= 1;
	return $session->query_safe("SELECT id FROM $table ORDER BY v <-> (SELECT v FROM queries WHERE id = $query) LIMIT 10");
}

# An error in the session that keeps what it knows of its indexes.
sub error_of
{
	my ($sql) = @_;
	$session->{stderr} = '';
	$session->query($sql);
	my $error = $session->{stderr};
	$session->{stderr} = '';
	return $error;
}

# ---------------------------------------------------------------------------
# an index that is larger than the cache

counted(@counts);
my $search_large = q{SELECT id FROM large ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 20};
my $through = $session->query_safe($search_large);
$session->query_safe($search_large) foreach 1 .. 4;
is(counted(@counts), '5 0 0 1 0', 'too large: searches miss, and one of them tries to load');
is($through, $session->query_safe("SET knn.use_cache = off; $search_large; SET knn.use_cache = on"), 'too large: equal answers');
counted(@counts);
is(stat_of($node, 'circuit_breaker_triggered::text || cache_capacity_reached'), 'truetrue', 'too large: the breaker is triggered');
is($node->safe_psql('postgres', q{SELECT knn_stats() ->> 'circuit_breaker_triggered'}), 'true', 'too large: and is said to be');
is(stat_of($node, 'cache_used'), 0, 'too large: nothing is left of it');
like(error_of(q{SELECT knn_warmup('large')}),
	qr/WARNING:  could not load index "public.large_idx" into the cache\nDETAIL:  It takes \d+ kB, and the limit is 8192 kB.\nHINT:  Set knn.cache_size to more than \d+ kB/,
	'too large: knn_warmup says so');

# what the breaker does to writers
$node->safe_psql('postgres', 'INSERT INTO a SELECT * FROM pool WHERE id = 4000');
pass('bypass: vectors are indexed');
set_to('knn.circuit_breaker_action', 'reject');
foreach my $sql ('INSERT INTO a SELECT * FROM pool WHERE id = 4001', 'UPDATE a SET v = v + v WHERE id = 4000')
{
	my ($rc, $out, $err) = $node->psql('postgres', $sql);
	isnt($rc, 0, "reject: $sql");
	like($err, qr/ERROR:  cannot index vectors in "a_idx" because the circuit breaker of knn is triggered/, 'reject: the error');
	like($err, qr/HINT:  Remove indexes from the cache with knn_clear_cache\(\), or raise knn.memory_circuit_breaker_limit/, 'reject: the hint');
}
$node->safe_psql('postgres', 'INSERT INTO a VALUES (4002, NULL); INSERT INTO plain SELECT * FROM pool WHERE id = 4001; DELETE FROM a WHERE id = 4002; VACUUM a');
is(stat_of($node, 'rejected_index_requests'), 2, 'reject: counted; all else goes on');
$node->safe_psql('postgres', q{SELECT knn_clear_cache('*')});
is(stat_of($node, 'circuit_breaker_triggered::text || cache_capacity_reached'), 'falsefalse', 'reject: an empty cache resets the breaker');
$node->safe_psql('postgres', 'INSERT INTO a SELECT * FROM pool WHERE id = 4001; DELETE FROM a WHERE id >= 4000; VACUUM a');
pass('reject: vectors are indexed again');
set_to('knn.circuit_breaker_action', 'bypass');

# ---------------------------------------------------------------------------
# two that do not fit together

set_to('knn.memory_circuit_breaker_limit', '1000kB');
counted(@counts);
foreach (1 .. 10)
{
	search('a');
	search('b');
}
is(counted(@counts), '11 9 1 1 0', 'two: the first stays, the other is refused once');
is(cached(), 'a_idx', 'two: one is in the cache');
is(stat_of($node, 'circuit_breaker_triggered'), 't', 'two: the breaker is triggered');
is($session->query_safe(q{SELECT knn_warmup('b') ->> 'successful'}), 1, 'two: the other is loaded by request');
is(cached(), 'b_idx', 'two: in place of the first');
is(counted(@counts), '0 0 1 0 1', 'two: which is evicted');
like(error_of(q{SELECT knn_warmup('b', 'a')}),
	qr/could not load index "public.a_idx" into the cache\nDETAIL:  It takes \d+ kB, in addition to \d+ kB of the others asked for, and the limit is 1000 kB/,
	'two: one request does not evict what it asked for itself');
is(cached(), 'b_idx', 'two: the one that was first asked for is there');
check_empty_cache($node, 'two');

# three, of which two fit: the one used least recently goes
set_to('knn.memory_circuit_breaker_limit', '1900kB');
$session->query_safe("SELECT knn_warmup('$_')") foreach ('a', 'b', 'a');
$session->query_safe(q{SELECT knn_warmup('c')});
is(cached(), 'a_idx c_idx', 'three: the one used least recently is evicted');
is(stat_of($node, 'circuit_breaker_triggered'), 't', 'three: the breaker is triggered');

# the limit goes down and up
counted(@counts);
set_to('knn.memory_circuit_breaker_limit', '1000kB');
ok($node->poll_query_until('postgres', 'SELECT indices_in_cache = 1 AND cache_used <= cache_limit FROM knn_stat'), 'a lower limit evicts');
is(cached(), 'c_idx', 'the one used least recently');
is(counted('eviction_count'), 1, 'counted');
is(stat_of($node, 'circuit_breaker_triggered'), 't', 'and triggers the breaker');
set_to('knn.memory_circuit_breaker_limit', '100%');
ok($node->poll_query_until('postgres', 'SELECT NOT circuit_breaker_triggered FROM knn_stat'), 'a higher limit resets it');
set_to('knn.memory_circuit_breaker_limit', '0%');
ok($node->poll_query_until('postgres', 'SELECT indices_in_cache = 0 AND cache_used = 0 FROM knn_stat'), 'no limit is too low');
is(search('c'), $session->query_safe('SET knn.use_cache = off; SELECT id FROM c ORDER BY v <-> (SELECT v FROM queries WHERE id = 1) LIMIT 10; SET knn.use_cache = on'), 'and searches go on');

# without a breaker all of the cache may be used, and it is never triggered
set_to('knn.memory_circuit_breaker_enabled', 'off');
is($session->query_safe(q{SELECT knn_warmup('a', 'b', 'c') ->> 'successful'}), 3, 'disabled: the limit is none');
like(error_of(q{SELECT knn_warmup('large')}), qr/could not load index "public.large_idx"/, 'disabled: the size is');
is(stat_of($node, 'circuit_breaker_triggered::text || cache_capacity_reached'), 'falsetrue', 'disabled: the breaker is not triggered');
set_to('knn.memory_circuit_breaker_enabled', 'on');
set_to('knn.memory_circuit_breaker_limit', '1100kB');
$node->poll_query_until('postgres', 'SELECT cache_used <= cache_limit FROM knn_stat');

# ---------------------------------------------------------------------------
# an index that grows

check_empty_cache($node, 'before growth');
$node->safe_psql('postgres', q{SELECT knn_warmup('a')});
counted(@counts);
$node->safe_psql('postgres', 'INSERT INTO a SELECT * FROM pool WHERE id BETWEEN 4000 AND 4100');
is(cached(), 'a_idx', 'growth: it stays as long as there is room');
check_mirror($node, 'a', '<->', 'growth');
counted('eviction_count');
$node->safe_psql('postgres', 'INSERT INTO a SELECT * FROM pool WHERE id > 4100 AND id < 6000');
is(cached(), '', 'growth: and goes when there is none');
is(counted('eviction_count'), 1, 'growth: which is an eviction');
$through = neighbours($node, 'a', '<->');
is_deeply($through, neighbours($node, 'a', '<->', settings => 'SET knn.use_cache = off;'), 'growth: equal answers without');
set_to('knn.memory_circuit_breaker_limit', '100%');
check_mirror($node, 'a', '<->', 'growth, with room');
is_deeply(neighbours($node, 'a', '<->'), $through, 'growth: and with a copy');
$node->safe_psql('postgres', 'DELETE FROM a WHERE id >= 4000; VACUUM a; REINDEX TABLE a');
check_mirror($node, 'a', '<->', 'REINDEX');
check_empty_cache($node, 'growth');

# ---------------------------------------------------------------------------
# indexes that are dropped or get other files

# Runs statements while a table's index is in the cache; sessions that know it go on.
sub while_cached
{
	my ($table, $sql) = @_;
	$node->safe_psql('postgres', "SELECT knn_warmup('$table')");
	search($table);
	$node->safe_psql('postgres', $sql);
	return;
}

foreach my $sql (
	'REINDEX INDEX b_idx', 'REINDEX INDEX CONCURRENTLY b_idx', 'VACUUM FULL b', 'CLUSTER b USING b_id',
	'ALTER TABLE b ALTER id TYPE bigint', 'ALTER INDEX b_idx RENAME TO b_index; ALTER INDEX b_index RENAME TO b_idx',
	'BEGIN; DROP INDEX b_idx; ROLLBACK', 'BEGIN; DROP TABLE b; ROLLBACK', 'BEGIN; TRUNCATE b; INSERT INTO b SELECT * FROM pool WHERE id > 7900; ROLLBACK',
	'BEGIN; REINDEX INDEX b_idx; DELETE FROM b WHERE id < 100; INSERT INTO b SELECT id, v + v FROM pool WHERE id < 50; ROLLBACK',
	'BEGIN; SAVEPOINT s; TRUNCATE b; ROLLBACK TO s; INSERT INTO b SELECT id, v + v FROM pool WHERE id < 50; COMMIT',
	'BEGIN; DROP INDEX b_idx; PREPARE TRANSACTION \'p\'; ROLLBACK PREPARED \'p\'',
	'BEGIN; INSERT INTO b SELECT id, v * v FROM pool WHERE id < 50; PREPARE TRANSACTION \'p\'; COMMIT PREPARED \'p\'',
	'TRUNCATE b; INSERT INTO b SELECT * FROM pool WHERE id > 5000',
	'DROP INDEX b_idx; CREATE INDEX b_idx ON b USING knn_hnsw (v)',
	'ALTER INDEX b_idx SET TABLESPACE other', 'ALTER TABLE b SET TABLESPACE other; ALTER INDEX b_idx SET TABLESPACE pg_default',
	'ALTER TABLE b SET UNLOGGED', 'ALTER TABLE b SET LOGGED')
{
	if ($sql =~ /other/)
	{
		my $dir = PostgreSQL::Test::Utils::tempdir();
		$node->safe_psql('postgres', "CREATE TABLESPACE other LOCATION '$dir'") if $sql =~ /^ALTER INDEX/;
	}
	$node->safe_psql('postgres', 'CREATE INDEX b_id ON b (id)') if $sql =~ /CLUSTER/;
	if ($sql =~ /CONCURRENTLY/)
	{
		while_cached('b', $sql);
	}
	else
	{
		while_cached('b', 'SELECT 1');
		my ($rc, undef, $err) = $node->psql('postgres', $sql, on_error_stop => 1);
		is($rc, 0, $sql) or diag $err;
	}
	check_mirror($node, 'b', '<->', $sql);
	my $list = search('b', 2);
	is($list, $session->query_safe('SET knn.use_cache = off; SELECT id FROM b ORDER BY v <-> (SELECT v FROM queries WHERE id = 2) LIMIT 10; SET knn.use_cache = on'),
		"$sql: a session that knew the index");
	is($node->safe_psql('postgres', q{SELECT count(*) FROM knn_cache}), 1, "$sql: one copy is in the cache");
	check_empty_cache($node, $sql);
}
# within the transaction that does it
like(
	$node->safe_psql(
		'postgres', q{
		SELECT knn_warmup('b');
		BEGIN;
		TRUNCATE b;
		INSERT INTO b SELECT * FROM pool WHERE id BETWEEN 10 AND 14;
		SET LOCAL enable_seqscan = off;
		SELECT string_agg(id::text, ' ' ORDER BY id) FROM (SELECT id FROM b ORDER BY v <-> (SELECT v FROM queries WHERE id = 1) LIMIT 10) s;
		ROLLBACK}),
	qr/\n10 11 12 13 14$/, 'a transaction sees its own file');
check_mirror($node, 'b', '<->', 'after that transaction');

# new ones
like(
	$node->safe_psql(
		'postgres', q{
		BEGIN;
		CREATE TABLE fresh AS SELECT * FROM pool WHERE id < 500;
		CREATE INDEX fresh_idx ON fresh USING knn_hnsw (v);
		SET LOCAL enable_seqscan = off;
		SELECT count(*) FROM (SELECT id FROM fresh ORDER BY v <-> (SELECT v FROM queries WHERE id = 1) LIMIT 10) s;
		SELECT count(*) FROM knn_cache WHERE indexrelname = 'fresh_idx';
		COMMIT}),
	qr/^10\n0$/, 'not cached by the transaction that makes it');
check_mirror($node, 'fresh', '<->', 'but then');
is( $session->query_safe(q{
		CREATE TEMP TABLE temporary AS SELECT * FROM pool WHERE id < 500;
		CREATE INDEX temporary_idx ON temporary USING knn_hnsw (v);
		SELECT count(*) FROM (SELECT id FROM temporary ORDER BY v <-> (SELECT v FROM queries WHERE id = 1) LIMIT 10) s;
		INSERT INTO temporary SELECT * FROM pool WHERE id = 600;
		SELECT id FROM temporary ORDER BY v <-> (SELECT v FROM pool WHERE id = 600) LIMIT 1;
		SELECT count(*) FROM knn_cache WHERE indexrelname = 'temporary_idx'}),
	"10\n600\n0", 'a temporary table is searched, and never cached');
$node->safe_psql('postgres', q{
	CREATE UNLOGGED TABLE unlogged AS SELECT * FROM pool WHERE id < 500;
	CREATE INDEX unlogged_idx ON unlogged USING knn_hnsw (v)});
check_mirror($node, 'unlogged', '<->', 'unlogged');
$node->safe_psql('postgres', 'INSERT INTO unlogged SELECT * FROM pool WHERE id BETWEEN 500 AND 900; DELETE FROM unlogged WHERE id % 3 = 0; VACUUM unlogged');
check_mirror($node, 'unlogged', '<->', 'unlogged and changed');

# dropped for good
foreach my $sql ('DROP INDEX unlogged_idx', 'DROP TABLE fresh', 'DROP INDEX CONCURRENTLY c_idx', 'CREATE SCHEMA s; ALTER TABLE b SET SCHEMA s; DROP SCHEMA s CASCADE')
{
	my ($table) = $sql =~ /(unlogged|fresh|c_idx|b) ?/;
	check_empty_cache($node, "before $sql");
	$node->safe_psql('postgres', "SELECT knn_warmup('$table')");
	isnt(stat_of($node, 'cache_used'), 0, "$sql: it was in the cache");
	$node->safe_psql('postgres', $sql);
	is(stat_of($node, 'cache_used'), 0, "$sql: and is not any more");
}
# a scan that is waited for loads it once more
$node->safe_psql('postgres', 'CREATE INDEX c_idx ON c USING knn_hnsw (v)');
$session->query_safe('BEGIN; DECLARE c CURSOR FOR SELECT id FROM c ORDER BY v <-> (SELECT v FROM queries WHERE id = 1)');
my $drop = IPC::Run::start([ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, '-c', 'DROP INDEX CONCURRENTLY c_idx', 'postgres' ],
	'<', \'', '>', '/dev/null', '2>', '/dev/null');
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^DROP INDEX CONC' AND wait_event_type = 'Lock'});
is(scalar(split /\n/, $session->query_safe('FETCH 20 FROM c')), 20, 'DROP INDEX CONCURRENTLY: a cursor goes on');
$session->query_safe('COMMIT');
ok($drop->finish, 'DROP INDEX CONCURRENTLY: and is waited for');
check_empty_cache($node, 'DROP INDEX CONCURRENTLY');

# another database with the same OIDs and files
$session->quit;
$node->safe_psql('postgres', 'SELECT 1');
$node->safe_psql('template1', 'CREATE DATABASE twin TEMPLATE postgres');
$node->safe_psql('postgres', q{SELECT knn_warmup('a')});
$node->safe_psql('twin', 'DELETE FROM a WHERE id > 10; VACUUM a');
is( $node->safe_psql('twin', q{
		SET enable_seqscan = off;
		SELECT count(*) FROM (SELECT id FROM a ORDER BY v <-> (SELECT v FROM queries WHERE id = 1) LIMIT 20) s}),
	11, 'a copy of a database has its own indexes');
check_mirror($node, 'a', '<->', 'twins');
is($node->safe_psql('postgres', q{SELECT string_agg(datname, ' ' ORDER BY datname) FROM knn_cache}), 'postgres twin', 'both are in the cache');
my $used = stat_of($node, 'cache_used');
$node->safe_psql('postgres', 'DROP DATABASE twin');
is($node->safe_psql('postgres', q{SELECT string_agg(datname, ' ' ORDER BY datname) FROM knn_cache}), 'postgres', 'a dropped database is not');
cmp_ok(stat_of($node, 'cache_used'), '<', $used, 'and its memory is free');

# ---------------------------------------------------------------------------
# scans that last

$session = $node->background_psql('postgres', on_error_stop => 0);
$session->query_safe('SET enable_seqscan = off; SET enable_sort = off; SET jit = off');

# All rows by a cursor, something happening in between.
sub by_cursor
{
	my ($settings, $between) = @_;
	$session->query_safe(
		"BEGIN ISOLATION LEVEL REPEATABLE READ; SET LOCAL knn.max_scan_tuples = -1; $settings;
		DECLARE c NO SCROLL CURSOR FOR SELECT id FROM a ORDER BY v <-> (SELECT v FROM queries WHERE id = 3)");
	my @ids = split /\n/, $session->query_safe('FETCH 70 FROM c');
	$between->();
	push @ids, split /\n/, $session->query_safe('FETCH 300 FROM c');
	$between->();
	push @ids, split /\n/, $session->query_safe('FETCH ALL FROM c');
	$session->query_safe('COMMIT');
	return \@ids;
}
my $clear = sub { $node->safe_psql('postgres', q{SELECT knn_clear_cache('a')}) };
my $clear_and_load = sub { $node->safe_psql('postgres', q{SELECT knn_clear_cache('a'); SELECT knn_warmup('a')}) };
foreach my $order ('strict', 'relaxed')
{
	my $set = "SET LOCAL knn.scan_order = $order";
	my $pages = by_cursor("$set; SET LOCAL knn.use_cache = off", sub { });
	is(scalar(@$pages), 4000, "cursor, $order: all rows");
	is_deeply(by_cursor($set, sub { }), $pages, "cursor, $order: through the cache");
	is_deeply(by_cursor($set, $clear), $pages, "cursor, $order: over knn_clear_cache");
	is_deeply(by_cursor($set, $clear_and_load), $pages, "cursor, $order: over knn_clear_cache and knn_warmup");
}
# what others write meanwhile is not seen, and leads to no row twice
my $n = 10000;
my $rows = by_cursor('SELECT 1', sub {
	$node->safe_psql('postgres', "INSERT INTO a SELECT $n + id, v + v FROM pool WHERE id % 10 = 0; DELETE FROM a WHERE id >= $n AND id % 20 = 0; VACUUM a");
	$n += 10000;
	$clear->();
});
my %rows = map { $_ => 1 } @$rows;
is(scalar(keys %rows) . ' of ' . @$rows, '4000 of 4000', 'cursor, over changes: each row once');
$node->safe_psql('postgres', 'DELETE FROM a WHERE id >= 10000; VACUUM a');

# scans within scans, more than there are places for
$node->safe_psql(
	'postgres', q{
	CREATE FUNCTION nested(level int, fails int) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		r record;
		found text := '';
	BEGIN
		IF level = fails THEN
			RAISE EXCEPTION 'at level %', level;
		END IF;
		FOR r IN SELECT id FROM a ORDER BY v <-> (SELECT v FROM queries WHERE id = 1 + level % 20) LIMIT 3 LOOP
			found := found || ' ' || r.id;
			-- from within the first row only
			IF level > 0 AND found = ' ' || r.id THEN
				found := found || nested(level - 1, fails);
			END IF;
		END LOOP;
		RETURN found;
	END $$});
my $nested = $session->query_safe('SET knn.use_cache = off; SELECT nested(40, -1); SET knn.use_cache = on');
$node->safe_psql('postgres', q{SELECT knn_warmup('a')});
counted(@counts);
is($session->query_safe('SELECT nested(40, -1)'), $nested, 'nested: equal answers');
my $first = counted('hit_count');
cmp_ok($first, '>=', 10, "nested: $first of 41 searches go through the cache");
like(error_of('SELECT nested(40, 20)'), qr/at level 20/, 'nested: an error in the midst of it') foreach 1 .. 3;
$session->query_safe(q{DO $$ BEGIN FOR i IN 1..20 LOOP BEGIN PERFORM nested(30, 5); EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$});
counted(@counts);
is($session->query_safe('SELECT nested(40, -1)'), $nested, 'nested: equal answers after errors');
is(counted('hit_count'), $first, 'nested: nothing is kept of them');
my $other = 'SELECT id, (SELECT id FROM large ORDER BY v <-> (array[a.id / 1000.0, 1, 1, 1, 1, 1, 1, 1]::real[]::knn_vector) LIMIT 1)
	FROM a ORDER BY v <-> (SELECT v FROM queries WHERE id = 5) LIMIT 30';
is($session->query_safe($other), $session->query_safe("SET knn.use_cache = off; $other; SET knn.use_cache = on"), 'nested: searches of two indexes');
check_empty_cache($node, 'scans that last');

# in one session again and again: a refusal is tried again after a while, not before
$session->query_safe('SELECT pg_sleep(5.5)');
counted(@counts);
$session->query_safe($search_large) foreach 1 .. 3;
is(counted('load_exception_count'), 1, 'a load that was refused is tried again after some seconds');
$session->quit;
is(join("\n", log_errors($node, 0, qr/could not load index|cannot index vectors|at level/)), '', 'no other error in the log');
$node->stop;

# ---------------------------------------------------------------------------
# expiry, which has been going on

foreach (1 .. 90)
{
	last if stat_of($idle, 'indices_in_cache') < 2;
	sleep 1;
}
is(stat_of($idle, 'indices_in_cache'), 1, 'expiry: an index that is not used goes');
is($idle->safe_psql('postgres', 'SELECT indexrelname FROM knn_cache'), 'used_idx', 'expiry: the other stays');
is(stat_of($idle, 'eviction_count'), 1, 'expiry: which is an eviction');
ok($idle_use->finish, 'expiry: searches all the time');
is($idle->safe_psql('postgres', 'SELECT now() - last_used < interval $$10 s$$ FROM knn_cache'), 't', 'expiry: the last is told');
$idle->stop;
done_testing();
