-- The examples of OpenSearch's page on memory-optimized vectors, in SQL.  Where the
-- page shows a response its scores are checked; knn_score gives them.
SET enable_seqscan = off;

-- mode on_disk
CREATE TABLE test_index (my_vector knn_vector(3));
CREATE INDEX test_index_on_disk ON test_index USING knn_hnsw (my_vector knn_vector_l2_ops) WITH (mode = on_disk);
-- and a compression level in place of its default
CREATE INDEX test_index_16x ON test_index USING knn_hnsw (my_vector knn_vector_l2_ops) WITH (mode = on_disk, compression_level = '16x');
SELECT space_type, data_type, dimension, mode, compression_level, encoder FROM knn_index_info('test_index_on_disk');
SELECT space_type, data_type, dimension, mode, compression_level, encoder FROM knn_index_info('test_index_16x');
-- default levels of the modes
CREATE INDEX test_index_in_memory ON test_index USING knn_hnsw (my_vector) WITH (mode = in_memory);
SELECT compression_level FROM knn_index_info('test_index_in_memory');
-- the level and the encoder say the same: one of them is enough
CREATE INDEX ON test_index USING knn_hnsw (my_vector) WITH (compression_level = '32x', encoder = sq, bits = 16);

-- rescoring
CREATE TABLE my_vector_index (id int, target_field knn_vector(4));
CREATE INDEX ON my_vector_index USING knn_hnsw (target_field) WITH (mode = on_disk);
INSERT INTO my_vector_index SELECT i, ARRAY[i % 5, i / 5 % 5, 5, i / 25 + 4]::real[] FROM generate_series(0, 99) i;
BEGIN;
SET LOCAL knn.oversample_factor = 1.2;
SELECT id, target_field, knn_score('l2', target_field <-> '[2,3,5,6]') AS score
FROM my_vector_index ORDER BY target_field <-> '[2,3,5,6]' LIMIT 1;
SELECT round(knn_score('l2', target_field <-> '[2,3,5,6]')::numeric, 4) AS score
FROM my_vector_index ORDER BY target_field <-> '[2,3,5,6]' LIMIT 2;
COMMIT;
BEGIN;
SET LOCAL knn.rescore = true;
SELECT round(knn_score('l2', target_field <-> '[2,3,5,6]')::numeric, 4) AS score
FROM my_vector_index ORDER BY target_field <-> '[2,3,5,6]' LIMIT 2;
COMMIT;
-- from 1 to 100
SET knn.oversample_factor = 0.9;
SET knn.oversample_factor = 100.1;

-- byte vectors
CREATE TABLE byte_index (id int PRIMARY KEY, my_vector knn_vector(3, 'byte'));
CREATE INDEX byte_index_v ON byte_index USING knn_hnsw (my_vector knn_vector_l2_ops) WITH (m = 16, ef_construction = 100, ef_search = 100);
INSERT INTO byte_index VALUES (1, '[-126, 28, 127]'), (2, '[100, -128, 0]');
SELECT id, my_vector, knn_score('l2', my_vector <-> '[26, -120, 99]') AS score, 1 / 15342.0::float8 AS two, 1 / 45793.0::float8 AS one
FROM byte_index ORDER BY my_vector <-> '[26, -120, 99]' LIMIT 2;
INSERT INTO byte_index VALUES (3, '[-129, 28, 127]');
-- the documents of its example of ivf: answers do not depend on the method
CREATE TABLE test_byte (id int PRIMARY KEY, my_vector knn_vector(4, 'byte'));
CREATE INDEX ON test_byte USING knn_hnsw (my_vector);
INSERT INTO test_byte VALUES (1, '[7, 10, 15, -120]'), (2, '[10, -100, 120, -108]'), (3, '[1, -2, 5, -50]'),
	(4, '[9, -7, 45, -78]'), (5, '[80, -70, 127, -128]');
SELECT id, my_vector <-> '[100, -120, 50, -45]' AS distance, knn_score('l2', my_vector <-> '[100, -120, 50, -45]') AS score
FROM test_byte ORDER BY my_vector <-> '[100, -120, 50, -45]' LIMIT 2;
-- memory: 1.1 * (256 + 8 * 16) * 1,000,000 ~= 0.39 GB
SELECT knn_estimate_memory('hnsw', 256, 1000000, 'byte') / 1024.0 ^ 3 AS gb;

-- binary vectors
CREATE TABLE test_binary_hnsw (id int PRIMARY KEY, my_vector knn_vector(8, 'binary'), price real);
CREATE INDEX ON test_binary_hnsw USING knn_hnsw (my_vector knn_vector_hamming_ops);
INSERT INTO test_binary_hnsw VALUES (1, '[7]', 4.4), (2, '[10]', 14.2), (3, '[15]', 19.1), (4, '[99]', 1.2), (5, '[80]', 16.5);
-- 9 is 00001001: two bits from 10 and from 15, so both score 1 / (1 + 2)
SELECT array_agg(id ORDER BY id) AS ids, array_agg(round(score::numeric, 4)) AS scores FROM
	(SELECT id, knn_score('hamming', my_vector <~> '[9]') AS score FROM test_binary_hnsw ORDER BY my_vector <~> '[9]' LIMIT 2) s;
-- the response that the page shows, 10 with 0.5 and 80 with 0.25, is that of 8 (where 15 is as near as 80)
SELECT id, my_vector, price, knn_score('hamming', my_vector <~> '[8]') AS score
FROM test_binary_hnsw WHERE id <> 3 ORDER BY my_vector <~> '[8]' LIMIT 2;
-- the bits 01100011 are the byte 99
SELECT id FROM test_binary_hnsw ORDER BY my_vector <~> B'01100011'::knn_vector LIMIT 1;
-- requirements: hamming, and a multiple of 8
CREATE INDEX ON test_binary_hnsw USING knn_hnsw (my_vector knn_vector_l2_ops);
CREATE TABLE odd (v knn_vector(12, 'binary'));
-- memory: a bit a dimension
SELECT knn_estimate_memory('hnsw', 256, 1000000, 'binary') / 1024.0 ^ 3 AS gb;

DROP TABLE test_index, my_vector_index, byte_index, test_byte, test_binary_hnsw;
