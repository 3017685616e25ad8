-- what an index is
CREATE TABLE info (id int, v knn_vector(4));
CREATE INDEX info_l2 ON info USING knn_hnsw (v) WITH (m = 8, ef_construction = 40, ef_search = 50);
\x on
SELECT * FROM knn_index_info('info_l2');

-- filled by inserts: 40 vectors, of which 10 have 9 rows more
INSERT INTO info SELECT i, ARRAY[i, i % 7, i % 5, 1]::real[] FROM generate_series(1, 40) i;
INSERT INTO info SELECT 100 * n + i, ARRAY[i, i % 7, i % 5, 1]::real[] FROM generate_series(1, 10) i, generate_series(1, 9) n;
INSERT INTO info VALUES (1000, NULL);
SELECT rows, nodes, duplicates, tombstones, unwritten_ids, entry_point IS NOT NULL AS has_entry,
	(SELECT sum(n) FROM unnest(level_nodes) n) AS in_levels, mean_degree > 4 AS linked,
	round(centre_drift::numeric, 2) AS centre_drift,
	index_bytes = meta_bytes + tid_bytes + links_bytes + code_bytes + vector_bytes + upper_bytes + chain_bytes + centre_bytes + unused_bytes AS adds_up,
	index_bytes = pg_relation_size('info_l2') AS size, tid_bytes, links_bytes, code_bytes, vector_bytes, chain_bytes, centre_bytes
FROM knn_index_info('info_l2');

-- memory: links of 8 m + 8 bytes, tid of 24, code of 12 + dim; and OpenSearch's 1.1 * (4 dim + 8 m)
SELECT memory_bytes = (nodes + unwritten_ids) * (8 * m + 8 + 24 + 12 + dimension) AS memory,
	estimated_memory = knn_estimate_memory('hnsw', dimension, rows, m => m) AS estimate
FROM knn_index_info('info_l2');

-- tombstones: nodes that have lost their last row
DELETE FROM info WHERE id <= 20 OR id BETWEEN 100 AND 399;
VACUUM info;
SELECT rows, nodes, duplicates, tombstones, tombstone_share FROM knn_index_info('info_l2');
ALTER INDEX info_l2 SET (ef_search = 70);
REINDEX INDEX info_l2;
SELECT ef_search, rows, nodes, duplicates, tombstones, tombstone_share, unused_bytes, centre_drift, centre_bytes FROM knn_index_info('info_l2');

-- the vectors move away from the centre of the build
DELETE FROM info WHERE id < 1000;
INSERT INTO info SELECT i, ARRAY[10000 + i, i % 7, i % 5, 1]::real[] FROM generate_series(1, 100) i;
VACUUM info;
SELECT rows, round(centre_drift::numeric, 3) AS centre_drift FROM knn_index_info('info_l2');

-- every space
CREATE INDEX info_ip ON info USING knn_hnsw (v knn_vector_ip_ops);
CREATE INDEX info_cosine ON info USING knn_hnsw (v knn_vector_cosine_ops);
CREATE INDEX info_l1 ON info USING knn_hnsw (v knn_vector_l1_ops);
CREATE INDEX info_linf ON info USING knn_hnsw (v knn_vector_linf_ops) WHERE id % 2 = 0;
\x off
SELECT i.space_type, i.encoder, i.rows, round(i.centre_drift::numeric, 3) AS centre_drift
FROM unnest('{info_ip,info_cosine,info_l1,info_linf}'::regclass[]) c, knn_index_info(c) i;

-- every data type, and fewer bits
CREATE TABLE info_types (f knn_vector(16), h knn_vector(16, 'half'), b knn_vector(16, 'byte'), bits knn_vector(128, 'binary'));
INSERT INTO info_types SELECT v, v, v, v FROM generate_series(1, 20) i,
	LATERAL (SELECT array_agg((i * j) % 100 - 50)::real[] AS v FROM generate_series(1, 16) j) s;
CREATE INDEX info_f ON info_types USING knn_hnsw (f) WITH (mode = on_disk);
CREATE INDEX info_f_2 ON info_types USING knn_hnsw (f) WITH (compression_level = '2x', m = 32);
CREATE INDEX info_f_none ON info_types USING knn_hnsw (f) WITH (store_vectors = off, mode = in_memory);
CREATE INDEX info_h ON info_types USING knn_hnsw (h) WITH (mode = on_disk);
CREATE INDEX info_h_none ON info_types USING knn_hnsw (h) WITH (compression_level = '4x', store_vectors = off);
CREATE INDEX info_b ON info_types USING knn_hnsw (b);
CREATE INDEX info_bits ON info_types USING knn_hnsw (bits knn_vector_hamming_ops);
SELECT c, i.data_type AS type, encoder, compression_level AS level, mode, store_vectors AS stored, memory_bytes, estimated_memory,
	estimated_memory = knn_estimate_memory('hnsw', dimension, rows, data_type, compression_level, m => m) AS same,
	vector_bytes
FROM unnest('{info_f,info_f_2,info_f_none,info_h,info_h_none,info_b,info_bits}'::regclass[]) c, knn_index_info(c) i;
DROP TABLE info_types;

-- what is no index of ours
SELECT * FROM knn_index_info('info');
CREATE INDEX info_id ON info (id);
SELECT * FROM knn_index_info('info_id');
SELECT * FROM knn_index_info(0);
SELECT knn_index_info(NULL) IS NULL AS none;
CREATE TABLE info_parent (id int, v knn_vector(3)) PARTITION BY RANGE (id);
CREATE TABLE info_child PARTITION OF info_parent FOR VALUES FROM (0) TO (10);
CREATE INDEX info_parent_v ON info_parent USING knn_hnsw (v);
SELECT * FROM knn_index_info('info_parent_v');
SELECT rows FROM knn_index_info('info_child_v_idx');

-- who may ask
CREATE ROLE knn_info_reader;
CREATE ROLE knn_info_monitor IN ROLE pg_monitor;
SET ROLE knn_info_reader;
SELECT rows FROM knn_index_info('info_l2');
RESET ROLE;
GRANT SELECT ON info TO knn_info_reader;
SET ROLE knn_info_reader;
SELECT rows FROM knn_index_info('info_l2');
SET ROLE knn_info_monitor;
SELECT rows FROM knn_index_info('info_l2');
RESET ROLE;
DROP TABLE info, info_parent;
DROP ROLE knn_info_reader, knn_info_monitor;
