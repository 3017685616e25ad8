-- The life of knn_ivf indexes and of the tables they belong to, as hnsw_maintenance has
-- it of knn_hnsw

CREATE FUNCTION vec(i bigint, dim int) RETURNS knn_vector
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT array_agg((((i * 73856093) # (j * 19349663)) % 2000 - 1000) / 1000.0::real ORDER BY j)::real[]::public.knn_vector
	FROM generate_series(1, dim::bigint) j
$$;

-- Rows that an index scan of the whole table returns, how many different ones, and
-- how many rows are not found by a query for their own vector.
CREATE FUNCTION check_index(tab text, v text DEFAULT 'v', OUT returned bigint, OUT different bigint, OUT lost bigint)
LANGUAGE plpgsql AS $$
DECLARE
	plan text := '';
	line text;
BEGIN
	SET LOCAL knn.nprobes = 1000;
	SET LOCAL knn.scan_order = relaxed;
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_sort = off;
	FOR line IN EXECUTE format('EXPLAIN SELECT id FROM %s ORDER BY %s <-> vec(1, 4)', tab, v) LOOP
		plan := plan || line;
	END LOOP;
	IF plan NOT LIKE '%Index Scan%Order By%' OR plan LIKE '%Seq Scan%' THEN
		RAISE EXCEPTION 'no index scan of %: %', tab, plan;
	END IF;
	EXECUTE format('SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM %s ORDER BY %s <-> vec(1, 4)) s', tab, v)
		INTO returned, different;
	SET LOCAL enable_seqscan = on;
	SET LOCAL enable_sort = on;
	EXECUTE format('SELECT count(*) FROM (SELECT id, %1$s AS v FROM %2$s OFFSET 0) q WHERE NOT EXISTS
		(SELECT FROM (SELECT %1$s AS v FROM %2$s ORDER BY %1$s <-> q.v LIMIT 1) n WHERE n.v = q.v)', v, tab)
		INTO lost;
END $$;

CREATE TABLE t (id int PRIMARY KEY, cat int, v knn_vector(4)) WITH (autovacuum_enabled = off);
INSERT INTO t SELECT i, i % 10, vec(i, 4) FROM generate_series(1, 500) i;
CREATE INDEX ti ON t USING knn_ivf (v);
SELECT * FROM check_index('t');

-- ANALYZE does not change the index, not by a block
SELECT pg_relation_size('ti') AS size, pg_relation_filenode('ti') AS file \gset
ANALYZE t;
VACUUM (ANALYZE) t;
SELECT pg_relation_size('ti') = :size AND pg_relation_filenode('ti') = :file AS unchanged;
SELECT reltuples, relpages = pg_relation_size('ti') / current_setting('block_size')::int AS pages FROM pg_class WHERE relname = 'ti';

-- VACUUM: dead rows go, all at once, and come back
DELETE FROM t WHERE id % 3 = 0;
VACUUM t;
SELECT * FROM check_index('t');
SELECT reltuples FROM pg_class WHERE relname = 'ti';
INSERT INTO t SELECT i, i % 10, vec(i, 4) FROM generate_series(3, 500, 3) i;
SELECT * FROM check_index('t');
SELECT pg_relation_size('ti') = :size AS not_grown;
VACUUM t;
DELETE FROM t;
VACUUM t;
SELECT * FROM check_index('t');
INSERT INTO t SELECT i, i % 10, vec(i, 4) FROM generate_series(1, 500) i;
SELECT * FROM check_index('t');
SELECT pg_relation_size('ti') = :size AS not_grown;
-- with the index passed over, and without
DELETE FROM t WHERE id > 400;
VACUUM (INDEX_CLEANUP off) t;
SELECT * FROM check_index('t');
VACUUM (INDEX_CLEANUP on) t;
SELECT * FROM check_index('t');
VACUUM FULL t;
SELECT * FROM check_index('t');
-- one live row among the dead
DELETE FROM t WHERE id <> 123;
VACUUM t;
SELECT * FROM check_index('t');

-- TRUNCATE
TRUNCATE t;
SELECT * FROM check_index('t');
INSERT INTO t SELECT i, i % 10, vec(i, 4) FROM generate_series(1, 100) i;
SELECT * FROM check_index('t');
BEGIN;
TRUNCATE t;
INSERT INTO t SELECT i, i % 10, vec(i, 4) FROM generate_series(1, 10) i;
SELECT * FROM check_index('t');
ROLLBACK;
SELECT * FROM check_index('t');
-- in the transaction that created the table, where the file is the same before and after
BEGIN;
CREATE TABLE fresh (id int, v knn_vector(4));
INSERT INTO fresh SELECT i, vec(i, 4) FROM generate_series(1, 200) i;
CREATE INDEX fresh_i ON fresh USING knn_ivf (v);
SELECT * FROM check_index('fresh');
INSERT INTO fresh SELECT i, vec(i, 4) FROM generate_series(201, 400) i;
TRUNCATE fresh;
SELECT * FROM check_index('fresh');
INSERT INTO fresh SELECT i, vec(i, 4) FROM generate_series(1, 100) i;
SELECT * FROM check_index('fresh');
SAVEPOINT s;
TRUNCATE fresh;
INSERT INTO fresh SELECT i, vec(i, 4) FROM generate_series(1, 7) i;
SELECT * FROM check_index('fresh');
ROLLBACK TO s;
SELECT * FROM check_index('fresh');
COMMIT;
SELECT * FROM check_index('fresh');
DROP TABLE fresh;

-- a TRUNCATE while a scan of the index is open is refused, as any table's
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM t ORDER BY v <-> vec(3, 4);
SET LOCAL enable_seqscan = off;
DECLARE d CURSOR FOR SELECT id FROM t ORDER BY v <-> vec(3, 4);
FETCH 1 FROM d;
TRUNCATE t;
ROLLBACK;

-- REINDEX in all its forms
REINDEX INDEX ti;
SELECT * FROM check_index('t');
REINDEX TABLE t;
SELECT * FROM check_index('t');
REINDEX INDEX CONCURRENTLY ti;
SELECT * FROM check_index('t');
BEGIN;
DELETE FROM t WHERE id > 50;
REINDEX INDEX ti;
SELECT * FROM check_index('t');
ROLLBACK;
SELECT * FROM check_index('t');
CREATE INDEX CONCURRENTLY ti2 ON t USING knn_ivf (v knn_vector_cosine_ops);
DROP INDEX CONCURRENTLY ti2;
CREATE INDEX IF NOT EXISTS ti ON t USING knn_ivf (v);
DROP INDEX ti;
DROP INDEX IF EXISTS ti;
-- names
CREATE INDEX ti ON t USING knn_ivf (v);
ALTER INDEX ti RENAME TO tj;
ALTER TABLE t RENAME COLUMN v TO w;
SELECT pg_get_indexdef('tj'::regclass);
SELECT * FROM check_index('t', 'w');
ALTER TABLE t RENAME COLUMN w TO v;
ALTER INDEX tj RENAME TO ti;

-- rollback: of CREATE INDEX, of inserts, of parts of a transaction
BEGIN;
CREATE INDEX gone ON t USING knn_ivf (v);
SELECT * FROM check_index('t');
ROLLBACK;
SELECT * FROM check_index('t');
BEGIN;
INSERT INTO t SELECT i, 0, vec(i, 4) FROM generate_series(1001, 1100) i;
SELECT * FROM check_index('t');
SAVEPOINT a;
INSERT INTO t SELECT i, 0, vec(i, 4) FROM generate_series(1101, 1200) i;
SELECT * FROM check_index('t');
ROLLBACK TO a;
INSERT INTO t SELECT i, 0, vec(i, 4) FROM generate_series(1201, 1210) i;
SELECT * FROM check_index('t');
COMMIT;
SELECT * FROM check_index('t');
BEGIN;
INSERT INTO t SELECT i, 0, vec(i, 4) FROM generate_series(2001, 2100) i;
ROLLBACK;
SELECT * FROM check_index('t');
VACUUM t;
SELECT * FROM check_index('t');
-- entries of rows that were rolled back join what comes later
INSERT INTO t SELECT i, 0, vec(i, 4) FROM generate_series(2001, 2100) i;
SELECT * FROM check_index('t');

-- updates: HOT, not HOT, of the vector
UPDATE t SET cat = cat + 1;
UPDATE t SET id = id + 10000;
SELECT * FROM check_index('t');
VACUUM t;
SELECT * FROM check_index('t');
UPDATE t SET v = vec(id + 1, 4) WHERE id % 2 = 0;
SELECT * FROM check_index('t');
VACUUM t;
SELECT * FROM check_index('t');
INSERT INTO t VALUES (10001, 0, vec(77, 4)) ON CONFLICT (id) DO UPDATE SET v = excluded.v;
SELECT * FROM check_index('t');
DELETE FROM t USING (SELECT id AS i FROM t ORDER BY v <-> vec(5, 4) LIMIT 10) n WHERE id = i;
SELECT * FROM check_index('t');

-- ALTER TABLE that rewrites, and that does not
ALTER TABLE t ADD COLUMN note text DEFAULT 'none';
ALTER TABLE t ALTER id TYPE bigint;
SELECT * FROM check_index('t');
ALTER TABLE t DROP COLUMN note;
ALTER TABLE t SET UNLOGGED;
SELECT * FROM check_index('t');
ALTER TABLE t SET LOGGED;
SELECT * FROM check_index('t');
CLUSTER t USING t_pkey;
SELECT * FROM check_index('t');
ALTER TABLE t ALTER v TYPE knn_vector(4) USING v;
SELECT * FROM check_index('t');
DROP TABLE t;

-- unlogged
CREATE UNLOGGED TABLE u (id int, v knn_vector(4));
CREATE INDEX ON u USING knn_ivf (v);
INSERT INTO u SELECT i, vec(i, 4) FROM generate_series(1, 200) i;
SELECT * FROM check_index('u');
REINDEX TABLE u;
SELECT * FROM check_index('u');
DROP TABLE u;

-- temporary
CREATE TEMPORARY TABLE tmp (id int, v knn_vector(4)) ON COMMIT DELETE ROWS;
CREATE INDEX ON tmp USING knn_ivf (v);
BEGIN;
INSERT INTO tmp SELECT i, vec(i, 4) FROM generate_series(1, 200) i;
SELECT * FROM check_index('tmp');
COMMIT;
SELECT * FROM check_index('tmp');
BEGIN;
INSERT INTO tmp SELECT i, vec(i, 4) FROM generate_series(1, 20) i;
SELECT * FROM check_index('tmp');
COMMIT;
BEGIN;
SELECT * FROM check_index('tmp');
COMMIT;
DROP TABLE tmp;
CREATE TEMPORARY TABLE tmp (id int, v knn_vector(4)) ON COMMIT PRESERVE ROWS;
INSERT INTO tmp SELECT i, vec(i, 4) FROM generate_series(1, 200) i;
CREATE INDEX ON tmp USING knn_ivf (v);
INSERT INTO tmp SELECT i, vec(i, 4) FROM generate_series(201, 300) i;
VACUUM tmp;
SELECT * FROM check_index('tmp');
DROP TABLE tmp;
BEGIN;
CREATE TEMPORARY TABLE tmp (id int, v knn_vector(4)) ON COMMIT DROP;
CREATE INDEX ON tmp USING knn_ivf (v);
INSERT INTO tmp SELECT i, vec(i, 4) FROM generate_series(1, 20) i;
SELECT * FROM check_index('tmp');
COMMIT;

-- materialized views
CREATE MATERIALIZED VIEW mv AS SELECT i AS id, vec(i, 4)::knn_vector(4) AS v FROM generate_series(1, 200) i;
CREATE INDEX ON mv USING knn_ivf (v);
SELECT * FROM check_index('mv');
REFRESH MATERIALIZED VIEW mv;
SELECT * FROM check_index('mv');
DROP MATERIALIZED VIEW mv;

-- partitions: one index each, merged in order
CREATE TABLE p (id int, v knn_vector(4)) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (100);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (100) TO (200);
CREATE INDEX pi ON p USING knn_ivf (v) WITH (nlist = 8);
CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (200) TO (1000);
INSERT INTO p SELECT i, vec(i, 4) FROM generate_series(1, 500) i;
ANALYZE p;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM p ORDER BY v <-> '[1,2,3,4]' LIMIT 5;
EXPLAIN (COSTS OFF) SELECT id FROM p WHERE id < 100 ORDER BY v <-> '[1,2,3,4]' LIMIT 5;
SELECT id FROM p ORDER BY v <-> vec(42, 4) LIMIT 1;
SELECT id FROM p ORDER BY v <-> vec(142, 4) LIMIT 1;
SELECT count(*) FILTER (WHERE d < before - 1e-5) AS out_of_order, count(*) FROM
	(SELECT d, lag(d) OVER () AS before FROM
		(SELECT v <-> vec(5, 4) AS d FROM p ORDER BY v <-> vec(5, 4) LIMIT 50) s) s;
RESET enable_seqscan;
SELECT * FROM check_index('p');
-- an update that moves a row
UPDATE p SET id = id + 500 WHERE id < 50;
SELECT * FROM check_index('p');
CREATE TABLE p4 (id int, v knn_vector(4));
INSERT INTO p4 SELECT i, vec(i, 4) FROM generate_series(1001, 1100) i;
ALTER TABLE p ATTACH PARTITION p4 FOR VALUES FROM (1000) TO (2000);
SELECT reloptions FROM pg_class WHERE relname = 'p4_v_idx';
ALTER TABLE p DETACH PARTITION p1;
SELECT * FROM check_index('p');
SELECT * FROM check_index('p1');
DROP TABLE p, p1;

-- partial and expression indexes
CREATE TABLE e (id int, cat int, v knn_vector(4), r real[], u knn_vector);
INSERT INTO e SELECT i, i % 4, vec(i, 4), vec(i, 4)::real[],
	CASE WHEN i % 2 = 0 THEN vec(i, 4) ELSE vec(i, 6) END FROM generate_series(1, 400) i;
CREATE INDEX e_partial ON e USING knn_ivf (v) WHERE cat = 2;
ANALYZE e;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM e WHERE cat = 2 ORDER BY v <-> '[1,2,3,4]' LIMIT 5;
SELECT id FROM e WHERE cat = 2 ORDER BY v <-> vec(10, 4) LIMIT 1;
SELECT count(*), min(cat), max(cat) FROM (SELECT cat FROM e WHERE cat = 2 ORDER BY v <-> vec(10, 4) LIMIT 90) s;
UPDATE e SET cat = 2 WHERE id = 11;
SELECT id FROM e WHERE cat = 2 ORDER BY v <-> vec(11, 4) LIMIT 1;
UPDATE e SET cat = 3 WHERE id = 10;
SELECT id = 10 FROM e WHERE cat = 2 ORDER BY v <-> vec(10, 4) LIMIT 1;
DROP INDEX e_partial;
-- columns of another type, or of several dimensions
CREATE INDEX ON e USING knn_ivf ((r::knn_vector(4)));
EXPLAIN (COSTS OFF) SELECT id FROM e ORDER BY r::knn_vector(4) <-> '[1,2,3,4]' LIMIT 1;
SELECT id FROM e ORDER BY r::knn_vector(4) <-> vec(33, 4) LIMIT 1;
CREATE INDEX ON e USING knn_ivf ((u::knn_vector(4)));
CREATE INDEX ON e USING knn_ivf ((u::knn_vector(4))) WHERE knn_dims(u) = 4;
CREATE INDEX ON e USING knn_ivf ((u::knn_vector(6))) WHERE knn_dims(u) = 6;
EXPLAIN (COSTS OFF) SELECT id FROM e WHERE knn_dims(u) = 6 ORDER BY u::knn_vector(6) <-> '[1,2,3,4,5,6]' LIMIT 1;
SELECT id FROM e WHERE knn_dims(u) = 4 ORDER BY u::knn_vector(4) <-> vec(34, 4) LIMIT 1;
SELECT id FROM e WHERE knn_dims(u) = 6 ORDER BY u::knn_vector(6) <-> vec(35, 6) LIMIT 1;
INSERT INTO e (id, u) VALUES (1000, vec(1000, 4)), (1001, vec(1001, 6)), (1002, vec(1002, 5));
SELECT id FROM e WHERE knn_dims(u) = 4 ORDER BY u::knn_vector(4) <-> vec(1000, 4) LIMIT 1;
-- the first two dimensions only, ranked again by all
CREATE INDEX ON e USING knn_ivf ((subvector(v, 1, 2)::knn_vector(2)));
SELECT id FROM (SELECT id, v FROM e ORDER BY subvector(v, 1, 2)::knn_vector(2) <-> subvector(vec(36, 4), 1, 2) LIMIT 20) s
	ORDER BY v <-> vec(36, 4) LIMIT 1;
RESET enable_seqscan;
DROP TABLE e;

-- an ordinary user may install the extension and build indexes
CREATE ROLE knn_test_owner;
CREATE ROLE knn_test_reader;
CREATE SCHEMA knn_test AUTHORIZATION knn_test_owner;
SELECT trusted FROM pg_available_extension_versions WHERE name = 'knn' AND version = '1.0';
SET SESSION AUTHORIZATION knn_test_owner;
CREATE TABLE knn_test.mine (id int, v knn_vector(4));
INSERT INTO knn_test.mine SELECT i, ARRAY[i, 1, 2, 3]::real[]::knn_vector FROM generate_series(1, 100) i;
CREATE INDEX mine_i ON knn_test.mine USING knn_ivf (v);
SET enable_seqscan = off;
SELECT id FROM knn_test.mine ORDER BY v <-> '[8,1,2,3]' LIMIT 1;
GRANT USAGE ON SCHEMA knn_test TO knn_test_reader;
SET SESSION AUTHORIZATION knn_test_reader;
SELECT id FROM knn_test.mine ORDER BY v <-> '[8,1,2,3]' LIMIT 1;
CREATE INDEX ON knn_test.mine USING knn_ivf (v);
\set VERBOSITY sqlstate
REINDEX INDEX knn_test.mine_i;
\set VERBOSITY default
SET SESSION AUTHORIZATION knn_test_owner;
GRANT SELECT (id) ON knn_test.mine TO knn_test_reader;
SET SESSION AUTHORIZATION knn_test_reader;
SELECT id FROM knn_test.mine ORDER BY v <-> '[8,1,2,3]' LIMIT 1;
SET SESSION AUTHORIZATION knn_test_owner;
GRANT SELECT ON knn_test.mine TO knn_test_reader;
-- rows that a policy hides stay hidden, and do not use up the LIMIT
ALTER TABLE knn_test.mine ENABLE ROW LEVEL SECURITY;
CREATE POLICY even ON knn_test.mine FOR SELECT TO knn_test_reader USING (id % 2 = 0);
SET SESSION AUTHORIZATION knn_test_reader;
SELECT count(*), bool_and(id % 2 = 0) FROM (SELECT id FROM knn_test.mine ORDER BY v <-> '[8,1,2,3]' LIMIT 30) s;
RESET SESSION AUTHORIZATION;
RESET enable_seqscan;
DROP SCHEMA knn_test CASCADE;
DROP ROLE knn_test_owner, knn_test_reader;

DROP FUNCTION check_index, vec;
