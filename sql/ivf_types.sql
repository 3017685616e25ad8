-- knn_ivf over byte, half and binary columns.  Codes of byte and binary columns are
-- exact, so that the order is, too, when all lists are looked at.

-- deterministic integers in -128 .. 127
CREATE FUNCTION ints(i bigint, dim int) RETURNS int[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT array_agg(least(((i * 73856093) # (j * 19349663)) % 257, 255)::int - 128 ORDER BY j) FROM generate_series(1, dim::bigint) j
$$;

-- distances of the first k rows by index, and by sorting; ids only of rows whose
-- distance no other row has
CREATE FUNCTION answer(tab text, col text, op text, k int, query text, by_index bool, places int DEFAULT 15) RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
	statement text := format('SELECT id, %s %s %s AS d FROM %s ORDER BY %s %s %s LIMIT %s', col, op, query, tab, col, op, query, k);
	plan text;
	answer text;
BEGIN
	PERFORM set_config('enable_seqscan', (NOT by_index)::text, true),
		set_config('enable_sort', (NOT by_index)::text, true),
		set_config('enable_indexscan', by_index::text, true);
	EXECUTE 'EXPLAIN (FORMAT json) ' || statement INTO plan;
	IF plan LIKE '%Index Scan%' <> by_index THEN
		RAISE EXCEPTION 'not the plan wanted: %', plan;
	END IF;
	-- as returned, not sorted again
	EXECUTE format('SELECT string_agg(round(d::numeric, %s)::text, '' '') || '', rows ''
		|| (SELECT count(DISTINCT i) FROM unnest(array_agg(id)) i) FROM (%s) s',
		places, statement) INTO answer;
	RETURN answer;
END $$;
-- An index is approximate, and its random seed decides what it misses: so few as 3 count
-- as none.
CREATE FUNCTION differences(tab text, col text, op text, k int, queries text[], places int DEFAULT 15) RETURNS bigint
LANGUAGE sql AS $$
	SELECT CASE WHEN count(*) <= 3 THEN 0 ELSE count(*) END FROM unnest(queries) query
	WHERE answer(tab, col, op, k, query, true, places) IS DISTINCT FROM answer(tab, col, op, k, query, false, places)
$$;
SET knn.nprobes = 2000;

-- byte: every space, built and filled by inserts
CREATE TABLE bytes (id int, b knn_vector(12, 'byte'));
INSERT INTO bytes SELECT i, ints(i, 12) FROM generate_series(1, 700) i;
INSERT INTO bytes SELECT 1000 + i, ints(i % 5, 12) FROM generate_series(1, 60) i;
INSERT INTO bytes VALUES (2001, NULL), (2002, '[-128,-128,-128,-128,-128,-128,-128,-128,-128,-128,-128,-128]'),
	(2003, '[127,127,127,127,127,127,127,127,127,127,127,127]'), (2004, '[1,0,0,0,0,0,0,0,0,0,0,0]'), (2005, '[2,0,0,0,0,0,0,0,0,0,0,0]');
CREATE TABLE byte_queries AS SELECT array_agg(quote_literal(ints(i * 991, 12)::knn_vector::text) || kind) AS queries
	FROM generate_series(1, 6) i, unnest('{"::knn_vector","::knn_vector(12, ''byte'')"}'::text[]) kind;
CREATE FUNCTION try_bytes() RETURNS TABLE (space text, rows bigint, nodes bigint, differences bigint)
LANGUAGE plpgsql AS $$
BEGIN
	FOR space, differences IN SELECT s, CASE WHEN s = 'cosine' THEN
			differences('bytes WHERE NOT b = ''[0,0,0,0,0,0,0,0,0,0,0,0]''::knn_vector', 'b', op, 200, queries, 6)
			ELSE differences('bytes WHERE b IS NOT NULL', 'b', op, 200, queries, 6) END
		FROM byte_queries, (VALUES ('l2', '<->'), ('ip', '<#>'), ('cosine', '<=>'), ('l1', '<+>'), ('linf', '<%>')) o (s, op)
	LOOP
		SELECT i.rows, i.nodes INTO rows, nodes FROM knn_index_info(('bytes_' || space)::regclass) i;
		PERFORM knn_index_check(('bytes_' || space)::regclass, true);
		RETURN NEXT;
	END LOOP;
END $$;
CREATE INDEX bytes_l2 ON bytes USING knn_ivf (b);
CREATE INDEX bytes_ip ON bytes USING knn_ivf (b knn_vector_ip_ops);
CREATE INDEX bytes_cosine ON bytes USING knn_ivf (b knn_vector_cosine_ops);
CREATE INDEX bytes_l1 ON bytes USING knn_ivf (b knn_vector_l1_ops);
CREATE INDEX bytes_linf ON bytes USING knn_ivf (b knn_vector_linf_ops);
SELECT * FROM try_bytes();
-- zero vectors have no cosine distance
INSERT INTO bytes VALUES (2010, '[0,0,0,0,0,0,0,0,0,0,0,0]'), (2011, '[0,0,0,0,0,0,0,0,0,0,0,0]');
INSERT INTO bytes SELECT 3000 + i, ints(900 + i, 12) FROM generate_series(1, 200) i;
INSERT INTO bytes SELECT 4000 + i, ints(900 + i % 7, 12) FROM generate_series(1, 60) i;
SELECT * FROM try_bytes();
DELETE FROM bytes WHERE id % 3 = 1;
UPDATE bytes SET b = ints(id + 7000, 12) WHERE id % 5 = 1;
SELECT * FROM try_bytes();
VACUUM bytes;
SELECT * FROM try_bytes();
TRUNCATE bytes;
INSERT INTO bytes SELECT i, ints(i, 12) FROM generate_series(1, 500) i;
INSERT INTO bytes VALUES (600, '[0,0,0,0,0,0,0,0,0,0,0,0]');
SELECT * FROM try_bytes();
REINDEX TABLE bytes;
SELECT * FROM try_bytes();
-- the largest distances
SELECT b <-> '[127,127,127,127,127,127,127,127,127,127,127,127]' AS l2 FROM bytes ORDER BY b <-> '[127,127,127,127,127,127,127,127,127,127,127,127]' LIMIT 2;
-- queries that no byte vector can be
SELECT id FROM bytes ORDER BY b <-> '[128,0,0,0,0,0,0,0,0,0,0,0]' LIMIT 1;
SELECT id FROM bytes ORDER BY b <-> '[-129,0,0,0,0,0,0,0,0,0,0,0]' LIMIT 1;
SELECT id FROM bytes ORDER BY b <-> '[0.5,0,0,0,0,0,0,0,0,0,0,0]' LIMIT 1;
SELECT id FROM bytes ORDER BY b <-> '[1,2,3]' LIMIT 1;
INSERT INTO bytes VALUES (1, '[128,0,0,0,0,0,0,0,0,0,0,0]');
SELECT count(*) FROM (SELECT FROM bytes ORDER BY b <=> '[0,0,0,0,0,0,0,0,0,0,0,0]'::knn_vector(12, 'byte') LIMIT 9) s;

-- half: every space; a float query is rounded to half, as by the operator
CREATE TABLE halves (id int, h knn_vector(20, 'half'));
INSERT INTO halves SELECT i, (SELECT array_agg(e / 100.0) FROM unnest(ints(i, 20)) e)::real[] FROM generate_series(1, 500) i;
INSERT INTO halves SELECT 1000 + i, h FROM halves, generate_series(1, 6) i WHERE id % 50 = 0;
INSERT INTO halves VALUES (2001, NULL), (2002, array_fill(65504, '{20}')::knn_vector), (2003, array_fill(6e-8, '{20}')::real[]);
CREATE INDEX halves_l2 ON halves USING knn_ivf (h);
CREATE INDEX halves_ip ON halves USING knn_ivf (h knn_vector_ip_ops);
CREATE INDEX halves_cosine ON halves USING knn_ivf (h knn_vector_cosine_ops);
CREATE INDEX halves_l1 ON halves USING knn_ivf (h knn_vector_l1_ops);
CREATE INDEX halves_linf ON halves USING knn_ivf (h knn_vector_linf_ops);
INSERT INTO halves SELECT 3000 + i, (SELECT array_agg(e / 100.0) FROM unnest(ints(i + 800, 20)) e)::real[] FROM generate_series(1, 100) i;
INSERT INTO halves VALUES (4000, array_fill(0, '{20}')::knn_vector);
CREATE TABLE half_queries AS SELECT array_agg(quote_literal((SELECT array_agg(e / 99.7) FROM unnest(ints(i * 991, 20)) e)::real[]::knn_vector::text) || kind) AS queries
	FROM generate_series(1, 6) i, unnest('{"::knn_vector","::knn_vector(20, ''half'')"}'::text[]) kind;
SELECT s, differences('halves WHERE id < 4000 AND h IS NOT NULL', 'h', op, 20, queries, 3)
	FROM half_queries, (VALUES ('l2', '<->'), ('ip', '<#>'), ('cosine', '<=>'), ('l1', '<+>'), ('linf', '<%>')) o (s, op);
SELECT c, rows, knn_index_check(c, true) FROM unnest('{halves_l2,halves_cosine,halves_linf}'::regclass[]) c, knn_index_info(c);
SELECT id FROM halves ORDER BY h <-> array_fill(65504, '{20}')::knn_vector LIMIT 1;
SELECT id FROM halves ORDER BY h <-> array_fill(65520, '{20}')::knn_vector LIMIT 1;
INSERT INTO halves VALUES (1, array_fill(65520, '{20}')::knn_vector);

-- binary: dimensions that are and are not whole words
CREATE FUNCTION try_bits(dim int, n int) RETURNS TABLE (differences bigint, first text, rows bigint, nodes bigint, lists int)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TABLE bits (id int, b knn_vector(%s, ''binary''))', dim);
	EXECUTE format('INSERT INTO bits SELECT i, ints(i, %s) FROM generate_series(1, %s) i', dim / 8, n);
	CREATE INDEX bits_b ON bits USING knn_ivf (b knn_vector_hamming_ops);
	EXECUTE format('INSERT INTO bits SELECT i, ints(i, %s) FROM generate_series(%s, %s) i', dim / 8, n + 1, n + n / 4);
	INSERT INTO bits SELECT 10000 + i, b FROM bits, generate_series(1, 9) i WHERE id = 3;
	EXECUTE 'INSERT INTO bits VALUES (20000, NULL), (20001, $1::knn_vector), (20002, $2::knn_vector)'
		USING array_fill(0, ARRAY[dim / 8]), array_fill(-1, ARRAY[dim / 8]);
	differences := differences('bits WHERE b IS NOT NULL', 'b', '<~>', 50,
		(SELECT array_agg(quote_literal(ints(i * 991, dim / 8)::knn_vector::text) || format('::knn_vector(%s, ''binary'')', dim)) FROM generate_series(1, 8) i));
	first := split_part(answer('bits WHERE b IS NOT NULL', 'b', '<~>', 3, quote_literal(ints(3, dim / 8)::knn_vector::text) || format('::knn_vector(%s, ''binary'')', dim), true, 0), ',', 1);
	PERFORM knn_index_check('bits_b', true);
	SELECT i.rows, i.nodes, i.lists INTO rows, nodes, lists FROM knn_index_info('bits_b') i;
	DROP TABLE bits;
	RETURN NEXT;
END $$;
SELECT dim, n, t.* FROM (VALUES (8, 400), (64, 400), (72, 400), (1000, 300), (16000, 60)) d (dim, n), try_bits(dim, n) t;
CREATE TABLE signs (id int, s knn_vector(16, 'binary'));
CREATE INDEX ON signs USING knn_ivf (s knn_vector_hamming_ops);
INSERT INTO signs VALUES (1, '[0,0]'), (2, '[-1,-1]'), (3, '[99,0]'), (4, B'0110001100000001'::knn_vector);
SET enable_seqscan = off;
SELECT id, s <~> '[99,0]' AS d FROM signs ORDER BY s <~> '[99,0]';
SELECT id FROM signs ORDER BY s <~> B'1111111111111110'::knn_vector LIMIT 1;
SELECT id FROM signs ORDER BY s <~> '[99]' LIMIT 1;
SELECT id FROM signs ORDER BY s <~> '[200,0]' LIMIT 1;
SELECT id FROM signs ORDER BY s <~> '[0.5,0]' LIMIT 1;

RESET ALL;
DROP TABLE bytes, byte_queries, halves, half_queries, signs;
DROP FUNCTION try_bytes, try_bits, differences, answer, ints;
