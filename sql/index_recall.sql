-- recall against exact search; a sample as large as the table draws every row
SELECT setseed(0.5);
CREATE TABLE searched (id int, v knn_vector(8));
CREATE INDEX searched_filled ON searched USING knn_hnsw (v) WITH (ef_search = 60);

-- nothing to compare: no row, then one
SELECT recall, recall_min, recall_p10, queries, k, ef_search, rows, index_ms, exact_ms FROM knn_index_recall('searched_filled');
INSERT INTO searched VALUES (0, '[1,2,3,4,5,6,7,8]'), (-1, NULL);
SELECT recall, recall_min, recall_p10, queries, k, ef_search, rows, index_ms, exact_ms FROM knn_index_recall('searched_filled', 7, 3);

-- fewer rows than k: the others are all to be found
INSERT INTO searched VALUES (-2, '[1,2,3,4,5,6,7,8]'), (-3, '[8,7,6,5,4,3,2,1]');
SELECT recall, recall_min, recall_p10, queries, k, rows, index_ms > 0 AS index_ms, exact_ms > 0 AS exact_ms
FROM knn_index_recall('searched_filled');

-- more rows, some equal, some zero, some deleted, some not seen by anyone
INSERT INTO searched SELECT i, ARRAY(SELECT random() + 0 * i FROM generate_series(1, 8))::real[] FROM generate_series(1, 1500) i;
INSERT INTO searched SELECT 2000 + i, '[1,2,3,4,5,6,7,8]' FROM generate_series(1, 30) i;
INSERT INTO searched VALUES (3000, '[0,0,0,0,0,0,0,0]'), (3001, '[0,0,0,0,0,0,0,0]'), (3002, NULL);
DELETE FROM searched WHERE id BETWEEN 1 AND 100;
BEGIN;
INSERT INTO searched SELECT 4000 + i, '[1,2,3,4,5,6,7,8]' FROM generate_series(1, 100) i;
ROLLBACK;
UPDATE searched SET id = -id WHERE id BETWEEN 200 AND 250;

-- every space, partial indexes and expressions, built and filled
CREATE INDEX searched_ip ON searched USING knn_hnsw (v knn_vector_ip_ops);
CREATE INDEX searched_cosine ON searched USING knn_hnsw (v knn_vector_cosine_ops);
CREATE INDEX searched_l1 ON searched USING knn_hnsw (v knn_vector_l1_ops);
CREATE INDEX searched_linf ON searched USING knn_hnsw (v knn_vector_linf_ops);
CREATE INDEX searched_partial ON searched USING knn_hnsw (v) WHERE id % 3 = 0;
CREATE INDEX searched_nothing ON searched USING knn_hnsw (v) WHERE id = 123456;
CREATE INDEX searched_expression ON searched USING knn_hnsw ((l2_normalize(v)::knn_vector(8)) knn_vector_ip_ops) WHERE id < 3000;
CREATE INDEX searched_codes ON searched USING knn_hnsw (v) WITH (store_vectors = off);
CREATE INDEX searched_halves ON searched USING knn_hnsw (v) WITH (compression_level = '2x');
CREATE INDEX searched_bits ON searched USING knn_hnsw (v) WITH (mode = on_disk);
SELECT c AS index, recall > 0.95 AS recall, recall_min <= recall_p10 AND recall_p10 <= 1 AS ordered, queries, k, ef_search, rows
FROM unnest('{searched_filled,searched_ip,searched_cosine,searched_l1,searched_linf,searched_partial,searched_nothing,searched_expression,searched_codes,searched_halves,searched_bits}'::regclass[]) c,
	knn_index_recall(c, 10000, 5);
SELECT count(*) AS l2, count(*) FILTER (WHERE id < 3000 OR id > 3001) AS cosine, count(*) FILTER (WHERE id % 3 = 0) AS partial,
	count(*) FILTER (WHERE id < 3000) AS expression
FROM searched WHERE v IS NOT NULL;

-- every data type
CREATE TABLE searched_types (h knn_vector(16, 'half'), b knn_vector(16, 'byte'), bits knn_vector(128, 'binary'));
INSERT INTO searched_types SELECT v, v, v FROM generate_series(1, 500) i,
	LATERAL (SELECT array_agg(trunc(random() * 200 - 100 + 0 * i * j))::real[] AS v FROM generate_series(1, 16) j) s;
INSERT INTO searched_types (b) SELECT array_fill(0, ARRAY[16])::real[];
CREATE INDEX searched_h ON searched_types USING knn_hnsw (h);
CREATE INDEX searched_h_cosine ON searched_types USING knn_hnsw (h knn_vector_cosine_ops) WITH (store_vectors = off);
CREATE INDEX searched_b ON searched_types USING knn_hnsw (b);
CREATE INDEX searched_b_ip ON searched_types USING knn_hnsw (b knn_vector_ip_ops);
CREATE INDEX searched_b_cosine ON searched_types USING knn_hnsw (b knn_vector_cosine_ops);
CREATE INDEX searched_b_l1 ON searched_types USING knn_hnsw (b knn_vector_l1_ops);
CREATE INDEX searched_b_linf ON searched_types USING knn_hnsw (b knn_vector_linf_ops);
CREATE INDEX searched_hamming ON searched_types USING knn_hnsw (bits knn_vector_hamming_ops);
SELECT c AS index, recall > 0.95 AS recall, queries, rows
FROM unnest('{searched_h,searched_h_cosine,searched_b,searched_b_ip,searched_b_cosine,searched_b_l1,searched_b_linf,searched_hamming}'::regclass[]) c,
	knn_index_recall(c, 1000);
DROP TABLE searched_types;

-- settings are those in effect
SET knn.ef_search = 200;
SELECT ef_search FROM knn_index_recall('searched_filled', 1);
RESET knn.ef_search;

-- the recall is what queries find: every row is asked both ways.  A search of
-- few links misses some
CREATE TABLE narrow AS SELECT i AS id, ARRAY(SELECT random() + 0 * i FROM generate_series(1, 16))::real[]::knn_vector(16) AS v
	FROM generate_series(1, 600) i;
CREATE INDEX narrow_v ON narrow USING knn_hnsw (v) WITH (m = 6, ef_construction = 4);
CREATE FUNCTION queried(sequential bool, n int) RETURNS TABLE (query int, distance float8) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('enable_seqscan', sequential::text, true), set_config('enable_sort', sequential::text, true),
		set_config('enable_indexscan', (NOT sequential)::text, true);
	RETURN QUERY SELECT q.id, a.distance
		FROM narrow q, LATERAL (SELECT narrow.v <-> q.v AS distance FROM narrow WHERE narrow.id <> q.id ORDER BY narrow.v <-> q.v LIMIT n) a;
END $$;
SET knn.ef_search = 40;
CREATE TABLE found AS SELECT * FROM queried(false, 5);
CREATE TABLE truth AS SELECT query, max(distance) AS distance FROM queried(true, 5) GROUP BY query;
CREATE TABLE expected AS SELECT truth.query, count(*) FILTER (WHERE found.distance <= truth.distance * 1.000001) / 5.0::float8 AS recall
	FROM truth JOIN found USING (query) GROUP BY truth.query;
SELECT abs(r.recall - e.recall) < 1e-9 AS recall, abs(r.recall_min - e.least) < 1e-9 AS least, abs(r.recall_p10 - e.p10) < 1e-9 AS p10,
	r.recall BETWEEN 0.3 AND 0.97 AS misses, queries, rows
FROM knn_index_recall('narrow_v', 1000, 5) r,
	(SELECT avg(recall) AS recall, min(recall) AS least, percentile_disc(0.1) WITHIN GROUP (ORDER BY recall) AS p10 FROM expected) e;

-- of a sample, about that
SELECT abs(r.recall - e.recall) < 0.15 AS recall, queries, rows
FROM knn_index_recall('narrow_v', 200, 5) r, (SELECT avg(recall) AS recall FROM expected) e;
SET knn.ef_search = 600;
SELECT recall > 0.99 AS recall FROM knn_index_recall('narrow_v', 1000, 5);
RESET knn.ef_search;

-- rows the index lacks are missed: half of each row's neighbours, of those it has
UPDATE pg_index SET indisready = false WHERE indexrelid = 'narrow_v'::regclass;
INSERT INTO narrow SELECT 1000 + id, v FROM narrow;
UPDATE pg_index SET indisready = true WHERE indexrelid = 'narrow_v'::regclass;
SET knn.ef_search = 600;
SELECT recall BETWEEN 0.3 AND 0.7 AS recall, queries, rows FROM knn_index_recall('narrow_v', 10000);
RESET knn.ef_search;
DROP TABLE narrow, found, truth, expected;
DROP FUNCTION queried(bool, int);

-- rows are drawn from some of the blocks; where these have too few of the index, from all
CREATE TABLE blocks (id int, filler text, v knn_vector(2)) WITH (fillfactor = 10);
INSERT INTO blocks SELECT i, repeat('x', 700), ARRAY[i, i % 7]::real[] FROM generate_series(1, 600) i;
SELECT pg_relation_size('blocks') / 8192 > 500 AS blocks;
CREATE INDEX blocks_v ON blocks USING knn_hnsw (v);
CREATE INDEX blocks_few ON blocks USING knn_hnsw (v) WHERE id = ANY ('{17,333,590}');
SELECT c AS index, queries, rows, recall > 0.9 AS recall FROM unnest('{blocks_v,blocks_few}'::regclass[]) c, knn_index_recall(c, 20, 2);
SELECT queries, rows FROM knn_index_recall('blocks_few', 2, 1);
DROP TABLE blocks;

-- in a transaction: its own rows, and where nothing may be written
BEGIN;
INSERT INTO searched VALUES (5000, '[9,9,9,9,9,9,9,9]');
SELECT rows FROM knn_index_recall('searched_ip', 1);
ROLLBACK;
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT recall >= 0 AS recall, rows FROM knn_index_recall('searched_ip', 1);
COMMIT;
CREATE TEMP TABLE searched_temporary (v knn_vector(2));
CREATE INDEX searched_temporary_v ON searched_temporary USING knn_hnsw (v);
INSERT INTO searched_temporary VALUES ('[1,2]'), ('[1,2]'), ('[2,1]');
SELECT recall, queries, rows FROM knn_index_recall('searched_temporary_v');

-- arguments
SELECT * FROM knn_index_recall('searched_ip', 0);
SELECT * FROM knn_index_recall('searched_ip', 10001);
SELECT * FROM knn_index_recall('searched_ip', k => 0);
SELECT * FROM knn_index_recall('searched_ip', k => 1001);
SELECT queries FROM knn_index_recall('searched_ip', k => NULL);

-- what cannot be measured
SELECT * FROM knn_index_recall('searched');
SELECT * FROM knn_index_recall(0);
CREATE INDEX searched_id ON searched (id);
SELECT * FROM knn_index_recall('searched_id');
CREATE TABLE searched_parent (id int, v knn_vector(3)) PARTITION BY RANGE (id);
CREATE INDEX searched_parent_v ON searched_parent USING knn_hnsw (v);
SELECT * FROM knn_index_recall('searched_parent_v');
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'searched_l1'::regclass;
SELECT * FROM knn_index_recall('searched_l1');
UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'searched_l1'::regclass;

-- rows updated in place while a snapshot shows them: not even the planner uses it
CREATE TABLE searched_young (id int, v knn_vector(2));
INSERT INTO searched_young VALUES (1, '[1,2]'), (2, '[2,1]');
BEGIN;
UPDATE searched_young SET id = 3 WHERE id = 1;
CREATE INDEX searched_young_v ON searched_young USING knn_hnsw (v) WHERE id < 10;
SELECT * FROM knn_index_recall('searched_young_v');
ROLLBACK;

-- who may ask: who may read the table, if its policies leave out no row
CREATE ROLE knn_recall_reader;
CREATE ROLE knn_recall_monitor IN ROLE pg_monitor;
SET ROLE knn_recall_reader;
SELECT rows FROM knn_index_recall('searched_ip');
RESET ROLE;
GRANT SELECT ON searched TO knn_recall_reader;
SET ROLE knn_recall_reader;
SELECT rows FROM knn_index_recall('searched_ip');
SET ROLE knn_recall_monitor;
SELECT rows FROM knn_index_recall('searched_ip');
RESET ROLE;
ALTER TABLE searched ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON searched USING (true);
SET ROLE knn_recall_reader;
SELECT rows FROM knn_index_recall('searched_ip');
SET ROLE knn_recall_monitor;
SELECT rows FROM knn_index_recall('searched_ip');
RESET ROLE;
SELECT rows FROM knn_index_recall('searched_ip');
ALTER TABLE searched OWNER TO knn_recall_reader;
SET ROLE knn_recall_reader;
SELECT rows FROM knn_index_recall('searched_ip');
ALTER TABLE searched FORCE ROW LEVEL SECURITY;
SELECT rows FROM knn_index_recall('searched_ip');
RESET ROLE;

-- expressions are evaluated as the table's owner
CREATE TABLE searched_owned (v knn_vector(2));
CREATE FUNCTION searched_who(v knn_vector) RETURNS knn_vector LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN IF current_user <> 'knn_recall_reader' THEN RAISE EXCEPTION 'evaluated by %', current_user; END IF; RETURN v; END $$;
INSERT INTO searched_owned VALUES ('[1,2]'), ('[2,1]');
ALTER TABLE searched_owned OWNER TO knn_recall_reader;
CREATE INDEX searched_owned_who ON searched_owned USING knn_hnsw ((searched_who(v)::knn_vector(2)));
SELECT recall, rows FROM knn_index_recall('searched_owned_who');
SELECT current_user = session_user AS back;

DROP TABLE searched, searched_parent, searched_owned, searched_young;
DROP FUNCTION searched_who(knn_vector);
DROP ROLE knn_recall_reader, knn_recall_monitor;
