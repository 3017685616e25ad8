-- When the planner takes a knn_hnsw index

-- components are independent of each other, so that the sizes are realistic
CREATE FUNCTION vec(i bigint, dim int) RETURNS knn_vector
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT array_agg((((i * 73856093) # (j * 19349663)) % 2000 - 1000) / 1000.0::real ORDER BY j)::real[]::knn_vector
	FROM generate_series(1, dim::bigint) j
$$;

-- the nodes of a plan, without what depends on the query
CREATE FUNCTION plan(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || statement LOOP
		RETURN NEXT regexp_replace(line, '''\[[^]]*\]''', '''[...]''', 'g');
	END LOOP;
END $$;

CREATE TABLE narrow (id int PRIMARY KEY, cat int, v knn_vector(8));
INSERT INTO narrow SELECT i, i % 100, vec(i, 8) FROM generate_series(1, 2000) i;
CREATE INDEX narrow_cat ON narrow (cat);
CREATE INDEX narrow_v ON narrow USING knn_hnsw (v);
VACUUM ANALYZE narrow;

-- with wide vectors the heap holds them out of line, and is small
CREATE TABLE wide (id int PRIMARY KEY, cat int, v knn_vector(384));
INSERT INTO wide SELECT i, i % 100, v FROM (SELECT vec(1, 384) AS v OFFSET 0) s, generate_series(1, 6000) i;
CREATE INDEX wide_cat ON wide (cat);
CREATE INDEX wide_v ON wide USING knn_hnsw (v);
VACUUM ANALYZE wide;

-- nearest rows: the index
SELECT plan($$SELECT id FROM narrow ORDER BY v <-> vec(1, 8) LIMIT 10$$);
SELECT plan($$SELECT id FROM wide ORDER BY v <-> vec(1, 384) LIMIT 10$$);
SELECT plan($$SELECT id FROM wide ORDER BY v <-> vec(1, 384) LIMIT 100$$);
-- distances in the output change nothing
SELECT plan($$SELECT id, v <-> vec(1, 384) AS distance FROM wide ORDER BY distance LIMIT 10$$);
-- parameters of a nested loop
SELECT plan($$SELECT q.id, n.id FROM (SELECT * FROM wide WHERE id < 5) q,
	LATERAL (SELECT id FROM wide w ORDER BY w.v <-> q.v LIMIT 3) n$$);
-- rows left out by OFFSET
SELECT plan($$SELECT id FROM wide ORDER BY v <-> vec(1, 384) OFFSET 5 FETCH FIRST 10 ROWS ONLY$$);
-- all rows: a sort
SELECT plan($$SELECT id FROM narrow ORDER BY v <-> vec(1, 8)$$);
SELECT plan($$SELECT id FROM wide ORDER BY v <-> vec(1, 384)$$);
-- the farthest, another space, another expression, no order: not the index
SELECT plan($$SELECT id FROM narrow ORDER BY v <-> vec(1, 8) DESC LIMIT 10$$);
SELECT plan($$SELECT id FROM narrow ORDER BY v <=> vec(1, 8) LIMIT 10$$);
SELECT plan($$SELECT id FROM narrow ORDER BY (v <-> vec(1, 8)) + 1 LIMIT 10$$);
SELECT plan($$SELECT id FROM narrow ORDER BY l2_distance(v, vec(1, 8)) LIMIT 10$$);
SELECT plan($$SELECT count(*) FROM narrow$$);
SELECT plan($$SELECT id FROM narrow WHERE v <-> vec(1, 8) < 1$$);
SELECT plan($$SELECT v FROM narrow LIMIT 10$$);
SELECT plan($$SELECT v FROM narrow ORDER BY v LIMIT 10$$);

-- a filter that keeps one row: its own index
SELECT plan($$SELECT id FROM narrow WHERE id = 7 ORDER BY v <-> vec(1, 8) LIMIT 10$$);
SELECT plan($$SELECT id FROM wide WHERE id = 7 ORDER BY v <-> vec(1, 384) LIMIT 10$$);
-- one that keeps 1 in 100 of 6,000: cheaper to sort those 60 rows
SELECT plan($$SELECT id FROM wide WHERE cat = 7 ORDER BY v <-> vec(1, 384) LIMIT 10$$);
-- one that keeps most rows: the vector index
SELECT plan($$SELECT id FROM wide WHERE cat > 7 ORDER BY v <-> vec(1, 384) LIMIT 10$$);
SELECT plan($$SELECT id FROM narrow WHERE cat <> 7 ORDER BY v <-> vec(1, 8) LIMIT 10$$);

-- the settings that keep planners from indexes do so here
SET enable_indexscan = off;
SELECT plan($$SELECT id FROM wide ORDER BY v <-> vec(1, 384) LIMIT 10$$);
RESET enable_indexscan;

-- without another way to go, queries it cannot answer do not use it
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SELECT count(*) FROM narrow;
SELECT count(*) FROM narrow WHERE v IS NOT NULL;
SELECT count(*) FROM narrow WHERE v = vec(3, 8);
RESET enable_seqscan;
RESET enable_bitmapscan;

-- what EXPLAIN ANALYZE tells
CREATE FUNCTION explain_analyze(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	-- the form of row counts and what else is shown differs between versions
	FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF, BUFFERS OFF) ' || statement LOOP
		CONTINUE WHEN line ~ 'Index Searches';
		line := regexp_replace(line, '''\[[^]]*\]''', '''[...]''', 'g');
		RETURN NEXT regexp_replace(line, 'rows=(\d+)(\.00)?', 'rows=\1');
	END LOOP;
END $$;
SELECT explain_analyze($$SELECT id FROM narrow ORDER BY v <-> vec(1, 8) LIMIT 10$$);

-- scans and rows are counted, one for each scan
SELECT pg_stat_force_next_flush();
SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'narrow_v';
SELECT count(*) FROM (SELECT id FROM narrow ORDER BY v <-> vec(2, 8) LIMIT 10) s;
SELECT pg_stat_force_next_flush();
SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'narrow_v';

DROP TABLE narrow, wide;
DROP FUNCTION plan, explain_analyze, vec;
