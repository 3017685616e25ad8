-- Options of memory-optimized vectors: what they resolve to, and what they refuse.

CREATE TABLE items (v knn_vector(4), h knn_vector(4, 'half'), b knn_vector(4, 'byte'), bits knn_vector(32, 'binary'));
INSERT INTO items SELECT ARRAY[i, i % 7, i % 5, 1]::real[], ARRAY[i, i % 7, i % 5, 1]::real[] FROM generate_series(1, 50) i;
CREATE VIEW resolved AS SELECT array_to_string(c.reloptions, ' ') AS options, i.encoder,
	i.compression_level AS level, i.mode, i.store_vectors AS stored, i.ef_construction AS efc, i.ef_search AS efs, i.rows
FROM pg_class c, knn_index_info(c.oid) i
WHERE c.relam = (SELECT oid FROM pg_am WHERE amname = 'knn_hnsw') AND c.relkind = 'i' ORDER BY c.oid;
CREATE PROCEDURE drop_all() LANGUAGE plpgsql AS $$ BEGIN
	EXECUTE (SELECT 'DROP INDEX ' || string_agg(oid::regclass::text, ', ') FROM pg_class
		WHERE relam = (SELECT oid FROM pg_am WHERE amname = 'knn_hnsw') AND relkind = 'i'); END $$;

-- the default, and levels of 8 bits
CREATE INDEX none ON items USING knn_hnsw (v);
CREATE INDEX in_memory ON items USING knn_hnsw (v) WITH (mode = in_memory);
CREATE INDEX level_1 ON items USING knn_hnsw (v) WITH (compression_level = '1x');
CREATE INDEX level_4 ON items USING knn_hnsw (v) WITH (compression_level = '4x');
CREATE INDEX both_4 ON items USING knn_hnsw (v) WITH (mode = 'ON_DISK', compression_level = '4X');
CREATE INDEX flat ON items USING knn_hnsw (v) WITH (encoder = flat);
CREATE INDEX flat_1 ON items USING knn_hnsw (v) WITH (encoder = flat, compression_level = '1x');
CREATE INDEX sq_8 ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 8);
CREATE INDEX sq_7 ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 7, compression_level = '4x');
CREATE INDEX l1_4 ON items USING knn_hnsw (v knn_vector_l1_ops) WITH (compression_level = '4x');
CREATE INDEX linf_4 ON items USING knn_hnsw (v knn_vector_linf_ops) WITH (encoder = sq, bits = 8, ef_construction = 50, ef_search = 60);
CREATE INDEX stored ON items USING knn_hnsw (v) WITH (store_vectors = on);
SELECT * FROM resolved;
SET enable_seqscan = off;
SELECT v FROM items ORDER BY v <-> '[7,0,2,1]' LIMIT 1;
RESET enable_seqscan;
CALL drop_all();

-- levels and modes of float columns
CREATE INDEX ON items USING knn_hnsw (v) WITH (compression_level = '2x');
CREATE INDEX ON items USING knn_hnsw (v) WITH (compression_level = '8x');
CREATE INDEX ON items USING knn_hnsw (v) WITH (compression_level = '16x');
CREATE INDEX ON items USING knn_hnsw (v) WITH (compression_level = '32x');
CREATE INDEX ON items USING knn_hnsw (v) WITH (mode = on_disk);
CREATE INDEX ON items USING knn_hnsw (v) WITH (mode = on_disk, compression_level = '2x');
CREATE INDEX ON items USING knn_hnsw (v) WITH (mode = on_disk, compression_level = '16x');
CREATE INDEX ON items USING knn_hnsw (v) WITH (mode = in_memory, compression_level = '8x');
CREATE INDEX ON items USING knn_hnsw (v) WITH (mode = on_disk, ef_construction = 100);
CREATE INDEX ON items USING knn_hnsw (v knn_vector_cosine_ops) WITH (mode = on_disk, store_vectors = off);
CREATE INDEX ON items USING knn_hnsw (v) WITH (store_vectors = off);
SELECT * FROM resolved;
CALL drop_all();
-- encoders
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 16);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 16, type = fp16, clip = false);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 16, type = 'FP16', clip = on);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 16, compression_level = '2x');
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 1);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = binary);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = binary, bits = 1, random_rotation = true, enable_adc = true);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = binary, bits = 2, compression_level = '16x');
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = binary, bits = 4, mode = on_disk);
SELECT * FROM resolved;
CALL drop_all();
-- half columns: levels count against 16 bits
CREATE INDEX ON items USING knn_hnsw (h);
CREATE INDEX ON items USING knn_hnsw (h) WITH (compression_level = '2x', encoder = flat);
CREATE INDEX ON items USING knn_hnsw (h) WITH (compression_level = '2x');
CREATE INDEX ON items USING knn_hnsw (h knn_vector_l1_ops) WITH (compression_level = '2x');
CREATE INDEX ON items USING knn_hnsw (h) WITH (compression_level = '4x');
CREATE INDEX ON items USING knn_hnsw (h) WITH (compression_level = '8x');
CREATE INDEX ON items USING knn_hnsw (h) WITH (compression_level = '16x');
CREATE INDEX ON items USING knn_hnsw (h) WITH (mode = on_disk);
CREATE INDEX ON items USING knn_hnsw (h) WITH (store_vectors = off);
SELECT * FROM resolved;
CALL drop_all();
-- byte and binary columns
CREATE INDEX ON items USING knn_hnsw (b);
CREATE INDEX ON items USING knn_hnsw (b) WITH (store_vectors = off);
CREATE INDEX ON items USING knn_hnsw (b knn_vector_ip_ops) WITH (mode = in_memory, compression_level = '1x', encoder = flat);
CREATE INDEX ON items USING knn_hnsw (b knn_vector_cosine_ops);
CREATE INDEX ON items USING knn_hnsw (b knn_vector_l1_ops);
CREATE INDEX ON items USING knn_hnsw (b knn_vector_linf_ops);
CREATE INDEX ON items USING knn_hnsw (bits knn_vector_hamming_ops);
SELECT * FROM resolved;
CALL drop_all();

-- spaces and data types
CREATE INDEX ON items USING knn_hnsw (bits);
CREATE INDEX ON items USING knn_hnsw (bits knn_vector_cosine_ops);
CREATE INDEX ON items USING knn_hnsw (v knn_vector_hamming_ops);
CREATE INDEX ON items USING knn_hnsw (h knn_vector_hamming_ops);
CREATE INDEX ON items USING knn_hnsw (b knn_vector_hamming_ops);
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'knn_vector_hamming_ops';

-- values
CREATE INDEX ON items USING knn_hnsw (v) WITH (mode = 'fast');
CREATE INDEX ON items USING knn_hnsw (v) WITH (mode);
CREATE INDEX ON items USING knn_hnsw (v) WITH (compression_level = '64x');
CREATE INDEX ON items USING knn_hnsw (v) WITH (compression_level = 8);
CREATE INDEX ON items USING knn_hnsw (v) WITH (compression_level = '');
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = rabitq);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = pq);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = lvq);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = leanvec);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 0);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 32);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 16, type = bf16);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 16, clip = maybe);
CREATE INDEX ON items USING knn_hnsw (v) WITH (store_vectors = half);

-- encoders and their parameters
CREATE INDEX ON items USING knn_hnsw (v) WITH (bits = 4);
CREATE INDEX ON items USING knn_hnsw (v) WITH (bits = 4, compression_level = '8x');
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = flat, bits = 8);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = sq);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 4);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = binary, bits = 3);
CREATE INDEX ON items USING knn_hnsw (v) WITH (type = fp16);
CREATE INDEX ON items USING knn_hnsw (v) WITH (clip = on, compression_level = '2x');
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = flat, type = fp16);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = binary, clip = off);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 1, type = fp16);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 8, clip = true);
CREATE INDEX ON items USING knn_hnsw (v) WITH (random_rotation = on);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = sq, bits = 1, random_rotation = on);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = binary, random_rotation = false);
CREATE INDEX ON items USING knn_hnsw (v) WITH (enable_adc = on);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = flat, enable_adc = on);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = binary, enable_adc = false);
CREATE INDEX ON items USING knn_hnsw (v) WITH (encoder = binary, bits = 2, enable_adc = on);

-- levels, modes and encoders
CREATE INDEX ON items USING knn_hnsw (v) WITH (compression_level = '8x', encoder = sq, bits = 16);
CREATE INDEX ON items USING knn_hnsw (v) WITH (compression_level = '2x', encoder = sq, bits = 1);
CREATE INDEX ON items USING knn_hnsw (v) WITH (compression_level = '4x', encoder = flat);
CREATE INDEX ON items USING knn_hnsw (v) WITH (compression_level = '16x', encoder = binary);
CREATE INDEX ON items USING knn_hnsw (v) WITH (compression_level = '16x', encoder = binary, bits = 4);
CREATE INDEX ON items USING knn_hnsw (v) WITH (mode = on_disk, compression_level = '1x');
CREATE INDEX ON items USING knn_hnsw (v) WITH (mode = on_disk, encoder = flat);
CREATE INDEX ON items USING knn_hnsw (v) WITH (store_vectors = off, compression_level = '2x');
CREATE INDEX ON items USING knn_hnsw (v) WITH (store_vectors = off, encoder = sq, bits = 16);

-- spaces that cannot be rotated
CREATE INDEX ON items USING knn_hnsw (v knn_vector_l1_ops) WITH (compression_level = '8x');
CREATE INDEX ON items USING knn_hnsw (v knn_vector_l1_ops) WITH (mode = on_disk);
CREATE INDEX ON items USING knn_hnsw (v knn_vector_linf_ops) WITH (encoder = binary, bits = 4);
CREATE INDEX ON items USING knn_hnsw (h knn_vector_linf_ops) WITH (compression_level = '4x');

-- data types
CREATE INDEX ON items USING knn_hnsw (h) WITH (compression_level = '32x');
CREATE INDEX ON items USING knn_hnsw (h) WITH (encoder = sq, bits = 1);
CREATE INDEX ON items USING knn_hnsw (b) WITH (compression_level = '2x');
CREATE INDEX ON items USING knn_hnsw (b) WITH (mode = on_disk);
CREATE INDEX ON items USING knn_hnsw (b) WITH (encoder = sq, bits = 8);
CREATE INDEX ON items USING knn_hnsw (bits knn_vector_hamming_ops) WITH (compression_level = '32x');
CREATE INDEX ON items USING knn_hnsw (bits knn_vector_hamming_ops) WITH (mode = on_disk);
CREATE INDEX ON items USING knn_hnsw (bits knn_vector_hamming_ops) WITH (encoder = binary);

-- ALTER INDEX: contradictions are refused, the rest counts at the next build
CREATE INDEX i ON items USING knn_hnsw (v) WITH (compression_level = '4x', ef_search = 30);
ALTER INDEX i SET (encoder = flat);
ALTER INDEX i SET (mode = 'none');
ALTER INDEX i SET (bits = 8);
ALTER INDEX i SET (compression_level = '1x');
SELECT compression_level, ef_search FROM knn_index_info('i');
REINDEX INDEX i;
SELECT compression_level, ef_search FROM knn_index_info('i');
ALTER INDEX i RESET (ef_search);
SELECT compression_level, ef_search FROM knn_index_info('i');
ALTER INDEX i SET (compression_level = '32x');
SELECT compression_level, ef_search FROM knn_index_info('i');
REINDEX INDEX i;
ALTER INDEX i RESET (compression_level);
REINDEX INDEX i;
SELECT reloptions FROM pg_class WHERE relname = 'i';

-- an index of a partitioned table hands its options down
CREATE TABLE parent (id int, v knn_vector(3)) PARTITION BY RANGE (id);
CREATE TABLE child PARTITION OF parent FOR VALUES FROM (0) TO (10);
CREATE INDEX ON parent USING knn_hnsw (v) WITH (encoder = sq, bits = 8);
SELECT relname, reloptions FROM pg_class WHERE relname IN ('parent_v_idx', 'child_v_idx') ORDER BY 1;
SELECT compression_level FROM knn_index_info('child_v_idx');
CREATE UNLOGGED TABLE unlogged_items (v knn_vector(3));
CREATE INDEX ON unlogged_items USING knn_hnsw (v) WITH (mode = on_disk, compression_level = '4x');
SELECT compression_level, mode FROM knn_index_info('unlogged_items_v_idx');
CREATE INDEX ON unlogged_items USING knn_hnsw (v) WITH (mode = on_disk, encoder = flat);

-- settings
SHOW knn.rescore;
SET knn.rescore = on;
SHOW knn.rescore;
SET knn.rescore = false;
SHOW knn.rescore;
SET knn.rescore = maybe;
RESET knn.rescore;
SHOW knn.oversample_factor;
SET knn.oversample_factor = 1;
SET knn.oversample_factor = 2.5;
SET knn.oversample_factor = 100;
SET knn.oversample_factor = 0.5;
SET knn.oversample_factor = -1;
SET knn.oversample_factor = 100.5;
SET knn.oversample_factor = 'NaN';
SET knn.oversample_factor = 'wide';
SHOW knn.oversample_factor;
SET knn.oversample_factor = 0;
SHOW knn.oversample_factor;
RESET knn.oversample_factor;

DROP PROCEDURE drop_all();
DROP VIEW resolved;
DROP TABLE items, parent, unlogged_items;
