-- Every compression level of knn_hnsw, with each way of ranking.  Levels of the
-- graph and rotations are random, and bounds of estimates hold with high
-- probability only: comparisons with the exact order use a wide beam, fetch more
-- rows than they compare, and compare distances to four places.

-- deterministic vectors in 20 clusters
CREATE FUNCTION vec(i bigint, dim int) RETURNS knn_vector
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT array_agg((((i % 20 * 73856093) # (j * 19349663)) % 2000 / 1000.0 +
		((i * 83492791) # (j * 19349663)) % 1999 / 2000.0)::real ORDER BY j)::real[]::knn_vector
	FROM generate_series(1, dim::bigint) j
$$;
CREATE TABLE items (id int, cat int, v knn_vector(48), h knn_vector(48, 'half'));
INSERT INTO items SELECT i, i % 10, vec(i, 48), vec(i, 48) FROM generate_series(1, 2000) i;
INSERT INTO items VALUES (2001, 1, NULL, NULL);
ANALYZE items;

-- the distances of the first k rows, of 4 k fetched; raises an error when a row comes
-- twice, when a plan is not the one wanted, or when strict order is not kept
CREATE FUNCTION nearest(tab text, col text, op text, k int, q int, by_index bool, ordered bool DEFAULT true) RETURNS numeric[]
LANGUAGE plpgsql AS $$
DECLARE
	-- what the index measures: distances from the column's own data type
	query text := quote_literal(vec(q * 37 + 5, 48)) || '::knn_vector';
	statement text := format('SELECT id, %s %s %s AS d FROM %s ORDER BY d LIMIT %s', col, op, query, tab, 4 * k);
	plan text;
	answer numeric[];
	ids int[];
	distances float8[];
BEGIN
	PERFORM set_config('enable_seqscan', (NOT by_index)::text, true),
		set_config('enable_sort', (NOT by_index)::text, true),
		set_config('enable_indexscan', by_index::text, true);
	EXECUTE 'EXPLAIN (FORMAT json) ' || statement INTO plan;
	IF plan LIKE '%Index Scan%' <> by_index THEN
		RAISE EXCEPTION 'not the plan wanted: %', plan;
	END IF;
	EXECUTE format('SELECT array_agg(id), array_agg(d) FROM (%s) s', statement) INTO ids, distances;
	IF (SELECT count(DISTINCT i) <> count(*) FROM unnest(ids) i) THEN
		RAISE EXCEPTION 'rows returned twice';
	END IF;
	IF ordered THEN
		FOR i IN 2 .. cardinality(distances) LOOP
			IF distances[i] < distances[i - 1] - 1e-3 * abs(distances[i]) THEN
				RAISE EXCEPTION 'order not kept: % after %', distances[i], distances[i - 1];
			END IF;
		END LOOP;
	END IF;
	SELECT array_agg(round(d::numeric, 4) ORDER BY d) INTO answer
		FROM (SELECT d FROM unnest(distances) d ORDER BY d LIMIT k) s;
	RETURN answer;
END $$;

-- queries of 5 whose answer by the index is not the exact one
-- An index is approximate, and its random seed decides what it misses: so few as 1 count
-- as none.
CREATE FUNCTION differences(tab text, col text, op text, k int DEFAULT 10, ordered bool DEFAULT true) RETURNS bigint
LANGUAGE sql AS $$
	SELECT CASE WHEN count(*) <= 1 THEN 0 ELSE count(*) END FROM generate_series(1, 5) q
	WHERE nearest(tab, col, op, k, q, true, ordered) IS DISTINCT FROM nearest(tab, col, op, k, q, false)
$$;

-- rows, and different ones, that a scan of the whole index returns
CREATE FUNCTION whole_scan(tab text, col text, op text) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	answer text;
BEGIN
	SET LOCAL enable_seqscan = off;
	SET LOCAL enable_sort = off;
	SET LOCAL knn.max_scan_tuples = -1;
	EXECUTE format('SELECT count(*) || '' rows, '' || count(DISTINCT id) || '' different'' FROM
		(SELECT id FROM %s ORDER BY %s %s %L) s', tab, col, op, vec(77, 48)) INTO answer;
	RETURN answer;
END $$;

-- an index with these options: what it is, and queries that differ from the exact
-- answer when exact distances are computed lazily, and in two phases
CREATE FUNCTION try_level(col text, opclass text, op text, options text)
RETURNS TABLE (codes text, level text, efc int, lazy bigint, narrow bigint, on_ bigint, twice bigint, unranked text, in_order text, relaxed text)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE INDEX tried ON items USING knn_hnsw (%s %s) %s', col, opclass, options);
	SELECT encoder, compression_level, ef_construction INTO codes, level, efc FROM knn_index_info('tried');
	SET LOCAL knn.ef_search = 2500;
	lazy := differences('items', col, op);
	-- wide enough, which comes by widening
	SET LOCAL knn.ef_search = 5;
	SET LOCAL knn.oversample_factor = 100;
	narrow := differences('items', col, op, 25);
	SET LOCAL knn.ef_search = 2500;
	SET LOCAL knn.rescore = on;
	on_ := differences('items', col, op);
	SET LOCAL knn.oversample_factor = 7.5;
	twice := differences('items', col, op);
	SET LOCAL knn.ef_search = 0;
	in_order := whole_scan('items', col, op);
	SET LOCAL knn.oversample_factor = 0;
	SET LOCAL knn.rescore = off;
	unranked := whole_scan('items', col, op);
	PERFORM nearest('items', col, op, 20, 1, true, false);
	SET LOCAL knn.rescore = auto;
	SET LOCAL knn.scan_order = relaxed;
	relaxed := whole_scan('items', col, op);
	SET LOCAL knn.scan_order = strict;
	PERFORM knn_index_check('tried', true);
	DROP INDEX tried;
	RETURN NEXT;
END $$;

SELECT options, t.* FROM unnest(ARRAY[
	'', 'WITH (compression_level = ''2x'')', 'WITH (encoder = sq, bits = 8)', 'WITH (mode = in_memory, encoder = binary, bits = 4)',
	'WITH (compression_level = ''16x'')', 'WITH (mode = on_disk)', 'WITH (store_vectors = off)', 'WITH (mode = on_disk, store_vectors = off)'
	]) WITH ORDINALITY AS o (options, n), try_level('v', 'knn_vector_l2_ops', '<->', options) t ORDER BY n;
SELECT options, t.* FROM unnest(ARRAY['', 'WITH (compression_level = ''8x'')', 'WITH (mode = on_disk)']) AS options,
	try_level('v', 'knn_vector_cosine_ops', '<=>', options) t ORDER BY options;
SELECT opclass, options, t.* FROM (VALUES ('knn_vector_l1_ops', '<+>'), ('knn_vector_linf_ops', '<%>')) c (opclass, op),
	unnest(ARRAY['', 'WITH (store_vectors = off)']) AS options,
	try_level('v', opclass, op, options) t ORDER BY opclass, options;
SELECT opclass, options, t.* FROM (VALUES ('knn_vector_l2_ops', '<->', 'WITH (compression_level = ''2x'')'),
		('knn_vector_cosine_ops', '<=>', 'WITH (compression_level = ''4x'')'), ('knn_vector_l2_ops', '<->', 'WITH (mode = on_disk)'),
		('knn_vector_cosine_ops', '<=>', 'WITH (mode = on_disk, store_vectors = off)')) c (opclass, op, options),
	try_level('h', opclass, op, options) t ORDER BY opclass, options;
-- inner product: vectors around the origin; a rare short one may be out of the graph's reach
UPDATE items SET v = v - (SELECT avg(v) FROM items);
VACUUM FULL items;
SELECT options, codes, lazy <= 1 AS lazy FROM unnest(ARRAY['', 'WITH (compression_level = ''8x'')', 'WITH (mode = on_disk)', 'WITH (store_vectors = off)']) AS options,
	try_level('v', 'knn_vector_ip_ops', '<#>', options) t ORDER BY options;

-- without vectors: distances come from the rows that the snapshot shows
TRUNCATE items;
INSERT INTO items SELECT i, i % 10, vec(i, 48) FROM generate_series(1, 1500) i;
CREATE INDEX off_1 ON items USING knn_hnsw (v) WITH (mode = on_disk, store_vectors = off);
CREATE INDEX off_3 ON items USING knn_hnsw (v) WITH (store_vectors = off) WHERE cat = 3;
CREATE INDEX off_unit ON items USING knn_hnsw ((l2_normalize(v)::knn_vector(48)) knn_vector_ip_ops) WITH (compression_level = '8x', store_vectors = off);
CREATE FUNCTION all_differences() RETURNS TABLE (whole bigint, partial bigint, expression bigint, two_phase bigint)
LANGUAGE plpgsql AS $$
BEGIN
	SET LOCAL knn.ef_search = 2500;
	whole := differences('items', 'v', '<->');
	partial := differences('items WHERE cat = 3', 'v', '<->');
	expression := differences('items', 'l2_normalize(v)::knn_vector(48)', '<#>');
	SET LOCAL knn.oversample_factor = 100;
	two_phase := differences('items', 'v', '<->');
	PERFORM knn_index_check(i, true) FROM unnest('{off_1,off_3,off_unit}'::regclass[]) i;
	RETURN NEXT;
END $$;
SELECT * FROM all_differences();
-- rows inserted, moved, deleted; rows that share a vector
INSERT INTO items SELECT i, i % 10, vec(i, 48) FROM generate_series(1501, 1800) i;
SELECT * FROM all_differences();
UPDATE items SET v = vec(id + 5000, 48) WHERE id % 3 = 0;
UPDATE items SET cat = (cat + 1) % 10 WHERE id % 5 = 0;
SELECT * FROM all_differences();
DELETE FROM items WHERE id % 7 = 0;
SELECT * FROM all_differences();
VACUUM items;
SELECT * FROM all_differences();
INSERT INTO items SELECT 10000 + i, 3, vec(4, 48) FROM generate_series(1, 60) i;
UPDATE items SET v = vec(5, 48) WHERE id BETWEEN 10031 AND 10040;
DELETE FROM items WHERE id BETWEEN 10001 AND 10010;
SELECT * FROM all_differences();
VACUUM items;
SELECT * FROM all_differences();
SELECT whole_scan('items', 'v', '<->') = count(*) || ' rows, ' || count(*) || ' different' AS whole FROM items;
SET enable_seqscan = off;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> vec(4, 48) LIMIT 41) s WHERE id BETWEEN 10011 AND 10060 AND id NOT BETWEEN 10031 AND 10040;
SELECT count(*) FROM (SELECT id FROM items ORDER BY v <-> vec(5, 48) LIMIT 11) s WHERE id BETWEEN 10031 AND 10040;

-- a cursor shows what was there when it was opened
DO $$
DECLARE
	seen CURSOR FOR SELECT id FROM items ORDER BY v <-> vec(77, 48) LIMIT 1200;
	ids int[];
	one int;
BEGIN
	SET LOCAL enable_sort = off;
	OPEN seen;
	FETCH seen INTO one;
	ids := ids || one;
	DELETE FROM items WHERE id % 2 = 0 AND id < 10000;
	UPDATE items SET v = vec(77, 48) WHERE id < 100;
	INSERT INTO items SELECT 20000 + i, 1, vec(77 + i, 48) FROM generate_series(1, 50) i;
	LOOP
		FETCH seen INTO one;
		EXIT WHEN NOT FOUND;
		ids := ids || one;
	END LOOP;
	RAISE NOTICE '% rows, % different, % even, % new', cardinality(ids), (SELECT count(DISTINCT i) FROM unnest(ids) i),
		(SELECT count(*) FROM unnest(ids) i WHERE i % 2 = 0) > 500, (SELECT count(*) FROM unnest(ids) i WHERE i > 20000);
	DELETE FROM items WHERE id > 20000;
	INSERT INTO items SELECT i, i % 10, vec(i, 48) FROM generate_series(2, 1800, 2) i;
END $$;
-- many rows near the query that nobody sees any more: the others keep their order
DELETE FROM items WHERE id IN (SELECT id FROM items ORDER BY v <-> vec(1 * 37 + 5, 48) LIMIT 300);
SET knn.ef_search = 10;
SELECT cardinality(nearest('items', 'v', '<->', 20, 1, true)) AS in_order;
SET knn.oversample_factor = 2;
SELECT cardinality(nearest('items', 'v', '<->', 20, 1, true)) AS in_order;
SET knn.rescore = off;
SELECT cardinality(nearest('items', 'v', '<->', 20, 1, true, false)) AS unranked;
RESET knn.rescore;
RESET knn.oversample_factor;
RESET knn.ef_search;

-- a vector of NULL and queries of NULL; values that half precision cannot hold
CREATE TABLE rest (id int, v knn_vector(3));
INSERT INTO rest VALUES (1, '[1,2,3]'), (2, NULL), (3, '[65504,-65504,1]');
CREATE INDEX rest_2 ON rest USING knn_hnsw (v) WITH (compression_level = '2x');
CREATE INDEX rest_off ON rest USING knn_hnsw (v knn_vector_cosine_ops) WITH (store_vectors = off);
INSERT INTO rest VALUES (4, '[1,2,70000]');
SELECT id FROM rest ORDER BY v <-> '[1,2,100000]';
SELECT count(*) FROM (SELECT id FROM rest ORDER BY v <-> NULL LIMIT 5) s;
SELECT count(*) FROM (SELECT id FROM rest ORDER BY v <=> NULL LIMIT 5) s;
SELECT count(*) FROM (SELECT id FROM rest ORDER BY v <=> '[0,0,0]' LIMIT 5) s;
DROP INDEX rest_2;
INSERT INTO rest VALUES (4, '[1,2,70000]'), (5, '[0,0,0]');
CREATE INDEX rest_2 ON rest USING knn_hnsw (v) WITH (encoder = sq, bits = 16);
CREATE INDEX rest_2 ON rest USING knn_hnsw (v) WITH (encoder = sq, bits = 16, clip = on);
SELECT id, v FROM rest ORDER BY v <-> '[1,2,100000]';
SELECT rows FROM knn_index_info('rest_off');
SELECT id FROM rest ORDER BY v <=> '[1,2,100000]';

-- more rows than a first pass has at most
CREATE TABLE many (id int, v knn_vector(2));
INSERT INTO many SELECT i, ARRAY[i % 103, i / 103]::real[] FROM generate_series(1, 10300) i;
CREATE INDEX many_v ON many USING knn_hnsw (v) WITH (m = 6, ef_construction = 20, compression_level = '16x');
SET knn.rescore = on;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM many ORDER BY v <-> '[20,30]' LIMIT 10200) s;
SET knn.oversample_factor = 100;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM many ORDER BY v <-> '[20,30]' LIMIT 10200) s;
SET knn.rescore = off;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM many ORDER BY v <-> '[20,30]' LIMIT 10200) s;
RESET ALL;

DROP FUNCTION try_level, differences, nearest, whole_scan, all_differences;
DROP TABLE items, rest, many;
DROP FUNCTION vec;
