SELECT sum(v), avg(v), count(v) FROM unnest(ARRAY['[1,2,3]','[3,5,7]',NULL]::knn_vector[]) v;
SELECT sum(v), avg(v) FROM unnest(ARRAY[]::knn_vector[]) v;
SELECT sum(v), avg(v) FROM unnest(ARRAY[NULL,NULL]::knn_vector[]) v;
SELECT sum(v), avg(v) FROM unnest(ARRAY[NULL,'[1]',NULL]::knn_vector[]) v;

-- every data type but binary, with a result of floats
SELECT sum(v), knn_data_type(sum(v)), avg(v) FROM unnest(ARRAY['[65504,1]','[65504,2]']::knn_vector(2, 'half')[]) v;
SELECT sum(v), knn_data_type(sum(v)), avg(v) FROM unnest(ARRAY['[127,1]','[127,2]']::knn_vector(2, 'byte')[]) v;
SELECT sum(v) FROM unnest(ARRAY['[1]'::knn_vector(1, 'half'), '[2]'::knn_vector(1, 'byte'), '[0.5]']) v;
SELECT sum(v) FROM unnest(ARRAY['[127]','[127]']::knn_vector(8, 'binary')[]) v;
SELECT avg(v) FROM unnest(ARRAY['[1,2]','[3]']::knn_vector[]) v;

-- sums are kept in double: what cancels, cancels
SELECT sum(v), avg(v) FROM unnest(ARRAY['[3e38,1e8]','[3e38,1]','[-3e38,-1e8]','[-3e38,0]']::knn_vector[]) v;
SELECT avg(v) FROM unnest(ARRAY['[3e38]','[3e38]']::knn_vector[]) v;
SELECT sum(v) FROM unnest(ARRAY['[3e38]','[3e38]']::knn_vector[]) v;

-- groups and windows
SELECT g, sum(v), avg(v) FROM (VALUES (1, '[1,2]'::knn_vector), (1, '[3,4]'), (2, '[5,6]'), (3, NULL)) t(g, v) GROUP BY g ORDER BY g;
SELECT g, sum(v) OVER (ORDER BY g), avg(v) OVER (ORDER BY g ROWS 1 PRECEDING) FROM (VALUES (1, '[1,2]'::knn_vector), (2, '[3,4]'), (3, '[5,6]')) t(g, v);

-- in parallel
CREATE TABLE t (g int, v knn_vector(3));
INSERT INTO t SELECT i % 3, CASE WHEN i % 10 = 0 THEN NULL ELSE ARRAY[i, -i, 1]::knn_vector END FROM generate_series(1, 10000) i;
ALTER TABLE t SET (parallel_workers = 2);
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
EXPLAIN (COSTS OFF) SELECT sum(v), avg(v) FROM t;
SELECT sum(v), avg(v), count(v) FROM t;
SELECT g, sum(v), avg(v) FROM t GROUP BY g ORDER BY g;
SELECT sum(v), avg(v) FROM t WHERE v IS NULL;
SET max_parallel_workers_per_gather = 0;
SELECT sum(v), avg(v), count(v) FROM t;
DROP TABLE t;
