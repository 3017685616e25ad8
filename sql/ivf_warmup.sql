-- knn_warmup and knn_clear_cache of knn_ivf, which has no copies in the native memory
-- cache: the same with the cache and without it.
CREATE TABLE lists (id int, v knn_vector(64));
INSERT INTO lists SELECT i, ARRAY(SELECT sin(i * j)::real FROM generate_series(1, 64) j) FROM generate_series(1, 2000) i;
CREATE INDEX lists_l2 ON lists USING knn_ivf (v) WITH (nlist = 10);
CREATE INDEX lists_ip ON lists USING knn_ivf (v knn_vector_ip_ops) WITH (nlist = 10);
ANALYZE lists;

-- all pages are asked for, and each once
BEGIN;
SELECT knn_warmup('lists_l2');
SELECT pg_stat_get_xact_blocks_fetched('lists_l2'::regclass) - pg_relation_size('lists_l2') / current_setting('block_size')::int
	BETWEEN 0 AND 3 AS all_pages;
COMMIT;
SELECT knn_warmup('lists');
SELECT knn_warmup('lists*', 'lists_ip');
SELECT jsonb_path_query(knn_stats('graph_memory_usage'), '$.nodes.*.graph_memory_usage') AS kilobytes;
SELECT count(*) FROM knn_cache WHERE relname = 'lists';
SELECT count(*) FROM knn_progress;

-- there is nothing to clear
SELECT knn_clear_cache('lists_l2');
SELECT knn_clear_cache('lists');
SELECT knn_clear_cache('lists*');

-- partitions, indexes that are not built, transactions
CREATE TABLE parts (k int, v knn_vector(2)) PARTITION BY LIST (k);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
INSERT INTO parts SELECT 1 + i % 2, ARRAY[i % 17, i % 19]::real[] FROM generate_series(1, 1000) i;
CREATE INDEX parts_v ON parts USING knn_ivf (v);
SELECT knn_warmup('parts');
SELECT knn_warmup('parts_v');
SELECT knn_clear_cache('parts_v');
BEGIN;
CREATE INDEX new_v ON lists USING knn_ivf (v);
SELECT knn_warmup('new_v');
ROLLBACK;
SELECT knn_warmup('new_v');
CREATE UNLOGGED TABLE unlogged AS SELECT v FROM parts;
CREATE INDEX unlogged_v ON unlogged USING knn_ivf (v);
SELECT knn_warmup('unlogged');
CREATE TEMP TABLE temporary AS SELECT v FROM parts;
CREATE INDEX temporary_v ON temporary USING knn_ivf (v);
-- a warning that has the name of the session's schema
SET client_min_messages = error;
SELECT knn_warmup('temporary_v');
RESET client_min_messages;
SELECT knn_warmup('tempo*');

-- names that stand for nothing
SELECT knn_warmup();
SELECT knn_warmup('nowhere');
SELECT knn_warmup(NULL);
CREATE TABLE bare (v knn_vector(2));
SELECT knn_warmup('bare');

-- who may
CREATE ROLE regress_knn_reader;
GRANT SELECT ON lists TO regress_knn_reader;
SET ROLE regress_knn_reader;
SELECT knn_warmup('lists_l2');
SELECT knn_clear_cache('lists_l2');
SELECT knn_warmup('lists*');
RESET ROLE;
REVOKE ALL ON lists FROM regress_knn_reader;
DROP ROLE regress_knn_reader;
DROP TABLE lists, parts, unlogged, temporary, bare;
