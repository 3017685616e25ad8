-- Answers of knn_ivf indexes, as hnsw_basic has them of knn_hnsw.  Lists are made of a
-- random sample, so every comparison with the exact order looks at all of them,
-- which leaves nothing to chance.

-- deterministic vectors: component j of vector i is a multiple of 1/1000 in [-1, 1)
CREATE FUNCTION vec(i bigint, dim int) RETURNS knn_vector
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT array_agg((((i * 73856093) # (j * 19349663)) % 2000 - 1000) / 1000.0::real ORDER BY j)::real[]::knn_vector
	FROM generate_series(1, dim::bigint) j
$$;

CREATE TABLE items (id int, cat int, v knn_vector(8));
INSERT INTO items SELECT i, i % 10, vec(i, 8) FROM generate_series(1, 400) i;
-- neither is found by distance: one has none, the other has none under cosine
INSERT INTO items VALUES (1001, 1, NULL), (1002, 2, '[0,0,0,0,0,0,0,0]');
ANALYZE items;

-- The distances of the first k rows by index and by sorting, for a number of
-- queries; a row for each difference.  The index ranks by float4 distances and a
-- bound that holds with high probability only, so more rows than k are fetched and
-- sorted, and distances are compared to four places.
CREATE FUNCTION differences(tab text, op text, dim int, k int, queries int DEFAULT 20)
RETURNS TABLE (query int, by_index numeric[], exact numeric[])
LANGUAGE plpgsql AS $$
DECLARE
	statement text := format(
		'SELECT array_agg(round(d::numeric, 4) ORDER BY d), count(DISTINCT id) FROM
		 (SELECT * FROM (SELECT id, v %1$s $1 AS d FROM %2$s WHERE v %1$s $1 < ''NaN''
		  ORDER BY v %1$s $1 LIMIT %3$s) t ORDER BY d LIMIT %4$s) t',
		op, tab, 4 * k, k);
	ids int;
	plan text;
	q int;
BEGIN
	SET LOCAL knn.scan_order = relaxed;
	FOR q IN 1..queries LOOP
		SET LOCAL enable_seqscan = off;
		SET LOCAL enable_indexscan = on;
		IF q = 1 THEN
			FOR plan IN EXECUTE 'EXPLAIN ' || replace(statement, '$1', quote_literal(vec(q * 7 + 3, dim)) || '::knn_vector') LOOP
				EXIT WHEN plan LIKE '%Index Scan using%';
			END LOOP;
			IF plan NOT LIKE '%Index Scan using%' THEN
				RAISE EXCEPTION 'no index scan for %', op;
			END IF;
		END IF;
		EXECUTE statement INTO by_index, ids USING vec(q * 7 + 3, dim);
		IF ids <> cardinality(by_index) THEN
			RAISE EXCEPTION 'rows returned twice by %', op;
		END IF;
		SET LOCAL enable_indexscan = off;
		SET LOCAL enable_seqscan = on;
		EXECUTE statement INTO exact, ids USING vec(q * 7 + 3, dim);
		IF by_index IS DISTINCT FROM exact THEN
			query := q;
			RETURN NEXT;
		END IF;
	END LOOP;
END $$;

SET knn.nprobes = 1000;
-- strict order may leave a row out, which counting would tell
SET knn.scan_order = relaxed;

-- each space gives the exact order, of ten rows and of all
CREATE INDEX items_idx ON items USING knn_ivf (v) WITH (nlist = 10);
SELECT * FROM differences('items', '<->', 8, 10);
SELECT * FROM differences('items', '<->', 8, 1000);
DROP INDEX items_idx;

CREATE INDEX items_idx ON items USING knn_ivf (v knn_vector_ip_ops) WITH (nlist = 10);
SELECT * FROM differences('items', '<#>', 8, 10);
SELECT * FROM differences('items', '<#>', 8, 1000);
DROP INDEX items_idx;

CREATE INDEX items_idx ON items USING knn_ivf (v knn_vector_cosine_ops) WITH (nlist = 10);
SELECT * FROM differences('items', '<=>', 8, 10);
SELECT * FROM differences('items', '<=>', 8, 1000);
DROP INDEX items_idx;

CREATE INDEX items_idx ON items USING knn_ivf (v knn_vector_l1_ops) WITH (nlist = 10);
SELECT * FROM differences('items', '<+>', 8, 10);
SELECT * FROM differences('items', '<+>', 8, 1000);
DROP INDEX items_idx;

CREATE INDEX items_idx ON items USING knn_ivf (v knn_vector_linf_ops) WITH (nlist = 10);
SELECT * FROM differences('items', '<%>', 8, 10);
SELECT * FROM differences('items', '<%>', 8, 1000);
DROP INDEX items_idx;

-- an operator of another space is not answered by the index
CREATE INDEX items_idx ON items USING knn_ivf (v) WITH (nlist = 10);
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY v <=> '[1,2,3,4,5,6,7,8]' LIMIT 3;

-- the plan, without a line that there is since 18
CREATE FUNCTION plan(query text) RETURNS SETOF text
LANGUAGE plpgsql AS $$
DECLARE
	line text;
BEGIN
	FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
		IF line NOT LIKE '%Disabled: true' THEN
			RETURN NEXT line;
		END IF;
	END LOOP;
END $$;

SET enable_seqscan = off;

EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY v <-> '[1,2,3,4,5,6,7,8]' LIMIT 3;
-- the commuted form as well
EXPLAIN (COSTS OFF) SELECT id FROM items ORDER BY '[1,2,3,4,5,6,7,8]' <-> v LIMIT 3;

-- a vector is nearest to itself
SELECT id FROM items ORDER BY v <-> vec(17, 8) LIMIT 1;
SELECT id FROM items ORDER BY vec(17, 8) <-> v LIMIT 1;

-- the zero vector is a vector like any other but under cosine; NULL is in no index
SELECT id FROM items ORDER BY v <-> '[0,0,0,0,0,0,0,0]' LIMIT 1;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> '[0,0,0,0,0,0,0,0]' LIMIT 5000) t;
-- count(*) and other queries are none of the index's business
SELECT plan('SELECT count(*) FROM items WHERE cat = 3');
SELECT count(*) FROM items;
SELECT count(v) FROM items;
SELECT count(*) FROM items WHERE v IS NULL;

-- ORDER BY a distance that is NULL for all rows: any order, but rows
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> NULL::knn_vector LIMIT 7) t;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> (SELECT NULL::knn_vector) LIMIT 7) t;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> (SELECT NULL::knn_vector) LIMIT 5000) t;

-- cosine: the zero vector is not indexed; a query by it gets rows in any order
CREATE INDEX items_cosine ON items USING knn_ivf (v knn_vector_cosine_ops);
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <=> '[0,0,0,0,0,0,0,0]' LIMIT 5000) t;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <=> '[1,0,0,0,0,0,0,0]' LIMIT 5000) t;
-- also by insert and update
INSERT INTO items VALUES (1003, 3, '[0,0,0,0,0,0,0,0]'), (1004, 4, NULL);
UPDATE items SET v = '[0,0,0,0,0,0,0,0]' WHERE id = 400;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <=> '[1,0,0,0,0,0,0,0]' LIMIT 5000) t;
UPDATE items SET v = vec(400, 8) WHERE id = 400;
SELECT id FROM items ORDER BY v <=> vec(400, 8) LIMIT 1;
DELETE FROM items WHERE id IN (1003, 1004);
DROP INDEX items_cosine;

-- a LIMIT beyond what is in the lists looks at further ones
SET knn.nprobes = 1;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items ORDER BY v <-> vec(5, 8) LIMIT 300) t;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items ORDER BY v <-> vec(5, 8)) t;
-- unless that is forbidden
SET knn.max_scan_tuples = 1;
SELECT count(*) BETWEEN 1 AND 300 AS some FROM (SELECT id FROM items ORDER BY v <-> vec(5, 8)) t;
RESET knn.max_scan_tuples;

-- strict order is an order until the rows that were found too late
RESET knn.scan_order;
SHOW knn.scan_order;
SET knn.nprobes = 5;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items ORDER BY v <-> vec(5, 8) LIMIT 30) t;
SELECT count(*) FILTER (WHERE d < before - 1e-5) FROM
	(SELECT d, lag(d) OVER () AS before FROM
		(SELECT v <-> vec(5, 8) AS d FROM items ORDER BY v <-> vec(5, 8) LIMIT 30) t) t;
SET knn.scan_order = relaxed;

-- a filter that keeps few rows still gets them
SET knn.nprobes = 10;
EXPLAIN (COSTS OFF) SELECT id FROM items WHERE cat = 3 ORDER BY v <-> vec(5, 8) LIMIT 5;
SELECT count(*), min(cat), max(cat) FROM (SELECT cat FROM items WHERE cat = 3 ORDER BY v <-> vec(5, 8) LIMIT 35) t;
SELECT id FROM items WHERE id = 123 ORDER BY v <-> vec(5, 8) LIMIT 5;
SELECT id FROM items WHERE id < 0 ORDER BY v <-> vec(5, 8) LIMIT 5;
-- a radius is a filter
SELECT count(*) = (SELECT count(*) FROM items WHERE v <-> vec(5, 8) < 2)
	FROM (SELECT id FROM items WHERE v <-> vec(5, 8) < 2 ORDER BY v <-> vec(5, 8) LIMIT 1000) t;

-- a scan for each row of another table
SET knn.nprobes = 1000;
SET enable_sort = off;
SELECT plan('SELECT q.id, n.id FROM items q, LATERAL (SELECT id FROM items i ORDER BY i.v <-> q.v LIMIT 3) n WHERE q.id <= 200');
SELECT count(*), count(*) FILTER (WHERE r = 1 AND q = n) FROM
	(SELECT q.id AS q, n.id AS n, row_number() OVER (PARTITION BY q.id ORDER BY n.d) AS r
	 FROM items q, LATERAL (SELECT id, i.v <-> q.v AS d FROM items i ORDER BY i.v <-> q.v LIMIT 3) n
	 WHERE q.id <= 200) t;
-- rescans by NULL in between
SELECT q.x, count(n.id) FROM (VALUES (1, vec(1, 8)), (2, NULL), (3, vec(3, 8))) q (x, v),
	LATERAL (SELECT id FROM items i ORDER BY i.v <-> q.v LIMIT 3) n GROUP BY q.x ORDER BY q.x;
-- self-join of rows found
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> vec(7, 8) LIMIT 20) a
	JOIN items b USING (id);
RESET enable_sort;

-- prepared statements, with the generic plan too
PREPARE nearest (knn_vector, int) AS SELECT id FROM items ORDER BY v <-> $1 LIMIT $2;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE nearest (vec(30, 8), 1);
EXECUTE nearest (vec(30, 8), 1);
EXECUTE nearest (vec(31, 8), 1);
SET plan_cache_mode = force_custom_plan;
EXECUTE nearest (vec(32, 8), 1);
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> vec(1, 8) LIMIT (SELECT 12)) t;
RESET plan_cache_mode;
DEALLOCATE nearest;

-- cursors: rows as they are asked for, back and forth, and after COMMIT
BEGIN;
DECLARE c CURSOR FOR SELECT id FROM items ORDER BY v <-> vec(30, 8);
FETCH 1 FROM c;
MOVE 30 IN c;
-- a cursor sees neither later rows nor later deletes
INSERT INTO items VALUES (2000, 0, vec(30, 8));
DELETE FROM items WHERE id BETWEEN 101 AND 200;
MOVE ALL IN c;
CLOSE c;
ROLLBACK;
BEGIN;
DECLARE c SCROLL CURSOR FOR SELECT id FROM items ORDER BY v <-> vec(30, 8) LIMIT 50;
FETCH 1 FROM c;
MOVE FORWARD 20 IN c;
MOVE ABSOLUTE 0 IN c;
FETCH 1 FROM c;
MOVE LAST IN c;
MOVE BACKWARD ALL IN c;
FETCH 1 FROM c;
COMMIT;
BEGIN;
DECLARE h CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY v <-> vec(30, 8) LIMIT 50;
FETCH 1 FROM h;
COMMIT;
MOVE ALL IN h;
CLOSE h;
-- two scans of one index, in turn
BEGIN;
DECLARE a CURSOR FOR SELECT id FROM items ORDER BY v <-> vec(30, 8) LIMIT 50;
DECLARE b CURSOR FOR SELECT id FROM items ORDER BY v <-> vec(60, 8) LIMIT 50;
FETCH 1 FROM a;
FETCH 1 FROM b;
MOVE 48 IN a;
MOVE 48 IN b;
FETCH 2 FROM a \g /dev/null
CLOSE a;
MOVE ALL IN b;
COMMIT;

-- a function that searches while a search is under way
CREATE FUNCTION nearest(q knn_vector) RETURNS int LANGUAGE sql STABLE AS
	$$ SELECT id FROM items ORDER BY v <-> q LIMIT 1 $$;
SELECT count(*) FROM (SELECT id, nearest(v) AS n FROM items ORDER BY v <-> vec(30, 8) LIMIT 100) t WHERE id = n;
DROP FUNCTION nearest;

-- updates: of another column (HOT or not), of the vector
CREATE INDEX items_cat ON items (cat);
UPDATE items SET cat = cat + 10 WHERE id <= 100;
UPDATE items SET id = id + 0 WHERE id <= 100;
UPDATE items SET v = vec(id + 5000, 8) WHERE id BETWEEN 51 AND 60;
UPDATE items SET v = v WHERE id BETWEEN 61 AND 70;
DROP INDEX items_cat;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM items ORDER BY v <-> vec(30, 8) LIMIT 5000) t;
SELECT * FROM differences('items', '<->', 8, 10);
SELECT id FROM items ORDER BY v <-> vec(5055, 8) LIMIT 1;
DROP TABLE items;

-- an index on an empty table, filled by inserts
CREATE TABLE filled (id int, v knn_vector(5));
CREATE INDEX ON filled USING knn_ivf (v);
EXPLAIN (COSTS OFF) SELECT id FROM filled ORDER BY v <-> vec(5, 5) LIMIT 5;
SELECT id FROM filled ORDER BY v <-> vec(5, 5) LIMIT 5;
INSERT INTO filled VALUES (1, vec(1, 5));
SELECT id FROM filled ORDER BY v <-> vec(5, 5) LIMIT 5;
INSERT INTO filled SELECT i, vec(i, 5) FROM generate_series(2, 600) i;
SELECT * FROM differences('filled', '<->', 5, 10);
SELECT * FROM differences('filled', '<->', 5, 1000);
-- rows seen by the transaction that wrote them only when they should be
BEGIN;
INSERT INTO filled VALUES (0, vec(77, 5));
SELECT count(*) FROM (SELECT v FROM filled ORDER BY v <-> vec(77, 5) LIMIT 2) t WHERE v = vec(77, 5);
ROLLBACK;
SELECT count(*) FROM (SELECT v FROM filled ORDER BY v <-> vec(77, 5) LIMIT 2) t WHERE v = vec(77, 5);
DROP TABLE filled;

-- equal rows: more than an item, a page, a beam; before and after the build
CREATE TABLE equal_rows (id int, v knn_vector(3));
INSERT INTO equal_rows SELECT i, CASE WHEN i <= 50 THEN '[1,2,3]' ELSE vec(i, 3) END FROM generate_series(1, 150) i;
CREATE INDEX ON equal_rows USING knn_ivf (v);
SET knn.nprobes = 1;
SELECT count(*), count(DISTINCT id), max(id) FROM (SELECT id FROM equal_rows ORDER BY v <-> '[1,2,3]' LIMIT 50) t;
INSERT INTO equal_rows SELECT 1000 + i, '[1,2,3]' FROM generate_series(1, 50) i;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM equal_rows WHERE v = '[1,2,3]' ORDER BY v <-> '[1,2,3]' LIMIT 1000) t;
-- -0 equals 0
INSERT INTO equal_rows VALUES (2001, '[0,0,9]'), (2002, '[-0,0,9]'), (2003, '[0,-0,9]');
SELECT count(*) FROM (SELECT v FROM equal_rows ORDER BY v <-> '[0,0,9]' LIMIT 3) t WHERE v = '[0,0,9]';
TRUNCATE equal_rows;
INSERT INTO equal_rows SELECT i, '[1,2,3]' FROM generate_series(1, 10000) i;
INSERT INTO equal_rows VALUES (10001, '[3,2,1]');
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM equal_rows ORDER BY v <-> '[1,2,3]' LIMIT 100000) t;
SELECT id FROM equal_rows ORDER BY v <-> '[3,2,0]' LIMIT 1;
REINDEX TABLE equal_rows;
-- equal vectors make one list, whatever sample the build takes: every time the one row that differs is found
DO $$
BEGIN
	FOR i IN 1..60 LOOP
		REINDEX TABLE equal_rows;
		ASSERT (SELECT id FROM equal_rows ORDER BY v <-> '[3,2,0]' LIMIT 1) = 10001;
		ASSERT (SELECT lists FROM knn_index_info('equal_rows_v_idx')) <= 2;
	END LOOP;
END $$;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM equal_rows ORDER BY v <-> '[1,2,3]' LIMIT 100000) t;
SELECT id FROM equal_rows ORDER BY v <-> '[3,2,0]' LIMIT 1;
DELETE FROM equal_rows WHERE id % 100 <> 0 AND id <= 10000;
VACUUM equal_rows;
SELECT count(*), min(id), max(id) FROM (SELECT id FROM equal_rows ORDER BY v <-> '[1,2,3]' LIMIT 100000) t;
SELECT id FROM equal_rows ORDER BY v <-> '[3,2,0]' LIMIT 1;
-- no entry is left behind that would lead to the rows that take the free places
SELECT reltuples FROM pg_class WHERE relname = 'equal_rows_v_idx';
INSERT INTO equal_rows SELECT 20000 + i, vec(i, 3) FROM generate_series(1, 2000) i;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM equal_rows ORDER BY v <-> '[1,2,3]' LIMIT 100000) t;
DROP TABLE equal_rows;
RESET knn.nprobes;

-- the smallest dimensions
SET knn.nprobes = 1000;
CREATE TABLE one (id int, v knn_vector(1));
INSERT INTO one SELECT i, ARRAY[i / 4.0]::real[]::knn_vector FROM generate_series(-100, 100) i;
CREATE INDEX ON one USING knn_ivf (v);
SELECT id FROM one ORDER BY v <-> '[3.3]' LIMIT 3;
INSERT INTO one SELECT i, ARRAY[i / 4.0]::real[]::knn_vector FROM generate_series(101, 150) i;
SELECT id FROM one ORDER BY v <-> '[33.3]' LIMIT 3;
CREATE INDEX ON one USING knn_ivf (v knn_vector_cosine_ops);
SELECT count(*) FILTER (WHERE d = 0), count(*) FILTER (WHERE d = 2) FROM
	(SELECT v <=> '[5]' AS d FROM one ORDER BY v <=> '[5]' LIMIT 1000) t;
CREATE TABLE two (id int, v knn_vector(2));
INSERT INTO two SELECT i, vec(i, 2) FROM generate_series(1, 300) i;
CREATE INDEX ON two USING knn_ivf (v);
SELECT * FROM differences('two', '<->', 2, 10);
CREATE TABLE three (id int, v knn_vector(3));
INSERT INTO three SELECT i, vec(i, 3) FROM generate_series(1, 300) i;
CREATE INDEX ON three USING knn_ivf (v knn_vector_ip_ops);
SELECT * FROM differences('three', '<#>', 3, 10);
DROP TABLE one, two, three;

-- the largest, where a vector takes eight pages and a code two
CREATE TABLE wide (id int, v knn_vector(16000));
INSERT INTO wide SELECT i, vec(i, 16000) FROM generate_series(1, 20) i;
CREATE INDEX ON wide USING knn_ivf (v);
INSERT INTO wide SELECT i, vec(i, 16000) FROM generate_series(21, 40) i;
SELECT * FROM differences('wide', '<->', 16000, 5, 3);
SELECT id FROM wide ORDER BY v <-> vec(7, 16000) LIMIT 1;
SELECT id FROM wide ORDER BY v <-> vec(33, 16000) LIMIT 1;
DELETE FROM wide WHERE id = 33;
VACUUM wide;
SELECT id <> 33 FROM wide ORDER BY v <-> vec(33, 16000) LIMIT 1;
DROP TABLE wide;

-- a dimension at which a code just crosses a page's end, and one just below
CREATE TABLE crossing (id int, v knn_vector(8150), w knn_vector(2030));
INSERT INTO crossing SELECT i, vec(i, 8150), vec(i, 2030) FROM generate_series(1, 12) i;
CREATE INDEX ON crossing USING knn_ivf (v knn_vector_l1_ops);
CREATE INDEX ON crossing USING knn_ivf (w knn_vector_cosine_ops);
INSERT INTO crossing SELECT i, vec(i, 8150), vec(i, 2030) FROM generate_series(13, 24) i;
SELECT * FROM differences('crossing', '<+>', 8150, 5, 3);
SELECT id FROM crossing ORDER BY w <=> vec(19, 2030) LIMIT 1;
DROP TABLE crossing;

-- components at the ends of float's range: distances overflow, nothing breaks
CREATE TABLE huge (id int, v knn_vector(4));
INSERT INTO huge VALUES (1, '[3e38,3e38,3e38,3e38]'), (2, '[-3e38,-3e38,3e38,3e38]'),
	(3, '[1,2,3,4]'), (4, '[1e-40,0,0,0]'), (5, '[1e-45,1e-45,0,0]');
CREATE INDEX ON huge USING knn_ivf (v);
INSERT INTO huge VALUES (6, '[3e38,-3e38,3e38,3e38]'), (7, '[1,2,3,4]');
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM huge ORDER BY v <-> '[1,2,3,4]' LIMIT 10) t;
SELECT count(*) FROM (SELECT id FROM huge ORDER BY v <-> '[-3e38,-3e38,-3e38,-3e38]' LIMIT 10) t;
SELECT count(*) FROM (SELECT id FROM huge WHERE id IN (3, 7) ORDER BY v <-> '[1,2,3,4]' LIMIT 10) t;
DROP TABLE huge;

RESET enable_seqscan;
RESET knn.nprobes;
RESET knn.scan_order;
DROP FUNCTION plan, differences;
DROP FUNCTION vec;
