-- knn_estimate_memory: the formulas of OpenSearch's documentation, whose examples
-- give GB of 2^30 bytes.  Parts of bytes are rounded up.

-- 1.1 * (256 + 8 * 16) * 1,000,000 = 422,400,000, "0.39 GB"
SELECT n, round(n / 2.0 ^ 30, 4) AS gb FROM knn_estimate_memory('hnsw', 256, 1000000, 'byte', m => 16) n;
-- 1.1 * (256 * 1,000,000 + 4 * 128 * 256) = 281,744,179.2, "0.27 GB"
SELECT n, round(n / 2.0 ^ 30, 4) AS gb FROM knn_estimate_memory('ivf', 256, 1000000, 'byte', nlist => 128) n;
-- 1.1 * (4 * 256 + 8 * 16) * 1,000,000 = 1,267,200,000
SELECT knn_estimate_memory('hnsw', 256, 1000000);
-- 1.1 * (2 * 256 + 8 * 16) * 1,000,000 = 704,000,000
SELECT knn_estimate_memory('hnsw', 256, 1000000, 'half');
-- 1.1 * (256 / 8 + 8 * 16) * 1,000,000 = 176,000,000
SELECT knn_estimate_memory('hnsw', 256, 1000000, 'binary');
-- 1.1 * (4 * 256 * 1,000,000 + 4 * 128 * 256) = 1,126,544,179.2
SELECT knn_estimate_memory('ivf', 256, 1000000, nlist => 128);
-- 1.1 * (256 / 8 * 1,000,000 + 128 * 256 / 8) = 35,204,505.6
SELECT knn_estimate_memory('ivf', 256, 1000000, 'binary', nlist => 128);
-- 4 lists unless told: 1.1 * (4 * 256 * 1,000,000 + 4 * 4 * 256) = 1,126,404,505.6
SELECT knn_estimate_memory('ivf', 256, 1000000);

-- levels: 1.1 * (b / 8 * 768 + 128) * 1,000,000 with b = 32, 16, 8, 4, 2, 1
SELECT level, knn_estimate_memory('hnsw', 768, 1000000, compression_level => level)
FROM unnest('{1x,2x,4x,8x,16x,32x}'::text[]) level;
-- encoders that come to them
SELECT encoder, bits, knn_estimate_memory('hnsw', 768, 1000000, encoder => encoder, bits => bits)
FROM (VALUES ('flat', NULL), ('sq', 16), ('sq', 8), ('sq', 7), ('binary', 4), ('binary', 2), ('binary', NULL), ('sq', 1)) e(encoder, bits);
-- 2 bytes of 16 bits: 1.1 * (768 + 128), ..., 1.1 * (768 / 8 + 128) * 1,000,000
SELECT level, knn_estimate_memory('hnsw', 768, 1000000, 'half', level)
FROM unnest('{1x,2x,16x}'::text[]) level;
-- 1.1 * (2 * 256 * 1,000,000 + 4 * 128 * 256) = 563,344,179.2
SELECT knn_estimate_memory('ivf', 256, 1000000, 'float', '2x', nlist => 128);
SELECT knn_estimate_memory('ivf', 256, 1000000, 'float', '2x', 'sq', bits => 16, nlist => 128);

-- pq: 1.1 * ((8 / 8 * 32 + 24 + 8 * 16) * 1,000,000 + 100 * (2^8 * 4 * 256)) = 231,235,840
SELECT knn_estimate_memory('hnsw', 256, 1000000, encoder => 'pq', pq_m => 32, code_size => 8, segments => 100);
-- 1.1 * ((8 / 8 * 64 + 24) * 1,000,000 + 100 * (2^8 * 4 * 256 + 4 * 512 * 256)) = 183,307,520
SELECT knn_estimate_memory('ivf', 256, 1000000, encoder => 'pq', pq_m => 64, nlist => 512, segments => 100);
-- one index is one segment; code_size 8: 1.1 * (184 * 1,000,000 + 262,144) = 202,688,358.4
SELECT knn_estimate_memory('hnsw', 256, 1000000, encoder => 'pq', pq_m => 32);
-- 32 * 256 / (32 * 8) is 32x
SELECT knn_estimate_memory('hnsw', 256, 1000000, 'float', '32x', 'pq', pq_m => 32);
-- codes of 20 bits take 3 bytes: 1.1 * ((3 + 24) * 1,000,000 + 2^5 * 4 * 256 + 4 * 4 * 256) = 29,740,550.4
SELECT knn_estimate_memory('ivf', 256, 1000000, encoder => 'pq', pq_m => 4, code_size => 5);

-- edges
-- nothing, 1.1 * 4 * 4, 1.1 * (1 + 8 * 2)
SELECT knn_estimate_memory('hnsw', 1, 0), knn_estimate_memory('knn_ivf', 1, 0), knn_estimate_memory('HNSW', 1, 1, 'FLOAT', '32X', m => 2);
SELECT knn_estimate_memory('hnsw', 16000, 1000000000000), knn_estimate_memory('hnsw', 16000, 120000000000000, m => 100);
SELECT knn_estimate_memory(NULL, 3, 10) IS NULL, knn_estimate_memory('hnsw', NULL, 10) IS NULL,
	knn_estimate_memory('hnsw', 3, NULL) IS NULL, knn_estimate_memory('hnsw', 3, 10, NULL) IS NULL;
SELECT knn_estimate_memory('hnsw', 16000, 9223372036854775807);
SELECT knn_estimate_memory('ivf', 8, 9223372036854775807, 'binary');

-- errors
SELECT knn_estimate_memory('flat', 256, 1000);
SELECT knn_estimate_memory('hnsw', 0, 1000);
SELECT knn_estimate_memory('hnsw', 16001, 1000);
SELECT knn_estimate_memory('hnsw', 12, 1000, 'binary');
SELECT knn_estimate_memory('hnsw', 256, -1);
SELECT knn_estimate_memory('hnsw', 256, 1000, 'double');
SELECT knn_estimate_memory('hnsw', 256, 1000, 'float', '3x');
SELECT knn_estimate_memory('hnsw', 256, 1000, 'half', '32x');
SELECT knn_estimate_memory('hnsw', 256, 1000, 'byte', '2x');
SELECT knn_estimate_memory('hnsw', 256, 1000, 'binary', '2x');
SELECT knn_estimate_memory('hnsw', 256, 1000, encoder => 'zip');
SELECT knn_estimate_memory('hnsw', 256, 1000, encoder => 'lvq');
SELECT knn_estimate_memory('hnsw', 256, 1000, encoder => 'sq');
SELECT knn_estimate_memory('hnsw', 256, 1000, encoder => 'sq', bits => 2);
SELECT knn_estimate_memory('hnsw', 256, 1000, encoder => 'binary', bits => 8);
SELECT knn_estimate_memory('hnsw', 256, 1000, encoder => 'sq', bits => 17);
SELECT knn_estimate_memory('hnsw', 256, 1000, 'float', '8x', 'sq', bits => 1);
SELECT knn_estimate_memory('hnsw', 256, 1000, 'half', encoder => 'sq', bits => 1);
SELECT knn_estimate_memory('hnsw', 256, 1000, 'byte', encoder => 'pq', pq_m => 8);
SELECT knn_estimate_memory('hnsw', 256, 1000, bits => 8);
SELECT knn_estimate_memory('hnsw', 256, 1000, m => 1);
SELECT knn_estimate_memory('hnsw', 256, 1000, nlist => 4);
SELECT knn_estimate_memory('ivf', 256, 1000, nlist => 20000);
SELECT knn_estimate_memory('hnsw', 256, 1000, pq_m => 8);
SELECT knn_estimate_memory('hnsw', 256, 1000, code_size => 8);
SELECT knn_estimate_memory('hnsw', 256, 1000, encoder => 'pq');
SELECT knn_estimate_memory('hnsw', 256, 1000, encoder => 'pq', pq_m => 7);
SELECT knn_estimate_memory('hnsw', 256, 1000, encoder => 'pq', pq_m => 1024);
SELECT knn_estimate_memory('hnsw', 256, 1000, encoder => 'pq', pq_m => 8, code_size => 4);
SELECT knn_estimate_memory('ivf', 256, 1000, encoder => 'pq', pq_m => 8, code_size => 25);
SELECT knn_estimate_memory('ivf', 256, 1000, 'float', '8x', 'pq', pq_m => 32);
SELECT knn_estimate_memory('ivf', 256, 1000, encoder => 'pq', pq_m => 8, segments => 0);
