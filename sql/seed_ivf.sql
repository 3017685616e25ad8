-- The examples of OpenSearch's page on memory-optimized vectors that use ivf, in SQL.
-- There a model is trained on an index of training data; here the build learns the
-- lists from the rows the table has by then, which are deleted afterwards.
SET enable_seqscan = off;

-- byte vectors: one list
CREATE TABLE test_byte_ivf (id int, my_vector knn_vector(4, 'byte'));
INSERT INTO test_byte_ivf VALUES (-1, '[127, 100, 0, -120]'), (-2, '[2, -128, -10, 50]'), (-3, '[13, -100, 5, 126]'), (-4, '[5, 100, -6, -125]');
CREATE INDEX test_byte_ivf_v ON test_byte_ivf USING knn_ivf (my_vector knn_vector_l2_ops) WITH (nlist = 1, nprobes = 1);
DELETE FROM test_byte_ivf;
VACUUM test_byte_ivf;
INSERT INTO test_byte_ivf VALUES (1, '[7, 10, 15, -120]'), (2, '[10, -100, 120, -108]'), (3, '[1, -2, 5, -50]'),
	(4, '[9, -7, 45, -78]'), (5, '[80, -70, 127, -128]');
SELECT method, space_type, data_type, dimension, nlist, nprobes, lists FROM knn_index_info('test_byte_ivf_v');
SELECT knn_index_check('test_byte_ivf_v', true);
EXPLAIN (COSTS OFF) SELECT id FROM test_byte_ivf ORDER BY my_vector <-> '[100, -120, 50, -45]' LIMIT 2;
SELECT id, my_vector, my_vector <-> '[100, -120, 50, -45]' AS distance, knn_score('l2', my_vector <-> '[100, -120, 50, -45]') AS score
FROM test_byte_ivf ORDER BY my_vector <-> '[100, -120, 50, -45]' LIMIT 2;
-- memory: 1.1 * ((256 * 1,000,000) + (4 * 128 * 256)) ~= 0.27 GB
SELECT knn_estimate_memory('ivf', 256, 1000000, 'byte', nlist => 128) / 1024.0 ^ 3 AS gb;

-- binary vectors: 16 lists, learnt from the numbers 1 to 40
CREATE TABLE test_binary_ivf (id int, my_vector knn_vector(8, 'binary'), price real);
INSERT INTO test_binary_ivf SELECT -i, ARRAY[i]::knn_vector FROM generate_series(1, 40) i;
CREATE INDEX test_binary_ivf_v ON test_binary_ivf USING knn_ivf (my_vector knn_vector_hamming_ops) WITH (nlist = 16, nprobes = 1);
DELETE FROM test_binary_ivf;
VACUUM test_binary_ivf;
INSERT INTO test_binary_ivf VALUES (1, '[7]', 4.4), (2, '[10]', 14.2), (3, '[15]', 19.1), (4, '[99]', 1.2), (5, '[80]', 16.5);
SELECT method, space_type, data_type, dimension, nlist, nprobes, lists FROM knn_index_info('test_binary_ivf_v');
SELECT knn_index_check('test_binary_ivf_v', true);
-- when one list has too few rows, more are read
SELECT count(*) FROM (SELECT id FROM test_binary_ivf ORDER BY my_vector <~> '[8]' LIMIT 2) s;
-- which rows are in one list is up to the training; all lists have the response of the
-- page, 10 with 0.5 and 15 with 0.25
SET knn.nprobes = 16;
SELECT id, my_vector, price, knn_score('hamming', my_vector <~> '[8]') AS score
FROM test_binary_ivf ORDER BY my_vector <~> '[8]' LIMIT 1;
SELECT round(knn_score('hamming', my_vector <~> '[8]')::numeric, 4) AS score
FROM test_binary_ivf ORDER BY my_vector <~> '[8]' LIMIT 2;
-- 80 is as near as 15
SELECT id, my_vector, price, knn_score('hamming', my_vector <~> '[8]') AS score
FROM test_binary_ivf WHERE id <> 5 ORDER BY my_vector <~> '[8]' LIMIT 2;
RESET knn.nprobes;
-- memory: 1.1 * (((256 / 8) * 1,000,000) + (128 * 256 / 8))
SELECT knn_estimate_memory('ivf', 256, 1000000, 'binary', nlist => 128) AS bytes,
	1.1 * (256 / 8 * 1000000 + 128 * 256 / 8) AS formula;

DROP TABLE test_byte_ivf, test_binary_ivf;
RESET enable_seqscan;
