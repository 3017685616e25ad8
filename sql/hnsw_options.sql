-- Options of knn_hnsw indexes and the settings knn.*

CREATE TABLE t (id int, v knn_vector(3));
INSERT INTO t SELECT i, ARRAY[i, i % 7, i % 11]::real[]::knn_vector FROM generate_series(1, 300) i;

-- the ends of the ranges
CREATE INDEX i1 ON t USING knn_hnsw (v) WITH (m = 2, ef_construction = 4, ef_search = 1);
CREATE INDEX i2 ON t USING knn_hnsw (v) WITH (m = 100, ef_construction = 10000, ef_search = 100000);
SELECT relname, reloptions FROM pg_class WHERE relname IN ('i1', 'i2') ORDER BY relname;
DROP INDEX i1, i2;

-- beyond them
CREATE INDEX ON t USING knn_hnsw (v) WITH (m = 1);
CREATE INDEX ON t USING knn_hnsw (v) WITH (m = 101);
CREATE INDEX ON t USING knn_hnsw (v) WITH (ef_construction = 3);
CREATE INDEX ON t USING knn_hnsw (v) WITH (ef_construction = 10001);
CREATE INDEX ON t USING knn_hnsw (v) WITH (ef_search = 0);
CREATE INDEX ON t USING knn_hnsw (v) WITH (ef_search = 100001);

-- not options, or not values
CREATE INDEX ON t USING knn_hnsw (v) WITH (lists = 10);
CREATE INDEX ON t USING knn_hnsw (v) WITH (fillfactor = 70);
CREATE INDEX ON t USING knn_hnsw (v) WITH (m = 'many');
CREATE INDEX ON t USING knn_hnsw (v) WITH (m);
\set VERBOSITY sqlstate
CREATE INDEX ON t USING knn_hnsw (v knn_vector_l2_ops (m = 4));
\set VERBOSITY default

-- ALTER INDEX: ef_search takes effect at once, m and ef_construction when rebuilt
CREATE INDEX i ON t USING knn_hnsw (v);
ALTER INDEX i SET (ef_search = 7);
ALTER INDEX i SET (m = 8, ef_construction = 50);
ALTER INDEX i SET (m = 0);
ALTER INDEX i SET (nonsense = 1);
SELECT reloptions FROM pg_class WHERE relname = 'i';
SET enable_seqscan = off;
SET knn.scan_order = relaxed;
SET knn.max_scan_tuples = 0;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[1,2,3]') s;
ALTER INDEX i SET (ef_search = 9);
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[1,2,3]') s;
-- the setting goes before the option
SET knn.ef_search = 11;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[1,2,3]') s;
SET knn.ef_search = 0;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[1,2,3]') s;
ALTER INDEX i RESET (ef_search);
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[1,2,3]') s;
-- the graph as built and the options as set may differ: inserts follow the graph
INSERT INTO t SELECT i, ARRAY[i, i % 7, i % 11]::real[]::knn_vector FROM generate_series(301, 600) i;
REINDEX INDEX i;
INSERT INTO t SELECT i, ARRAY[i, i % 7, i % 11]::real[]::knn_vector FROM generate_series(601, 700) i;
SET knn.max_scan_tuples = -1;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t ORDER BY v <-> '[1,2,3]') s;
SELECT id FROM t ORDER BY v <-> '[650,6,1]' LIMIT 1;
ALTER INDEX i RESET (m, ef_construction);
SELECT reloptions FROM pg_class WHERE relname = 'i';

-- settings
SET knn.ef_search = -1;
SET knn.ef_search = 100001;
SET knn.ef_search = 'wide';
SET knn.max_scan_tuples = -2;
SET knn.scan_order = 'any';
SET knn.scan_order = off;
SET knn.efsearch = 10;
SELECT name, setting, min_val, max_val, enumvals, context FROM pg_settings
	WHERE name IN ('knn.ef_search', 'knn.max_scan_tuples', 'knn.scan_order') ORDER BY name;
SELECT name, boot_val, reset_val FROM pg_settings
	WHERE name IN ('knn.ef_search', 'knn.max_scan_tuples', 'knn.scan_order') ORDER BY name;
-- for one function, one transaction
CREATE FUNCTION wide() RETURNS text LANGUAGE sql SET knn.ef_search = 500 AS
	$$ SELECT current_setting('knn.ef_search') $$;
SELECT wide(), current_setting('knn.ef_search');
DROP FUNCTION wide;
BEGIN;
SET LOCAL knn.ef_search = 300;
ROLLBACK;
SHOW knn.ef_search;

RESET ALL;
DROP TABLE t;
