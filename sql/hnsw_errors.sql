-- What knn_hnsw refuses, and says why

CREATE TABLE t (id int, v knn_vector(3), untyped knn_vector, h knn_vector(3, 'half'),
	b knn_vector(3, 'byte'), bits knn_vector(8, 'binary'), r real[]);

-- columns that cannot be indexed
CREATE INDEX ON t USING knn_hnsw (untyped);
CREATE INDEX ON t USING knn_hnsw (h);
CREATE INDEX ON t USING knn_hnsw (b);
CREATE INDEX ON t USING knn_hnsw (bits);
CREATE INDEX ON t USING knn_hnsw (id);
CREATE INDEX ON t USING knn_hnsw (r);
CREATE INDEX ON t USING knn_hnsw ((v + v));
CREATE INDEX ON t USING knn_hnsw (v int4_ops);
CREATE INDEX ON t USING knn_hnsw (v no_such_ops);

-- and with an expression can
CREATE INDEX ON t USING knn_hnsw ((untyped::knn_vector(3)));
CREATE INDEX ON t USING knn_hnsw ((h::knn_vector(3)));
CREATE INDEX ON t USING knn_hnsw ((r::knn_vector(3)));

-- what the access method does not do
CREATE INDEX ON t USING knn_hnsw (v, untyped);
CREATE INDEX ON t USING knn_hnsw (v, id);
CREATE INDEX ON t USING knn_hnsw (v) INCLUDE (id);
CREATE UNIQUE INDEX ON t USING knn_hnsw (v);
CREATE INDEX ON t USING knn_hnsw (v ASC);
CREATE INDEX ON t USING knn_hnsw (v DESC);
CREATE INDEX ON t USING knn_hnsw (v NULLS FIRST);
\set VERBOSITY sqlstate
ALTER TABLE t ADD EXCLUDE USING knn_hnsw (v WITH =);
ALTER TABLE t ADD EXCLUDE USING knn_hnsw (v WITH <->);
\set VERBOSITY default
CREATE INDEX vi ON t USING knn_hnsw (v);
CLUSTER t USING vi;
ALTER TABLE t CLUSTER ON vi;
ALTER TABLE t REPLICA IDENTITY USING INDEX vi;
ALTER TABLE t ADD PRIMARY KEY USING INDEX vi;

-- dimensions: the column's at insert, the expression's at insert and build
INSERT INTO t (v) VALUES ('[1,2]');
INSERT INTO t (v) VALUES ('[1,2,3,4]');
INSERT INTO t (untyped) VALUES ('[1,2,3,4]');
INSERT INTO t (h) VALUES ('[1,2,3]');
INSERT INTO t (v) VALUES ('[1,2,3]'), ('[4,5,6]');
-- a query of another dimension, by constant or parameter, whatever is in the table
SET enable_seqscan = off;
SELECT id FROM t ORDER BY v <-> '[1,2]' LIMIT 1;
SELECT id FROM t ORDER BY v <-> (SELECT '[1,2,3,4]'::knn_vector) LIMIT 1;
SELECT id FROM t ORDER BY v <-> '[]' LIMIT 1;
TRUNCATE t;
SELECT id FROM t ORDER BY v <-> '[1,2]' LIMIT 1;
-- other data types are converted
INSERT INTO t (id, v) VALUES (1, '[1,2,3]'), (2, '[4,5,6]');
SELECT id FROM t ORDER BY v <-> '[4,5,6]'::knn_vector(3, 'half') LIMIT 1;
SELECT id FROM t ORDER BY v <-> '[4,5,6]'::knn_vector(3, 'byte') LIMIT 1;
SELECT id FROM t ORDER BY v <-> '[99]'::knn_vector(8, 'binary') LIMIT 1;
RESET enable_seqscan;

-- a failed insert leaves nothing behind; the statement's other rows neither
INSERT INTO t (id, v) SELECT i, ARRAY[i, i, 1 / (50 - i)]::real[]::knn_vector FROM generate_series(1, 60) i;
SELECT count(*) FROM t;
SET enable_seqscan = off;
SET knn.scan_order = relaxed;
SELECT count(*) FROM (SELECT id FROM t ORDER BY v <-> '[1,2,3]') s;
RESET ALL;

-- an ALTER that would change the dimension rebuilds the index, or fails
ALTER TABLE t ALTER v TYPE knn_vector(4);
ALTER TABLE t ALTER v TYPE knn_vector;
ALTER TABLE t ALTER v TYPE knn_vector(2) USING subvector(v, 1, 2);
SET enable_seqscan = off;
SELECT id FROM t ORDER BY v <-> '[4,5]' LIMIT 1;
RESET enable_seqscan;

DROP TABLE t;

-- every operator class is valid
SELECT am.amname, opc.opcname, amvalidate(opc.oid)
	FROM pg_opclass opc JOIN pg_am am ON am.oid = opc.opcmethod
	WHERE opc.opcintype = 'knn_vector'::regtype ORDER BY 1, 2;

-- and those that are not are told
SET client_min_messages = warning;
CREATE FUNCTION space_of_text(text) RETURNS int4 LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION space_big(internal) RETURNS int8 LANGUAGE internal IMMUTABLE AS 'int8um';
CREATE OPERATOR CLASS no_function FOR TYPE knn_vector USING knn_hnsw AS
	OPERATOR 1 <-> (knn_vector, knn_vector) FOR ORDER BY float_ops;
CREATE OPERATOR CLASS no_operator FOR TYPE knn_vector USING knn_hnsw AS
	FUNCTION 1 knn_space_l2(internal);
CREATE OPERATOR CLASS wrong_signature FOR TYPE knn_vector USING knn_hnsw AS
	OPERATOR 1 <-> (knn_vector, knn_vector) FOR ORDER BY float_ops,
	FUNCTION 1 space_of_text(text);
CREATE OPERATOR CLASS wrong_result FOR TYPE knn_vector USING knn_hnsw AS
	OPERATOR 1 <-> (knn_vector, knn_vector) FOR ORDER BY float_ops,
	FUNCTION 1 space_big(internal);
CREATE OPERATOR CLASS search_operator FOR TYPE knn_vector USING knn_hnsw AS
	OPERATOR 1 = (knn_vector, knn_vector),
	FUNCTION 1 knn_space_l2(internal);
CREATE OPERATOR CLASS strategy_two FOR TYPE knn_vector USING knn_hnsw AS
	OPERATOR 2 <-> (knn_vector, knn_vector) FOR ORDER BY float_ops,
	FUNCTION 1 knn_space_l2(internal);
CREATE OPERATOR CLASS function_two FOR TYPE knn_vector USING knn_hnsw AS
	OPERATOR 1 <-> (knn_vector, knn_vector) FOR ORDER BY float_ops,
	FUNCTION 2 knn_space_l2(internal);
RESET client_min_messages;
SELECT opcname, amvalidate(oid) FROM pg_opclass
	WHERE opcmethod = (SELECT oid FROM pg_am WHERE amname = 'knn_hnsw') AND opcname !~ '^knn_'
	ORDER BY opcname;
-- a broken one is refused when it is used
CREATE TABLE t (v knn_vector(3));
CREATE INDEX ON t USING knn_hnsw (v no_function);
DROP TABLE t;
DROP OPERATOR FAMILY IF EXISTS no_function USING knn_hnsw CASCADE;
DROP OPERATOR FAMILY IF EXISTS no_operator USING knn_hnsw CASCADE;
DROP OPERATOR FAMILY IF EXISTS wrong_signature USING knn_hnsw CASCADE;
DROP OPERATOR FAMILY IF EXISTS wrong_result USING knn_hnsw CASCADE;
DROP OPERATOR FAMILY IF EXISTS search_operator USING knn_hnsw CASCADE;
DROP OPERATOR FAMILY IF EXISTS strategy_two USING knn_hnsw CASCADE;
DROP OPERATOR FAMILY IF EXISTS function_two USING knn_hnsw CASCADE;
DROP FUNCTION space_of_text;
DROP FUNCTION space_big;

-- what the server knows of the access method
SELECT amname, p.name, pg_indexam_has_property(a.oid, p.name)
	FROM pg_am a, unnest(ARRAY['can_order', 'can_unique', 'can_multi_col', 'can_exclude', 'can_include']) p (name)
	WHERE amname = 'knn_hnsw' ORDER BY 2;
CREATE TABLE t (v knn_vector(3));
CREATE INDEX ti ON t USING knn_hnsw (v);
SELECT p.name, pg_index_has_property('ti'::regclass, p.name)
	FROM unnest(ARRAY['clusterable', 'index_scan', 'bitmap_scan', 'backward_scan']) p (name);
SELECT p.name, pg_index_column_has_property('ti'::regclass, 1, p.name)
	FROM unnest(ARRAY['orderable', 'distance_orderable', 'returnable', 'search_array', 'search_nulls']) p (name);
DROP TABLE t;
