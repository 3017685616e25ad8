-- The functions of the native memory cache without the cache: this server has not
-- preloaded the library.  What they do with it is tested in test/t.
CREATE TABLE cached (id int, v knn_vector(2));
INSERT INTO cached SELECT i, ARRAY[i, i % 10]::real[] FROM generate_series(1, 100) i;
CREATE INDEX cached_v ON cached USING knn_hnsw (v);

SELECT knn_warmup('cached');
SELECT knn_warmup();
SELECT knn_clear_cache('cached*');
SELECT knn_stats_reset();

-- dashboards do not break
SELECT s->'_nodes' AS nodes, s->'circuit_breaker_triggered' AS triggered, s->'model_index_status' AS models,
	n.value->'cache_enabled' AS enabled, n.value->'graph_memory_usage' AS memory, n.value->'indices_in_cache' AS indices,
	n.value->'hit_count' AS hits, n.value->'stats_reset' AS reset
FROM knn_stats() s, jsonb_each(s->'nodes') n;
SELECT n.value FROM jsonb_each(knn_stats('hit_count', 'graph_stats')->'nodes') n;
SELECT * FROM knn_stat \gx
SELECT * FROM knn_cache;
SELECT * FROM knn_progress;
SELECT knn_stats('hits');
SELECT knn_stats('_all', 'hit_count');
SELECT knn_stats(NULL);

-- and searches work
SET enable_seqscan = off;
SELECT id FROM cached ORDER BY v <-> '[10.2,0]' LIMIT 2;
SELECT knn_stats('knn_query_requests')->'nodes' <> '{}' AS counted;
RESET enable_seqscan;

-- settings that are known without the cache, too
SHOW knn.use_cache;
SHOW knn.cache_size;
SHOW knn.memory_circuit_breaker_limit;
SET knn.memory_circuit_breaker_limit = '50%';

-- privileges
CREATE ROLE regress_knn_reader;
CREATE ROLE regress_knn_monitor IN ROLE pg_monitor;
SET ROLE regress_knn_reader;
SELECT knn_stats();
SELECT * FROM knn_stat;
SELECT * FROM knn_cache;
SELECT * FROM knn_progress;
SELECT knn_stats_reset();
SET ROLE regress_knn_monitor;
SELECT count(*) FROM knn_stats();
SELECT count(*) FROM knn_stat;
SELECT count(*) FROM knn_cache;
SELECT count(*) FROM knn_progress;
SELECT knn_stats_reset();
RESET ROLE;
DROP ROLE regress_knn_reader;
DROP ROLE regress_knn_monitor;
DROP TABLE cached;
