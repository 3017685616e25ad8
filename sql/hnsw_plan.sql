-- distances that the index gives the order of and nobody looks at are not computed
CREATE TABLE planned (id int, v knn_vector(2));
INSERT INTO planned SELECT i, ARRAY[i, 0]::real[] FROM generate_series(1, 100) i;
CREATE INDEX planned_v ON planned USING knn_hnsw (v);
SET enable_seqscan = off;
SET enable_sort = off;
EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM planned ORDER BY v <-> '[7.2,0]' LIMIT 3;
SELECT id FROM planned ORDER BY v <-> '[7.2,0]' LIMIT 3;
EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM planned ORDER BY v <-> '[7.2,0]';
EXPLAIN (VERBOSE, COSTS OFF) SELECT id, v <-> '[7,0]' AS d FROM planned ORDER BY v <-> '[7,0]' LIMIT 3;
SELECT id, v <-> '[7,0]' AS d FROM planned ORDER BY v <-> '[7,0]' LIMIT 1;
-- below a subquery and a join
EXPLAIN (VERBOSE, COSTS OFF) SELECT q, n.id FROM generate_series(20, 40, 20) q,
	LATERAL (SELECT id FROM planned ORDER BY v <-> ARRAY[q + 0.1, 0]::real[]::knn_vector LIMIT 1) n;
SELECT q, n.id FROM generate_series(20, 40, 20) q,
	LATERAL (SELECT id FROM planned ORDER BY v <-> ARRAY[q + 0.1, 0]::real[]::knn_vector LIMIT 1) n;
-- in a sublink and in the arms of a union
SELECT ARRAY(SELECT id FROM planned ORDER BY v <-> '[7.2,0]' LIMIT 3);
(SELECT id FROM planned ORDER BY v <-> '[7.2,0]' LIMIT 2) UNION ALL (SELECT id FROM planned ORDER BY v <-> '[50.2,0]' LIMIT 2);
-- where the column is looked at it stays: ties, row locks, a further key, another order above
EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM planned ORDER BY v <-> '[7.2,0]' FETCH FIRST 1 ROW WITH TIES;
SELECT count(*) FROM (SELECT id FROM planned ORDER BY v <-> '[7.5,0]' FETCH FIRST 1 ROW WITH TIES) t;
EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM planned ORDER BY v <-> '[7.2,0]' LIMIT 1 FOR UPDATE;
RESET enable_sort;
SELECT id FROM planned ORDER BY v <-> '[7.5,0]', id DESC LIMIT 4;
-- a prepared statement with a generic plan
SET plan_cache_mode = force_generic_plan;
PREPARE nearest(knn_vector) AS SELECT id FROM planned ORDER BY v <-> $1 LIMIT 2;
EXPLAIN (VERBOSE, COSTS OFF) EXECUTE nearest('[90.3,0]');
EXECUTE nearest('[90.3,0]');
EXECUTE nearest('[10.3,0]');
DEALLOCATE nearest;
-- partitions are merged by the distance
CREATE TABLE parted (id int, v knn_vector(2)) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (50);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (50) TO (1000);
INSERT INTO parted SELECT id, v FROM planned;
CREATE INDEX ON parted USING knn_hnsw (v);
EXPLAIN (VERBOSE, COSTS OFF) SELECT id FROM parted ORDER BY v <-> '[49.7,0]' LIMIT 3;
SELECT id FROM parted ORDER BY v <-> '[49.7,0]' LIMIT 3;
DROP TABLE planned, parted;
