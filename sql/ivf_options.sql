-- knn_ivf: options and what they come to, recall of few lists, plans, and what
-- knn_index_info, knn_index_check and knn_index_recall tell

CREATE TABLE t (id int, v knn_vector(32));
-- clusters, so that lists have something to find
INSERT INTO t SELECT i, (SELECT array_agg(((c * 7919 * j) % 100) / 10.0 + ((i * 104729 * j) % 97) / 60.0) FROM generate_series(1::bigint, 32) j)::real[]
	FROM (SELECT i, (i * 31) % 40 AS c FROM generate_series(1::bigint, 4000) i) s;
VACUUM ANALYZE t;

-- recall of 5 of 40 lists, for each level
CREATE FUNCTION recalls(space text) RETURNS TABLE (level text, mode text, encoder text, store boolean, good boolean)
LANGUAGE plpgsql AS $$
BEGIN
	FOR level, store IN SELECT l, s FROM unnest('{1x,2x,4x,8x,16x,32x}'::text[]) l, unnest('{t,f}'::bool[]) s
		WHERE s OR l <> '2x'
	LOOP
		EXECUTE format('CREATE INDEX ti ON t USING knn_ivf (v knn_vector_%s_ops)
			WITH (nlist = 40, nprobes = 5, compression_level = %L, store_vectors = %L)', space, level, store::text);
		SELECT i.mode, i.encoder INTO mode, encoder FROM knn_index_info('ti') i;
		SELECT r.recall >= 0.8 AND r.nprobes = 5 AND r.ef_search IS NULL INTO good FROM knn_index_recall('ti', 50) r;
		PERFORM knn_index_check('ti', true);
		DROP INDEX ti;
		RETURN NEXT;
	END LOOP;
END $$;
SELECT * FROM recalls('l2');
SELECT encoder, count(*), bool_and(good) FROM recalls('cosine') GROUP BY encoder ORDER BY encoder;
SELECT encoder, count(*), bool_and(good) FROM recalls('ip') GROUP BY encoder ORDER BY encoder;
DROP FUNCTION recalls;
CREATE INDEX ti ON t USING knn_ivf (v knn_vector_l1_ops) WITH (nlist = 40);
SET knn.nprobes = 5;
SELECT recall >= 0.9 AS good, nprobes FROM knn_index_recall('ti', 50);
DROP INDEX ti;
CREATE INDEX ti ON t USING knn_ivf (v knn_vector_linf_ops) WITH (nlist = 40, nprobes = 5);
RESET knn.nprobes;
SELECT recall >= 0.9 AS good, nprobes FROM knn_index_recall('ti', 50);
DROP INDEX ti;

-- one list loses what two find, and all find everything
CREATE INDEX ti ON t USING knn_ivf (v) WITH (nlist = 100);
CREATE FUNCTION recall_of(n int) RETURNS float LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('knn.nprobes', n::text, false);
	RETURN (SELECT recall FROM knn_index_recall('ti', 200));
END $$;
SELECT recall_of(1) < recall_of(10) AS more, recall_of(10) >= 0.95 AS most, recall_of(100) >= 0.999 AS all;
DROP FUNCTION recall_of;
-- rescoring: a first pass of fixed size, or none
SET knn.rescore = on;
SELECT recall >= 0.99 AS good FROM knn_index_recall('ti', 50);
SET knn.oversample_factor = 3;
SELECT recall >= 0.99 AS good FROM knn_index_recall('ti', 50);
RESET knn.oversample_factor;
SET knn.rescore = off;
SELECT recall >= 0.9 AS good FROM knn_index_recall('ti', 50);
SET enable_seqscan = off;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t ORDER BY v <-> array_fill(1, '{32}')::knn_vector) s;
SET knn.rescore = on;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM t ORDER BY v <-> array_fill(1, '{32}')::knn_vector) s;
RESET knn.rescore;
RESET knn.nprobes;

-- what it is
SELECT method, space_type, data_type, dimension, m, ef_construction, ef_search, nlist, nprobes, lists, encoder,
	compression_level, mode, store_vectors, rows, nodes, duplicates, tombstones, entry_point, level_nodes, mean_degree,
	centre_drift, upper_bytes, chain_bytes FROM knn_index_info('ti');
SELECT longest_list BETWEEN 40 AND 1000 AS longest, index_bytes = meta_bytes + block_bytes + list_bytes + vector_bytes + centre_bytes + unused_bytes AS sum,
	tid_bytes, links_bytes, code_bytes, memory_bytes > 4000 * 32 AND memory_bytes < 2 * 4000 * 100 + 100 * 8192 * 2 AS memory, estimated_memory FROM knn_index_info('ti');
CREATE TABLE gone AS SELECT * FROM t WHERE id % 4 = 0;
DELETE FROM t WHERE id % 4 = 0;
VACUUM t;
SELECT rows, nodes, tombstones, tombstone_share FROM knn_index_info('ti');
SELECT pg_relation_size('ti') AS size \gset
INSERT INTO t SELECT * FROM gone;
SELECT rows, nodes, tombstones, pg_relation_size('ti') = :size AS not_grown FROM knn_index_info('ti');
DROP TABLE gone;
SELECT knn_index_check('ti', true);
SELECT knn_index_check('ti', true, true);
-- rows unlike those of the build: they are far from the centroids, with codes and without
CREATE TABLE moved (id int, v knn_vector(4), b knn_vector(4, 'byte'));
INSERT INTO moved SELECT i, ARRAY[i % 10, i % 7, i % 9, 1]::real[], ARRAY[i % 10, i % 7, i % 9, 1]::real[] FROM generate_series(1, 2000) i;
CREATE INDEX moved_v ON moved USING knn_ivf (v) WITH (nlist = 20);
CREATE INDEX moved_32x ON moved USING knn_ivf (v) WITH (nlist = 20, compression_level = '32x');
CREATE INDEX moved_bare ON moved USING knn_ivf (v knn_vector_l1_ops) WITH (nlist = 20, store_vectors = off);
CREATE INDEX moved_byte ON moved USING knn_ivf (b knn_vector_cosine_ops) WITH (nlist = 20);
CREATE INDEX moved_hnsw ON moved USING knn_hnsw (v);
CREATE INDEX moved_none ON moved USING knn_ivf (v) WITH (nlist = 20) WHERE id > 2000;
-- of bytes, told by block, it is 2 to 3 as the seed has it
CREATE VIEW drifts AS SELECT c AS index, i.list_drift = 0 AS none,
	i.list_drift > CASE i.data_type WHEN 'byte' THEN 1.5 ELSE 2 END AS much
	FROM unnest('{moved_v,moved_32x,moved_bare,moved_byte,moved_hnsw,moved_none}'::regclass[]) c, knn_index_info(c) i;
SELECT * FROM drifts;
INSERT INTO moved SELECT i, ARRAY[90 + i % 10, i % 7, i % 9, 1]::real[], ARRAY[-(i % 10), -(i % 7), -90, 1]::real[] FROM generate_series(2001, 4000) i;
SELECT * FROM drifts;
REINDEX TABLE moved;
SELECT * FROM drifts;
DROP VIEW drifts;
DROP TABLE moved;

-- nprobes is changed without a rebuild, nlist with
ALTER INDEX ti SET (nprobes = 7, nlist = 50);
SELECT nlist, nprobes FROM knn_index_info('ti');
REINDEX INDEX ti;
SELECT nlist, nprobes, lists FROM knn_index_info('ti');
ALTER INDEX ti RESET (nprobes);
SELECT nlist, nprobes, lists FROM knn_index_info('ti');

-- the plan, and a filter
EXPLAIN (COSTS OFF) SELECT id FROM t ORDER BY v <-> array_fill(1, '{32}')::knn_vector LIMIT 3;
SELECT count(*) FROM (SELECT id FROM t WHERE id % 100 = 1 ORDER BY v <-> array_fill(1, '{32}')::knn_vector LIMIT 30) s;
SET knn.max_scan_tuples = 100;
SELECT count(*) < 30 AS fewer FROM (SELECT id FROM t WHERE id % 100 = 1 ORDER BY v <-> array_fill(1, '{32}')::knn_vector LIMIT 30) s;
RESET knn.max_scan_tuples;
-- more lists cost more
CREATE FUNCTION price(q text) RETURNS float LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
	EXECUTE 'EXPLAIN (FORMAT json) ' || q INTO plan;
	RETURN plan->0->'Plan'->>'Total Cost';
END $$;
SET knn.nprobes = 2;
SELECT price('SELECT id FROM t ORDER BY v <-> array_fill(1, ''{32}'')::knn_vector LIMIT 3') AS two \gset
SET knn.nprobes = 20;
SELECT price('SELECT id FROM t ORDER BY v <-> array_fill(1, ''{32}'')::knn_vector LIMIT 3') > :two AS dearer;
RESET knn.nprobes;
DROP FUNCTION price;
DROP INDEX ti;

-- an index of no rows has no lists, its first row makes one
CREATE TABLE e (id int, v knn_vector(4));
CREATE INDEX ei ON e USING knn_ivf (v) WITH (nlist = 3);
SELECT rows, lists, longest_list FROM knn_index_info('ei');
SELECT id FROM e ORDER BY v <-> '[1,1,1,1]' LIMIT 1;
SELECT knn_index_check('ei', true);
INSERT INTO e SELECT i, ARRAY[i, i % 7, 0, 1]::real[] FROM generate_series(1, 1000) i;
SELECT rows, lists, longest_list FROM knn_index_info('ei');
SELECT id FROM e ORDER BY v <-> '[500,3,0,1]' LIMIT 1;
SELECT knn_index_check('ei', true);
DELETE FROM e;
VACUUM e;
SELECT rows, lists, tombstones FROM knn_index_info('ei');
INSERT INTO e VALUES (1, '[1,2,3,4]'), (2, '[2,2,2,2]');
SELECT id FROM e ORDER BY v <-> '[1,2,3,3]' LIMIT 2;
-- fewer vectors than lists
REINDEX INDEX ei;
SELECT rows, lists FROM knn_index_info('ei');
SELECT id FROM e ORDER BY v <-> '[1,2,3,3]' LIMIT 2;
DROP TABLE e;

-- values and combinations that are none
CREATE INDEX ON t USING knn_ivf (v) WITH (nlist = 0);
CREATE INDEX ON t USING knn_ivf (v) WITH (nlist = 20000);
CREATE INDEX ON t USING knn_ivf (v) WITH (nlist = many);
CREATE INDEX ON t USING knn_ivf (v) WITH (nprobes = 0);
CREATE INDEX ON t USING knn_ivf (v) WITH (nprobes = 20000);
CREATE INDEX ON t USING knn_ivf (v) WITH (m = 16);
CREATE INDEX ON t USING knn_ivf (v) WITH (model_id = 'a');
CREATE INDEX ON t USING knn_ivf (v) WITH (encoder = pq);
CREATE INDEX ON t USING knn_ivf (v) WITH (encoder = sq);
CREATE INDEX ON t USING knn_ivf (v) WITH (encoder = binary, bits = 8);
CREATE INDEX ON t USING knn_ivf (v) WITH (encoder = flat, compression_level = '8x');
CREATE INDEX ON t USING knn_ivf (v) WITH (compression_level = '3x');
CREATE INDEX ON t USING knn_ivf (v) WITH (mode = on_disk, compression_level = '1x');
CREATE INDEX ON t USING knn_ivf (v knn_vector_l1_ops) WITH (compression_level = '32x');
CREATE INDEX ON t USING knn_ivf (v knn_vector_hamming_ops);
CREATE INDEX ON t USING knn_ivf (v, id);
CREATE UNIQUE INDEX ON t USING knn_ivf (v);
CREATE INDEX ON t USING knn_ivf ((v::knn_vector));
SET knn.nprobes = -1;
SET knn.nprobes = 20000;
-- lists that memory has no room for
SET maintenance_work_mem = '1MB';
CREATE INDEX ON t USING knn_ivf (v) WITH (nlist = 19999);
-- little memory is enough for few lists
CREATE INDEX ti ON t USING knn_ivf (v) WITH (nlist = 20, nprobes = 20);
SELECT recall >= 0.999 AS good FROM knn_index_recall('ti', 50);
RESET maintenance_work_mem;
-- encoders
DO $$
DECLARE
	options text;
	answer text;
BEGIN
	FOREACH options IN ARRAY '{"encoder = flat","encoder = sq, bits = 16","encoder = sq, bits = 8","encoder = sq, bits = 1","encoder = binary","encoder = binary, bits = 2","encoder = binary, bits = 4","mode = on_disk","mode = in_memory, compression_level = ''16x''"}'::text[] LOOP
		EXECUTE 'CREATE INDEX tj ON t USING knn_ivf (v) WITH (' || options || ')';
		SELECT i.encoder || ', ' || i.compression_level || coalesce(', ' || i.mode, '') INTO answer FROM knn_index_info('tj') i;
		DROP INDEX tj;
		RAISE INFO '%: %', options, answer;
	END LOOP;
END $$;

-- the operator classes are sound
SELECT opcname, amvalidate(c.oid) FROM pg_opclass c JOIN pg_am a ON a.oid = opcmethod WHERE amname = 'knn_ivf' ORDER BY 1;
SELECT pg_index_column_has_property('ti'::regclass, 1, 'distance_orderable') AS ordered, pg_indexam_has_property(oid, 'can_unique') AS is_unique
	FROM pg_am WHERE amname = 'knn_ivf';
DROP TABLE t;
RESET enable_seqscan;
