-- arithmetic
SELECT '[1,2,3]'::knn_vector + '[4,5,6]', '[1,2,3]'::knn_vector - '[4,5,6]', '[1,2,3]'::knn_vector * '[4,5,6]';
SELECT knn_data_type(h + h) AS "h+h", knn_data_type(h - b) AS "h-b", knn_data_type(b * b) AS "b*b", knn_data_type(h + '[1,2]') AS "h+f", b + b AS b2, h * h AS h2
FROM (SELECT '[100,-100]'::knn_vector(2, 'half'), '[100,-100]'::knn_vector(2, 'byte')) t(h, b);
SELECT '[3e38]'::knn_vector + '[3e38]';
SELECT '[-3e38]'::knn_vector - '[3e38]';
SELECT '[1e37]'::knn_vector * '[1e37]';
SELECT '[1e-37]'::knn_vector * '[1e-37]';
SELECT '[65504]'::knn_vector(1, 'half') + '[65504]'::knn_vector(1, 'half');
SELECT '[1,2]'::knn_vector + '[1]';
SELECT '[1,2]'::knn_vector - '[1]';
SELECT '[1,2]'::knn_vector * '[1]';
SELECT '[1]'::knn_vector(8, 'binary') + '[1]';
SELECT '[1]'::knn_vector * '[1]'::knn_vector(8, 'binary');

-- concatenation
SELECT '[1,2]'::knn_vector || '[3]', knn_dims('[1]'::knn_vector(8, 'binary') || '[3,4]'), '[1]'::knn_vector(8, 'binary') || '[3,4]', knn_data_type('[1]'::knn_vector(1, 'byte') || '[2]'), '[0.5]'::knn_vector(1, 'half') || '[0.1]';
SELECT '[1]'::knn_vector(1, 'byte') || '[2]'::knn_vector(1, 'half');
SELECT knn_dims(array_fill(0, ARRAY[16000])::knn_vector || '[1]');

-- comparison
SELECT '[1,2,3]'::knn_vector < '[1,2,4]' AS lt, '[1,2,3]'::knn_vector <= '[1,2,3]' AS le, '[1,2,3]'::knn_vector = '[1,2,3]' AS eq, '[1,2,3]'::knn_vector <> '[1,2]' AS ne, '[1,2,3]'::knn_vector >= '[1,2]' AS ge, '[1,2,3]'::knn_vector > '[1,3]' AS gt;
SELECT knn_vector_cmp('[1,2,3]', '[1,2,3]'), knn_vector_cmp('[1,2,3]', '[1,2]'), knn_vector_cmp('[1,2]', '[1,2,3]'), knn_vector_cmp('[1,2]', '[2,3,4]'), knn_vector_cmp('[2,3]', '[1,2,3]'), knn_vector_cmp('[0]', '[-0]');

-- equality is that of the numbers written, whatever the data type
SELECT '[1,2]'::knn_vector(2, 'byte') = '[1,2]' AS byte, '[1,0.5]'::knn_vector(2, 'half') = '[1,0.5]' AS half, '[0.1]'::knn_vector(1, 'half') = '[0.1]' AS rounded, '[99,-7]'::knn_vector(16, 'binary') = '[99,-7]' AS bin, '[1]'::knn_vector(1, 'byte') < '[1.5]'::knn_vector(1, 'half') AS mixed;

-- equal vectors have equal hashes
SELECT knn_vector_hash('[0,1]') = knn_vector_hash('[-0,1]') AS zero, knn_vector_hash('[1,2]') = knn_vector_hash('[1,2]'::knn_vector(2, 'half')) AS half, knn_vector_hash('[1,2]') = knn_vector_hash('[1,2]'::knn_vector(2, 'byte')) AS byte, knn_vector_hash('[1,2]') = knn_vector_hash('[1,2]'::knn_vector(16, 'binary')) AS bin, knn_vector_hash('[1,2]') = knn_vector_hash('[2,1]') AS different;
SELECT bool_and((knn_vector_hash_extended(v, 0) & 4294967295) = (knn_vector_hash(v)::bigint & 4294967295)) AS low_half, bool_or(knn_vector_hash_extended(v, 0) = knn_vector_hash_extended(v, 1)) AS seed_ignored
FROM (SELECT array_fill(i, ARRAY[i])::knn_vector FROM generate_series(1, 600, 37) i) t(v);

-- sort, group, distinct
CREATE TABLE t (id serial, v knn_vector);
INSERT INTO t (v) VALUES ('[1,2,3]'), ('[1,2]'), ('[1,2,3]'), ('[-0]'), ('[0]'), ('[0,0]'), (NULL), ('[1,2.5]'), ('[-1]');
INSERT INTO t (v) VALUES ('[1,2]'::knn_vector(2, 'byte')), ('[2]'::knn_vector(8, 'binary'));
SELECT v FROM t ORDER BY v, id;
SELECT v FROM t ORDER BY v DESC NULLS LAST, id DESC LIMIT 3;
SET enable_sort = off;
SELECT count(*) FROM (SELECT DISTINCT v FROM t) s;
RESET enable_sort;
SET enable_hashagg = off;
SELECT count(*) FROM (SELECT DISTINCT v FROM t) s;
RESET enable_hashagg;
SELECT count(*), min(id) FROM t GROUP BY v ORDER BY 1 DESC, 2 LIMIT 4;
SELECT array_agg(v ORDER BY v) FROM t WHERE id < 4;

-- indexes
CREATE INDEX t_btree ON t (v);
SET enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT v FROM t WHERE v = '[1,2,3]';
SELECT id, v FROM t WHERE v = '[1,2,3]' ORDER BY id;
SELECT id, v FROM t WHERE v < '[1,2]' ORDER BY v, id;
SELECT count(*) FROM t WHERE v IS NULL;
DROP INDEX t_btree;
CREATE INDEX t_hash ON t USING hash (v);
EXPLAIN (COSTS OFF) SELECT v FROM t WHERE v = '[1,2]';
SELECT id, v FROM t WHERE v = '[1,2]' ORDER BY id;
DROP INDEX t_hash;
RESET enable_seqscan;

-- joins
SET enable_nestloop = off;
SET enable_mergejoin = off;
SELECT count(*) FROM t a JOIN t b ON a.v = b.v;
RESET enable_mergejoin;
SET enable_hashjoin = off;
SELECT count(*) FROM t a JOIN t b ON a.v = b.v;
RESET enable_hashjoin;
RESET enable_nestloop;
SELECT count(*) FROM t a JOIN t b ON a.v < b.v OR a.v = b.v OR a.v > b.v;

-- keys and partitions
CREATE TABLE keyed (v knn_vector(2) PRIMARY KEY);
INSERT INTO keyed VALUES ('[1,0]'), ('[1,0.5]');
INSERT INTO keyed VALUES ('[1,-0]');
CREATE TABLE parted (v knn_vector(1)) PARTITION BY HASH (v);
CREATE TABLE parted0 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parted1 PARTITION OF parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parted SELECT ARRAY[i]::knn_vector FROM generate_series(1, 50) i;
SELECT count(*) FROM parted WHERE v = '[7]';
DROP TABLE t, keyed, parted;

-- statistics and toasted values
CREATE TABLE wide (id int, v knn_vector(3000));
INSERT INTO wide SELECT i, array_fill(i % 3, ARRAY[3000])::knn_vector FROM generate_series(1, 20) i;
ANALYZE wide;
SELECT count(DISTINCT v) FROM wide;
SELECT min(id) FROM wide GROUP BY v ORDER BY v;
DROP TABLE wide;

-- what the catalog claims
SELECT o.oprname, o.oprcom <> 0 AS commutes, o.oprnegate <> 0 AS negates, o.oprcanhash, o.oprcanmerge, p.provolatile, p.proparallel, p.proisstrict
FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode
WHERE o.oprleft = 'knn_vector'::regtype ORDER BY 1;
SELECT proname FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'knn'
WHERE prokind = 'f' AND proparallel <> 's' AND proname LIKE '%vector%' AND provolatile = 'i';
