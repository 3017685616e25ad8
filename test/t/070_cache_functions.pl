# The functions and views of the native memory cache: what names and patterns stand
# for, who may do what, what goes wrong with one index and not with others, and that
# each counter counts what is said of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', new_settings());
$node->append_conf('postgresql.conf', q{
fsync = off
shared_preload_libraries = 'knn'
knn.cache_size = '16MB'
});
$node->start;

sub sql
{
	my ($sql, $database) = @_;
	return $node->safe_psql($database // 'postgres', $sql);
}

# total/successful/failed of a call, as a role if one is given, and its warnings
sub call
{
	my ($call, $role) = @_;
	my $as = $role ? "SET ROLE $role;" : '';
	my ($rc, $out, $err) = $node->psql('postgres',
		"$as SELECT concat_ws('/', r->'total', r->'successful', r->'failed') FROM $call r");
	return ($rc == 0 ? $out : 'ERROR', $err);
}

sub counts
{
	my ($call, $expected, $name) = @_;
	my ($out, $err) = call($call);
	is("$out$err", $expected, $name // "$call: $expected");
	return;
}

sub warns
{
	my ($call, $expected, $warning, $name, $role) = @_;
	my ($out, $err) = call($call, $role);
	is($out, $expected, "$name: $expected");
	like($err, $warning, "$name: says why");
	return;
}

sub fails
{
	my ($call, $error, $name, $role) = @_;
	my $as = $role ? "SET ROLE $role;" : '';
	my ($rc, $out, $err) = $node->psql('postgres', "$as SELECT * FROM $call");
	isnt($rc, 0, "$name: fails");
	like($err, $error, "$name: says why");
	return;
}

# names of the indexes in the cache
sub cached
{
	my ($name, @indexes) = @_;
	is(sql(q{SELECT string_agg(schemaname || '.' || indexrelname, ' ' ORDER BY 1) FROM
		(SELECT schemaname, indexrelname FROM knn_cache
			WHERE datname = current_database() AND state = 'ready' ORDER BY 1, 2) c}),
		join(' ', @indexes), "$name: in the cache");
	return;
}

# values of statistics of the node
sub stats
{
	my @names = @_;
	my $list = join ', ', map { "s->'$_'" } @names;
	return sql("SELECT concat_ws(' ', $list) FROM (SELECT v AS s FROM knn_stats() t,"
		  . " jsonb_each(t->'nodes') n(k, v)) x");
}

sub load_limit
{
	my ($limit) = @_;
	$node->append_conf('postgresql.conf', "knn.memory_circuit_breaker_limit = '$limit'");
	$node->reload;
	$node->poll_query_until('postgres',
		"SELECT current_setting('knn.memory_circuit_breaker_limit') = '$limit'")
	  or die 'the limit was not changed';
	return;
}

sql('CREATE EXTENSION knn');
my $rows = 'SELECT i, ARRAY[i, i * 7 % 101, i * 13 % 211, i * 3 % 17]::real[] FROM generate_series(1, 2000) i';
sql(qq{
	CREATE TABLE a (id int, v knn_vector(4));
	INSERT INTO a $rows;
	CREATE INDEX a_l2 ON a USING knn_hnsw (v);
	CREATE INDEX a_l1 ON a USING knn_hnsw (v knn_vector_l1_ops);
	CREATE INDEX a_id ON a (id);
	CREATE TABLE b (id int, v knn_vector(4));
	INSERT INTO b $rows;
	CREATE INDEX b_l2 ON b USING knn_hnsw (v);
	CREATE TABLE bare (id int);
	CREATE VIEW seen AS SELECT * FROM a;
	CREATE MATERIALIZED VIEW m AS SELECT * FROM a;
	CREATE INDEX m_l2 ON m USING knn_hnsw (v);
	CREATE SCHEMA apart;
	CREATE TABLE apart."Mixed Case" (id int, v knn_vector(4));
	CREATE INDEX "Mixed*" ON apart."Mixed Case" USING knn_hnsw (v);
	CREATE SCHEMA parts;
	CREATE TABLE p (id int, v knn_vector(4)) PARTITION BY RANGE (id);
	CREATE TABLE parts.p1 PARTITION OF p FOR VALUES FROM (0) TO (1000);
	CREATE TABLE parts.p2 PARTITION OF p FOR VALUES FROM (1000) TO (9000) PARTITION BY RANGE (id);
	CREATE TABLE parts.p3 PARTITION OF parts.p2 FOR VALUES FROM (1000) TO (2000);
	CREATE INDEX p_l2 ON p USING knn_hnsw (v);
	CREATE TABLE empty_p (id int, v knn_vector(4)) PARTITION BY RANGE (id);
	CREATE INDEX empty_l2 ON empty_p USING knn_hnsw (v)});

# ---------------------------------------------------------------------------
# names

counts("knn_warmup('a_l2')", '1/1/0');
cached('an index', 'public.a_l2');
counts("knn_warmup('A', 'b')", '3/3/0', 'tables, in lower case');
counts("knn_warmup('a_l2', 'a', 'public.a_l1', 'postgres.public.a')", '2/2/0', 'an index named twice counts once');
cached('tables', 'public.a_l1', 'public.a_l2', 'public.b_l2');
counts("knn_warmup(VARIADIC ARRAY['m'])", '1/1/0', 'a materialized view');
counts(q{knn_warmup('apart."Mixed Case"')}, '1/1/0', 'a quoted name');
counts("knn_warmup('p')", '2/2/0', 'a partitioned table');
counts("knn_warmup('p_l2')", '2/2/0', 'a partitioned index');
counts("knn_warmup('parts.p2')", '1/1/0', 'a partitioned partition');
counts("knn_warmup('empty_p')", '0/0/0', 'a partitioned table without partitions');
cached('all of them', 'apart.Mixed*', 'parts.p1_v_idx', 'parts.p3_v_idx', 'public.a_l1',
	'public.a_l2', 'public.b_l2', 'public.m_l2');

fails("knn_warmup('nosuch')", qr/index or table "nosuch" does not exist.*HINT/s, 'an unknown name');
fails("knn_warmup('nosuch.a')", qr/"nosuch.a" does not exist/, 'an unknown schema');
fails("knn_warmup('Mixed Case')", qr/invalid name "Mixed Case"/, 'a name that needs quotes');
fails(q{knn_warmup('"Mixed Case"')}, qr/"Mixed Case" does not exist/, 'a name that is not in the search_path');
fails("knn_warmup('a,b')", qr/"a,b" does not exist.*an argument of its own/s, 'a list in one argument');
fails("knn_warmup('a..b')", qr/invalid name "a..b"/, 'no name');
fails("knn_warmup('')", qr/invalid name ""/, 'an empty name');
fails(q{knn_warmup('"a*')}, qr/invalid name ""a\*"/, 'an open quote');
fails("knn_warmup('a.b.c*')", qr/invalid name/, 'a pattern of three parts');
fails("knn_warmup('nowhere.public.a')", qr/cross-database/, 'another database');
fails("knn_warmup('bare')", qr/knn_warmup request rejected: "bare" has no valid knn index.*HINT.*CREATE INDEX/s, 'a table without an index');
fails("knn_warmup('a_id')", qr/"a_id" is not a knn index/, 'an index of another method');
fails("knn_warmup('seen')", qr/"seen" is neither a table nor an index/, 'a view');
fails('knn_warmup()', qr/knn_warmup needs the name.*HINT:.*knn_warmup\('\*'\)/s, 'no names');
fails('knn_clear_cache()', qr/knn_clear_cache needs the name/, 'clear without names');
fails('knn_warmup(NULL)', qr/must not be null/, 'a null');
fails("knn_warmup('a', NULL)", qr/must not be null/, 'a null among names');
fails('knn_warmup(VARIADIC NULL)', qr/must not be null/, 'null for all names');
fails("knn_warmup('a', 'nosuch')", qr/does not exist/, 'one unknown name of two');

# ---------------------------------------------------------------------------
# patterns, and clearing

counts("knn_clear_cache('*.*')", '7/7/0', 'everything');
cached('everything cleared');
counts("knn_clear_cache('a')", '2/2/0', 'clearing what is not there');
counts("knn_warmup('*')", '6/6/0', 'what is visible, and partitions of what is');
cached('*', 'parts.p1_v_idx', 'parts.p3_v_idx', 'public.a_l1', 'public.a_l2', 'public.b_l2', 'public.m_l2');
counts("knn_clear_cache('a*')", '2/2/0', 'tables that match');
counts("knn_clear_cache('?_L2')", '5/5/0', 'indexes that match');
counts("knn_warmup('parts.*')", '2/2/0', 'a schema');
counts("knn_warmup('p*.?2')", '1/1/0', 'a pattern of schemas');
counts(q{knn_warmup('apart."Mixed*"')}, '1/1/0', 'a quoted star is no wildcard');
counts(q{knn_warmup('apart."M"*')}, '1/1/0', 'quotes and a wildcard');
counts("knn_warmup('apart.m*')", '0/0/0', 'patterns are of lower case');
counts("knn_warmup('x*y?z')", '0/0/0', 'a pattern that matches nothing');
counts("knn_warmup('*a*_*l*2*', 'a_l?')", '2/2/0', 'patterns that overlap');
counts("knn_clear_cache('*.*')", '7/7/0', 'everything');

# ---------------------------------------------------------------------------
# not transactional; in functions; repeated

sql("BEGIN; SELECT knn_warmup('a_l2'); ROLLBACK");
cached('after a rollback', 'public.a_l2');
sql(q{DO $$ BEGIN PERFORM knn_clear_cache('a'); PERFORM knn_warmup('b'); RAISE division_by_zero;
	EXCEPTION WHEN division_by_zero THEN NULL; END $$});
cached('in a function', 'public.b_l2');
my $loads = stats('load_success_count');
counts("knn_warmup('b')", '1/1/0');
is(stats('load_success_count'), $loads, 'what is there is not loaded again');
is(sql("BEGIN; SELECT FROM knn_warmup('a'); SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = relation WHERE relname IN ('a', 'a_l2')"),
	'0', 'warmup keeps no locks');

# ---------------------------------------------------------------------------
# what can not be loaded

my $cannot = qr/WARNING:  could not load index "\S+" into the cache/;
my ($rc, $out, $err) = $node->psql('postgres', q{
	CREATE TEMP TABLE t (v knn_vector(4));
	CREATE INDEX t_v ON t USING knn_hnsw (v);
	SELECT knn_warmup('t')->'failed', knn_warmup('t*')->'total';
	BEGIN;
	CREATE TABLE fresh (v knn_vector(4));
	CREATE INDEX fresh_v ON fresh USING knn_hnsw (v);
	SELECT knn_warmup('fresh')->'failed', knn_clear_cache('fresh')->'successful';
	ROLLBACK});
is($out, "1|0\n1|1", 'temporary and new indexes');
like($err, qr/${cannot}\nDETAIL:  Indexes of temporary tables.*${cannot}\nDETAIL:  It was created or rebuilt/s,
	'temporary and new indexes: says why');

sql(q{SET allow_system_table_mods = on;
	UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'a_l1'::regclass});
counts("knn_warmup('a')", '1/1/0', 'an index that is not valid');
counts("knn_warmup('*l1')", '0/0/0', 'an index that is not valid, by a pattern');
counts("knn_warmup('a_l1')", '1/1/0', 'an index that is not valid, by its name');
sql(q{SET allow_system_table_mods = on;
	UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'a_l1'::regclass});
counts("knn_clear_cache('*')", '6/6/0');

# ---------------------------------------------------------------------------
# no room

my $size = sql("SELECT knn_warmup('a_l2') IS NOT NULL; SELECT bytes FROM knn_cache WHERE indexrelname = 'a_l2'");
$size =~ s/^t\n//;
cmp_ok($size, '>=', 2000 * 50, 'size of a mirror');
counts("knn_clear_cache('a')", '2/2/0');
$size /= 1024;
load_limit($size - 64 . 'kB');
sql('SELECT knn_stats_reset()');
warns("knn_warmup('b')", '1/0/1', qr/${cannot}\nDETAIL:  It takes $size kB, and the limit is \d+ kB.\nHINT:  Raise knn.memory_circuit_breaker_limit/,
	'larger than the limit');
is(sql("SELECT circuit_breaker_triggered, cache_capacity_reached, load_exception_count, load_success_count FROM knn_stat"),
	't|t|1|0', 'larger than the limit: the breaker');
is(sql("SELECT knn_stats()->'circuit_breaker_triggered'"), 'true', 'the breaker in knn_stats');
is(sql("SELECT FROM knn_stat WHERE stats_reset IS NULL"), '', 'time of the reset');
counts("knn_clear_cache('b')", '1/1/0');
is(sql("SELECT circuit_breaker_triggered FROM knn_stat"), 'f', 'clearing what was refused resets the breaker');

load_limit($size + 64 . 'kB');
warns("knn_warmup('b', 'a')", '3/1/2',
	qr/(${cannot}\nDETAIL:  It takes $size kB, in addition to $size kB of the others asked for.*){2}/s,
	'more than fits together');
cached('more than fits together', 'public.b_l2');
is(stats('eviction_count', 'load_exception_count'), '0 3', 'one request does not evict what it has loaded');
counts("knn_warmup('a_l1')", '1/1/0');
is(stats('eviction_count', 'cache_capacity_reached'), '1 true', 'another one does');
cached('an eviction', 'public.a_l1');
load_limit('0');
warns("knn_warmup('b')", '1/0/1', $cannot, 'a limit of nothing');
is(stats('graph_memory_usage_percentage'), '0.00', 'no percentage of nothing');
load_limit('100%');
counts("knn_warmup('*')", '6/6/0', 'with room again');
is(sql("SELECT circuit_breaker_triggered FROM knn_stat"), 'f', 'with room again: the breaker');

# ---------------------------------------------------------------------------
# privileges

sql(q{
	CREATE ROLE owner; CREATE ROLE reader; CREATE ROLE monitor IN ROLE pg_monitor;
	GRANT SELECT ON a TO reader;
	GRANT USAGE ON SCHEMA parts TO owner;
	ALTER TABLE b OWNER TO owner});
is((call("knn_warmup('b')", 'owner'))[0], '1/1/0', 'the owner warms');
is((call("knn_clear_cache('b_l2')", 'owner'))[0], '1/1/0', 'the owner clears');
fails("knn_warmup('a')", qr/must be owner of table a/, 'who is not the owner', 'reader');
fails("knn_warmup('a_l2')", qr/must be owner of table a/, 'who is not the owner, an index', 'reader');
fails("knn_clear_cache('a')", qr/must be owner of table a/, 'clearing what is not ones own', 'reader');
fails("knn_warmup('apart.x')", qr/permission denied for schema apart/, 'a schema that is closed', 'reader');
warns("knn_warmup('?_l2')", '5/1/4', qr/(${cannot}\nDETAIL:  must be owner of.*){4}/s, 'a pattern over what others own', 'owner');
warns("knn_clear_cache('?_l2')", '5/1/4', qr/(could not remove index "\S+" from the cache\nDETAIL:  You must be owner of table.*){4}/s,
	'clearing by a pattern over what others own', 'owner');
sql('ALTER TABLE p OWNER TO owner');
warns("knn_warmup('p')", '2/0/2', qr/must be owner of table p1/, 'partitions that others own', 'owner');

foreach my $what ('knn_stats()', 'knn_stats_reset()', 'knn_stat_counters()', 'knn_cache_entries()', 'knn_progress_reports()')
{
	fails($what, qr/permission denied for function/, "$what for everybody", 'reader');
	fails($what, qr/permission denied for function/, "$what for pg_monitor", 'monitor') if $what =~ /reset/;
	is(sql("SET ROLE monitor; SELECT count(*) > 100 FROM $what"), 'f', "$what for pg_monitor") if $what !~ /reset/;
}
foreach my $view (qw(knn_stat knn_cache knn_progress))
{
	fails($view, qr/permission denied for view/, "$view for everybody", 'reader');
	is(sql("SET ROLE monitor; SELECT count(*) > 100 FROM $view"), 'f', "$view for pg_monitor");
}
sql('GRANT EXECUTE ON FUNCTION knn_stats_reset() TO monitor; SET ROLE monitor; SELECT knn_stats_reset()');

# ---------------------------------------------------------------------------
# progress, waiting and cancelling

my $holder = $node->background_psql('postgres');
$holder->query_safe('BEGIN; LOCK TABLE a IN ACCESS EXCLUSIVE MODE');
my ($waiter_out, $waiter_err) = ('', '');
my $waiter = IPC::Run::start([ 'psql', '-XAt', '-h', $node->host, '-p', $node->port, '-c', "SELECT knn_warmup('a_l1', 'b')", 'postgres' ],
	'<', \'', '>', \$waiter_out, '2>', \$waiter_err);
ok($node->poll_query_until('postgres', q{
	SELECT count(*) = 1 FROM knn_progress p JOIN pg_stat_activity USING (pid)
	WHERE p.datname = 'postgres' AND p.usename = current_user AND relname = 'a_l1' AND command = 'warmup'
		AND phase = 'waiting for lock' AND started <= now() AND wait_event_type = 'Lock'}),
	'progress of a warmup that waits');
sql('SELECT pg_cancel_backend(pid) FROM knn_progress');
$waiter->finish;
like($waiter_err, qr/ERROR:  canceling statement due to user request/, 'cancelling is no failure of one index');
is($waiter_out, '', 'nothing is answered');
is(sql('SELECT count(*) FROM knn_progress'), '0', 'no progress is left');
$err = ($node->psql('postgres', "SET lock_timeout = '10ms'; SELECT knn_warmup('a_l1', 'b')->'successful'"))[2];
like($err, qr/${cannot}\nDETAIL:  canceling statement due to lock timeout/, 'a lock timeout is one');
$holder->query_safe('COMMIT');
$holder->quit;

# several at once that load and remove the same
counts("knn_clear_cache('*')", '6/6/0');
sql('SELECT knn_stats_reset()');
my $bench = start_pgbench($node, { q{SELECT knn_warmup('a', 'b');} => 3, q{SELECT knn_clear_cache('a*');} => 1 },
	'-c', '4', '-j', '4', '-t', '200');
$bench->finish;
is($bench->full_result(0), 0, 'warmups and clears at once');
counts("knn_warmup('a', 'b')", '3/3/0');
is(stats('eviction_count'), '0', 'nothing was evicted');

# ---------------------------------------------------------------------------
# shape of the statistics

my @node_names = qw(total_load_time eviction_count hit_count miss_count graph_memory_usage
  graph_memory_usage_percentage graph_index_requests graph_index_errors graph_query_requests
  graph_query_errors knn_query_requests cache_capacity_reached load_success_count load_exception_count
  indices_in_cache script_compilations script_compilation_errors script_query_requests script_query_errors
  nmslib_initialized faiss_initialized lucene_initialized indexing_from_model_degraded
  training_requests training_errors training_memory_usage training_memory_usage_percentage
  knn_query_with_filter_requests min_score_query_requests min_score_query_with_filter_requests
  max_distance_query_requests max_distance_query_with_filter_requests graph_stats
  remote_vector_index_build_stats);
my $id = sql('SELECT system_identifier FROM pg_control_system()');
is(sql(q{SELECT s->'_nodes' = '{"total": 1, "successful": 1, "failed": 0}', s->>'cluster_name', s ? 'model_index_status',
	s->'model_index_status', s->'circuit_breaker_triggered' FROM knn_stats() s}),
	't|main|t|null|false', 'statistics of the cluster');
is(sql("SELECT k FROM jsonb_object_keys(knn_stats()->'nodes') k"), $id, 'the node is the system identifier');
foreach my $name (@node_names)
{
	is(sql("SELECT knn_stats()->'nodes'->'$id' ? '$name'"), 't', "$name is there");
	is(sql("SELECT string_agg(k, ' ') FROM jsonb_object_keys(knn_stats('$name')->'nodes'->'$id') k"), $name, "$name alone");
}
is(sql(q{SELECT string_agg(path, ' ' ORDER BY path) FROM (
	SELECT g.key || '.' || m.key || '.' || l.key AS path
	FROM jsonb_each(knn_stats()->'nodes') n, jsonb_each(n.value) g, jsonb_each(g.value) m, jsonb_each(m.value) l
	WHERE g.key IN ('graph_stats', 'remote_vector_index_build_stats')) x}),
	join(' ', sort((map { "graph_stats.merge.$_" } qw(current current_docs current_size_in_bytes total total_time_in_millis total_docs total_size_in_bytes)),
		(map { "graph_stats.refresh.$_" } qw(total total_time_in_millis)),
		(map { "remote_vector_index_build_stats.repository_stats.$_" } qw(read_success_count read_failure_count successful_read_time_in_millis write_success_count write_failure_count successful_write_time_in_millis)),
		(map { "remote_vector_index_build_stats.client_stats.$_" } qw(build_request_success_count build_request_failure_count status_request_success_count status_request_failure_count index_build_success_count index_build_failure_count index_build_merge_abort_exception index_build_terminal_exception waiting_time_in_ms)),
		(map { "remote_vector_index_build_stats.build_stats.remote_index_build_$_" } qw(current_flush_operations current_merge_operations current_flush_size current_merge_size flush_time_in_millis merge_time_in_millis)))),
	'nested statistics');
is(sql("SELECT s ? 'circuit_breaker_triggered', s ? 'model_index_status', s->'nodes' FROM knn_stats('circuit_breaker_triggered') s"),
	qq(t|f|{"$id": {}}), 'a statistic of the cluster alone');
is(sql("SELECT knn_stats('_all') - 'nodes' = knn_stats() - 'nodes', knn_stats('hit_count', 'miss_count')->'nodes'->'$id'"),
	't|{"hit_count": 0, "miss_count": 0}', 'all of them, and two');
fails("knn_stats('hits')", qr/unrecognized statistic "hits".*HINT:  There are: circuit_breaker_triggered, .*eviction_count/s, 'an unknown statistic');
fails("knn_stats('_all', 'hit_count')", qr/"_all" cannot be combined/, 'all and another');
fails("knn_stats(NULL)", qr/must not be null/, 'a null statistic');

# ---------------------------------------------------------------------------
# state

is(sql(qq{SELECT count(*), bool_and((g->'graph_count')::int = 1), bool_and((g->'graph_memory_usage')::int = bytes / 1024),
		bool_and(abs((g->'graph_memory_usage_percentage')::float - 100.0 * bytes / (16 * 1024 * 1024)) < 0.006)
	FROM knn_cache JOIN jsonb_each(knn_stats()->'nodes'->'$id'->'indices_in_cache') s(name, g)
		ON name = schemaname || '.' || indexrelname}), '3|t|t|t', 'indices_in_cache');
is(sql(qq{SELECT count(*) FROM jsonb_object_keys(knn_stats()->'nodes'->'$id'->'indices_in_cache')}), '3', 'indices_in_cache: no others');
is(sql(qq{SELECT (s->'graph_memory_usage')::int * 1024 = sum(bytes), (s->'graph_memory_usage')::int * 1024 = max(cache_used),
		s->'cache_limit', s->'cache_size', max(cache_limit), bool_and(cache_enabled), max(indices_in_cache)
	FROM knn_stat, knn_cache, (SELECT knn_stats()->'nodes'->'$id' AS s) x GROUP BY s}),
	't|t|16384|16384|16777216|t|3', 'memory');
is(sql(q{SELECT datname, relid::regclass, relname, indexrelid::regclass, schemaname, state, nodes, searches, loader_pid, standby,
		bytes % 65536, load_time > 0, loaded_at < now(), last_used <= now()
	FROM knn_cache WHERE indexrelname = 'b_l2'}),
	'postgres|b|b|b_l2|public|ready|2000|0||f|0|t|t|t', 'knn_cache');

sql('CREATE DATABASE other');
sql(q{CREATE EXTENSION knn; CREATE TABLE a (v knn_vector(4)); INSERT INTO a VALUES ('[1,2,3,4]'); CREATE INDEX ON a USING knn_hnsw (v);
	CREATE INDEX ON a USING knn_hnsw (v); SELECT knn_warmup('a')}, 'other');
is(sql(qq{SELECT s->'graph_count', (s->'graph_memory_usage')::int > 0, (SELECT count(*) FROM knn_cache WHERE datname = 'other' AND indexrelname IS NULL)
	FROM (SELECT knn_stats()->'nodes'->'$id'->'other_databases_in_cache'->'other' AS s) x}), '2|t|2', 'another database');
sql('DROP DATABASE other');
is(sql("SELECT count(*) FROM knn_cache"), '3', 'another database that is dropped');

# ---------------------------------------------------------------------------
# counters: by how much they go up

my @counters = qw(hit_count miss_count load_success_count load_exception_count eviction_count graph_query_requests
  graph_query_errors graph_index_requests graph_index_errors knn_query_requests rejected_index_requests refresh_count index_build_errors);

# those that are not zero after a reset and a script
sub counted
{
	my ($script, $expected, $name) = @_;
	sql('SELECT knn_stats_reset()');
	$node->psql('postgres', $script);
	my @values = split / /, stats(@counters);
	is(join(' ', map { $values[$_] ? "$counters[$_]=$values[$_]" : () } 0 .. $#counters), $expected, $name);
	return;
}

my $settings = 'SET enable_seqscan = off; SET enable_sort = off; SET jit = off;';
my $search = "SELECT count(*) FROM (SELECT id FROM a ORDER BY v <-> '[1,2,3,4]' LIMIT 5) x";
counted('SELECT 1', '', 'nothing');
is(stats('total_load_time', 'total_load_bytes'), '0 0', 'nothing was loaded');
counted("$settings $search", 'hit_count=1 graph_query_requests=1 knn_query_requests=1', 'a hit');
counted("$settings $search; $search", 'hit_count=2 graph_query_requests=2 knn_query_requests=2', 'two hits');
sql("SELECT knn_clear_cache('a')");
counted("$settings $search; $search", 'hit_count=1 miss_count=1 load_success_count=1 graph_query_requests=2 knn_query_requests=2',
	'a miss, which loads, and a hit');
is(sql(qq{SELECT load_success_count, load_bytes, load_time > 0, hit_count, miss_count FROM knn_stat}), "1|" . $size * 1024 . "|t|1|1", 'the same in knn_stat');
is(stats('total_load_bytes'), $size * 1024, 'total_load_bytes');
cmp_ok(stats('total_load_time'), '>', 1000, 'total_load_time is in nanoseconds');
counted("$settings SELECT id FROM b UNION ALL (SELECT id FROM a ORDER BY v <-> '[1,2,3,4]' LIMIT 5)
	UNION ALL (SELECT id FROM a ORDER BY v <+> '[1,2,3,4]' LIMIT 5)",
	'hit_count=1 miss_count=1 load_success_count=1 graph_query_requests=2 knn_query_requests=1', 'one statement, two indexes');
counted("$settings SELECT q.id, n.id FROM b q, LATERAL (SELECT id FROM a ORDER BY v <-> q.v LIMIT 1) n WHERE q.id <= 10",
	'hit_count=10 graph_query_requests=10 knn_query_requests=1', 'one statement, ten searches');
counted("SELECT knn_clear_cache('a_l2'); SET knn.use_cache = off; $settings $search",
	'miss_count=1 graph_query_requests=1 knn_query_requests=1', 'without the cache');
counted("SELECT knn_warmup('a_l2')", 'load_success_count=1', 'a warmup');
is(sql("SELECT searches FROM knn_cache WHERE indexrelname = 'a_l2'"), '0', 'no searches since the load');
sql("$settings $search; $search; $search");
is(sql("SELECT searches FROM knn_cache WHERE indexrelname = 'a_l2'"), '3', 'searches since the load');
load_limit($size . 'kB');
sql("SELECT knn_clear_cache('*.*'); SELECT knn_warmup('a_l1')");
counted("SELECT knn_warmup('b'); SELECT knn_warmup('a_l2')", 'load_success_count=2 eviction_count=2', 'evictions');
counted("SELECT knn_clear_cache('*')", '', 'clearing is no eviction');
sql("SELECT knn_warmup('a_l2')");
counted('DROP INDEX a_l2', '', 'nor is dropping');
load_limit('100%');
sql('CREATE INDEX a_l2 ON a USING knn_hnsw (v)');

# ---------------------------------------------------------------------------
# builds, vectors and errors

counted("INSERT INTO b $rows LIMIT 10; INSERT INTO a VALUES (1, '[1,2,3,4]'), (2, NULL); UPDATE b SET id = 0 WHERE id = 1;
	COPY b FROM stdin;\n1\t[1,2,3,4]\n\\.\n", 'graph_index_requests=14', 'vectors of each index');
load_limit('64kB');
$node->append_conf('postgresql.conf', "knn.circuit_breaker_action = reject");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('knn.circuit_breaker_action') = 'reject'");
$node->psql('postgres', "SELECT knn_warmup('b')");
($rc, $out, $err) = $node->psql('postgres', "INSERT INTO b VALUES (1, '[1,2,3,4]')");
like($err, qr/circuit breaker of knn is triggered.*HINT:  Remove indexes/s, 'a vector that the circuit breaker refuses');
counted("INSERT INTO b VALUES (1, '[1,2,3,4]')", 'graph_index_requests=1 graph_index_errors=1 rejected_index_requests=1', 'the same counted');
load_limit('100%');
$node->append_conf('postgresql.conf', "knn.circuit_breaker_action = bypass");
$node->reload;

sub builds
{
	return sql(q{SELECT concat_ws(' ', g->'refresh'->'total', g->'merge'->'total', g->'merge'->'total_docs', g->'merge'->'total_size_in_bytes',
		g->'merge'->'current', s.index_builds, s.index_rebuilds, s.index_build_rows, s.index_build_errors)
		FROM knn_stat s, jsonb_each(knn_stats()->'nodes') n, LATERAL (SELECT n.value->'graph_stats' AS g) x});
}
my $nrows = sql('SELECT count(v) FROM m');
counted("CREATE INDEX again ON m USING knn_hnsw (v)", '', 'a build');
is(builds(), "1 0 0 0 0 1 0 $nrows 0", 'a build in detail');
counted("REINDEX INDEX again", '', 'a rebuild');
is(builds(), "0 1 $nrows " . $nrows * 16 . " 0 1 1 $nrows 0", 'a rebuild in detail');
counted("REINDEX INDEX CONCURRENTLY again", '', 'a rebuild beside readers and writers');
is(builds(), "0 1 $nrows " . $nrows * 16 . " 0 1 1 $nrows 0", 'a rebuild beside readers and writers, in detail');
counted("DROP INDEX again; CREATE INDEX CONCURRENTLY again ON m USING knn_hnsw (v)", '', 'a build beside them');
is(builds(), "1 0 0 0 0 1 0 $nrows 0", 'a build beside them in detail');
sql('CREATE TABLE bad AS SELECT i AS id, 1 / (i - 500) AS x, ARRAY[i, 1]::real[]::knn_vector AS v FROM generate_series(501, 600) i');
sql('INSERT INTO bad VALUES (500, NULL, NULL)');
counted("CREATE INDEX ON bad USING knn_hnsw ((ARRAY[1 / (id - 500), 1]::real[]::knn_vector(2)))", 'index_build_errors=1', 'a build that fails');

# ---------------------------------------------------------------------------
# a damaged index: a failure of its own, and errors that are counted

my $file = $node->data_dir . '/' . sql("SELECT pg_relation_filepath('a_l2')");
sql('CHECKPOINT');
$node->stop;
open my $image, '+<:raw', $file or die "could not open $file: $!";
seek $image, 24, 0;
print $image "\xff" x 64;
close $image;
$node->start;
warns("knn_warmup('a_l2', 'b')", '2/1/1', qr/${cannot}\nDETAIL:  \S+/, 'a damaged index');
cached('a damaged index', 'public.b_l2');
counted("$settings $search", 'graph_query_errors=1', 'a search of a damaged index');
counted("INSERT INTO a VALUES (1, '[1,1,1,1]')", 'graph_index_requests=2 graph_index_errors=1', 'an insert into a damaged index');
sql('REINDEX INDEX a_l2');

# ---------------------------------------------------------------------------
# standby

sql("CREATE UNLOGGED TABLE u (v knn_vector(4)); CREATE INDEX u_v ON u USING knn_hnsw (v)");
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
my $primary = $node;
$node = $standby;
counts("knn_warmup('a', 'b*')", '3/3/0', 'a standby');
is(sql("SELECT standby, count(*) FROM knn_cache GROUP BY 1"), 't|3', 'mirrors of a standby');
warns("knn_warmup('u')", '1/0/1', qr/of an unlogged table during recovery/, 'an unlogged table on a standby');
counts("knn_warmup('u*')", '0/0/0', 'the same by a pattern');
$primary->safe_psql('postgres', "INSERT INTO b SELECT i, ARRAY[i + 0.5, 1, 2, 3]::real[] FROM generate_series(1, 50) i");
$primary->wait_for_catchup($standby);
counts("knn_warmup('b')", '1/1/0', 'a standby that has replayed something');
is(stats('refresh_count', 'load_success_count'), '1 3', 'is refreshed');
is(sql("SELECT nodes >= 2050 FROM knn_cache WHERE indexrelname = 'b_l2'"), 't', 'and has what was inserted');
$standby->promote;
counts("knn_warmup('b')", '1/1/0', 'after promotion');
is(sql("SELECT standby FROM knn_cache WHERE indexrelname = 'b_l2'"), 'f', 'it is an ordinary mirror');
$standby->stop;
$node = $primary;

# ---------------------------------------------------------------------------
# knn_ivf: the pages, in shared buffers

# Pages of an index that a search reads from disk.
sub pages_read
{
	my ($index) = @_;
	return sql(qq{BEGIN; SET LOCAL enable_seqscan = off;
		SELECT id FROM lists ORDER BY v <-> (SELECT v FROM lists WHERE id = 1) LIMIT 3 \\g /dev/null
		SELECT pg_stat_get_xact_blocks_fetched('$index'::regclass) - pg_stat_get_xact_blocks_hit('$index'::regclass)});
}

sql(q{CREATE TABLE lists (id int PRIMARY KEY, v knn_vector(64));
	INSERT INTO lists SELECT i, ARRAY(SELECT sin(i * j)::real FROM generate_series(1, 64) j) FROM generate_series(1, 4000) i;
	CREATE INDEX lists_v ON lists USING knn_ivf (v) WITH (nlist = 10); ANALYZE lists});
$node->append_conf('postgresql.conf', "shared_buffers = '1MB'");
$node->restart;
cmp_ok(pages_read('lists_v'), '>', 5, 'a search of a knn_ivf index after a restart reads pages');
my $pages = sql(q{SELECT pg_relation_size('lists_v') / 8192});
my ($answer, $notice) = call("knn_warmup('lists_v')");
is($answer, '1/1/0', 'one that is larger than shared_buffers');
like($notice, qr/NOTICE:  index "public\.lists_v" does not fit into shared_buffers\nDETAIL:  The first 96 of its $pages pages are there, .*\nHINT:  For all of them, set shared_buffers to \d+ MB or more/, 'says so');
is(stats('load_success_count', 'indices_in_cache'), '1 {}', 'it is a load');
sql('CREATE INDEX lists_hnsw ON lists USING knn_hnsw (v)');
is((call("knn_warmup('lists')"))[0], '2/2/0', 'with one that has a copy in the cache');
is(sql('SELECT indexrelname FROM knn_cache'), 'lists_hnsw', 'which is there');
warns("knn_clear_cache('lists')", '2/2/0', qr/NOTICE:  nothing of index "public\.lists_v" is in the native memory cache/, 'clearing both');
is(sql('SELECT count(*) FROM knn_cache'), '0', 'clears what there is');
sql('DROP INDEX lists_hnsw');

# ---------------------------------------------------------------------------
# no cache

$node->append_conf('postgresql.conf', "knn.cache_size = 0\nshared_buffers = '16MB'");
$node->restart;
counts("knn_warmup('lists_v')", '1/1/0', 'a knn_ivf index needs no cache');
is(pages_read('lists_v'), '0', 'and a search of it does not read from disk');
fails("knn_warmup('a')", qr/native memory cache of knn is not available\nDETAIL:  The setting knn.cache_size is 0.\nHINT/, 'no cache');
is(stats('cache_enabled', 'cache_size', 'indices_in_cache', 'graph_memory_usage_percentage'), 'false 0 {} 0.00', 'statistics without a cache');
$node->append_conf('postgresql.conf', "knn.cache_size = '16MB'\nshared_preload_libraries = ''");
$node->restart;
fails("knn_clear_cache('a')", qr/not available\nDETAIL:  The library was not loaded at server start/, 'no preload');

$node->stop;
done_testing();
