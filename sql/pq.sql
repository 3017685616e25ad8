-- Encoder pq, trained by the build: both methods, all spaces, inserts, vacuum.

CREATE TABLE t (id int PRIMARY KEY, v knn_vector(16), h knn_vector(16, 'half'), b knn_vector(16, 'byte'));
INSERT INTO t
	SELECT i, a, a, (SELECT array_agg(round(e * 50)) FROM unnest(a) e)::real[]
	FROM (SELECT i, ARRAY(SELECT sin(i * j)::real FROM generate_series(1, 16) j) AS a
		FROM generate_series(1, 2000) i) s;

CREATE INDEX t_ivf ON t USING knn_ivf (v) WITH (nlist = 20, nprobes = 10, encoder = pq, pq_m = 8);
SELECT encoder, pq_m, code_size, model_id, compression_level FROM knn_index_info('t_ivf');
SELECT knn_index_check('t_ivf', true);
SELECT recall > 0.95 AS good FROM knn_index_recall('t_ivf');
SET knn.rescore = off;
SELECT recall > 0.4 AS good, recall < 0.999 AS lossy FROM knn_index_recall('t_ivf');
RESET knn.rescore;
SET enable_seqscan = off;
SELECT id % 10000 AS id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = 77) LIMIT 3;
INSERT INTO t SELECT 10000 + id, v, h, b FROM t WHERE id <= 300;
DELETE FROM t WHERE id % 3 = 0;
VACUUM t;
INSERT INTO t SELECT 20000 + id, v, h, b FROM t WHERE id <= 300;
SELECT knn_index_check('t_ivf', true);
SELECT id % 10000 AS id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = 77) LIMIT 3;
DROP INDEX t_ivf;

CREATE INDEX t_hnsw ON t USING knn_hnsw (v) WITH (encoder = pq, pq_m = 8);
SELECT encoder, pq_m, code_size, compression_level, ef_search FROM knn_index_info('t_hnsw');
SELECT knn_index_check('t_hnsw', true);
SELECT recall > 0.95 AS good FROM knn_index_recall('t_hnsw');
INSERT INTO t SELECT 30000 + id, ARRAY(SELECT cos(id * j)::real FROM generate_series(1, 16) j), h, b FROM t WHERE id <= 300;
SELECT recall > 0.95 AS good FROM knn_index_recall('t_hnsw');
DELETE FROM t WHERE id % 5 = 0;
VACUUM t;
SELECT knn_index_check('t_hnsw', true);
DROP INDEX t_hnsw;

-- code sizes, spaces, data types, no vectors in the index
CREATE FUNCTION good(method text, opclass text, options text, col text DEFAULT 'v') RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE answer boolean;
BEGIN
	EXECUTE format('CREATE INDEX t_idx ON t USING %s (%s %s) WITH (%s)', method, col, opclass, options);
	PERFORM knn_index_check('t_idx', true);
	SELECT recall > 0.9 INTO answer FROM knn_index_recall('t_idx', 50);
	DROP INDEX t_idx;
	RETURN answer;
END $$;
SELECT bits, good('knn_ivf', 'knn_vector_l2_ops',
	format('nlist = 10, nprobes = 10, encoder = pq, pq_m = 8, code_size = %s', bits))
FROM generate_series(1, 8) bits;
SELECT o, good('knn_ivf', o, 'nlist = 10, nprobes = 10, encoder = pq, pq_m = 4'),
	good('knn_hnsw', o, 'encoder = pq, pq_m = 8')
FROM unnest('{knn_vector_l2_ops,knn_vector_ip_ops,knn_vector_cosine_ops}'::text[]) o;
SELECT good('knn_ivf', 'knn_vector_cosine_ops', 'nlist = 10, nprobes = 10, encoder = pq, pq_m = 4, code_size = 6', 'h'),
	good('knn_hnsw', 'knn_vector_l2_ops', 'encoder = pq, pq_m = 8, store_vectors = off', 'h'),
	good('knn_ivf', 'knn_vector_l2_ops', 'nlist = 10, nprobes = 10, encoder = pq, pq_m = 16, compression_level = ''4x'', store_vectors = off');

-- what does not go together
CREATE INDEX ON t USING knn_ivf (v) WITH (encoder = pq);
CREATE INDEX ON t USING knn_ivf (v) WITH (encoder = pq, pq_m = 3);
CREATE INDEX ON t USING knn_ivf (v) WITH (encoder = pq, pq_m = 0);
CREATE INDEX ON t USING knn_ivf (v) WITH (encoder = pq, pq_m = 4, code_size = 9);
CREATE INDEX ON t USING knn_ivf (v) WITH (encoder = pq, pq_m = 4, bits = 8);
CREATE INDEX ON t USING knn_hnsw (v) WITH (encoder = pq, pq_m = 4, code_size = 4);
CREATE INDEX ON t USING knn_ivf (v) WITH (encoder = pq, pq_m = 4, compression_level = '8x');
CREATE INDEX ON t USING knn_ivf (v) WITH (pq_m = 4);
CREATE INDEX ON t USING knn_ivf (v) WITH (code_size = 4, encoder = flat);
CREATE INDEX ON t USING knn_ivf (b) WITH (encoder = pq, pq_m = 4);
CREATE INDEX ON t USING knn_ivf (v knn_vector_l1_ops) WITH (encoder = pq, pq_m = 4);
CREATE INDEX ON t USING knn_ivf (v) WITH (model_id = 'no such model');
CREATE INDEX ON t USING knn_ivf (v) WITH (model_id = 'm', nlist = 4);
CREATE INDEX ON t USING knn_hnsw (v) WITH (model_id = 'm', m = 4);
CREATE INDEX ON t USING knn_hnsw (v) WITH (model_id = 'm', encoder = flat);

-- nothing to learn from: codes of 8 bits until it is rebuilt
CREATE TABLE few (v knn_vector(16));
CREATE INDEX few_hnsw ON few USING knn_hnsw (v) WITH (encoder = pq, pq_m = 8);
INSERT INTO few SELECT v FROM t LIMIT 1000;
SELECT encoder, pq_m, compression_level FROM knn_index_info('few_hnsw');
REINDEX INDEX few_hnsw;
SELECT encoder, pq_m, compression_level FROM knn_index_info('few_hnsw');
SELECT knn_index_check('few_hnsw', true);
DROP TABLE t, few;
DROP FUNCTION good;
