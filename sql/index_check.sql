-- levels are drawn by chance, and with them, rarely, a node that is out of reach
SET client_min_messages = error;

-- sound indexes of every space, built and filled by inserts
CREATE TABLE checked (id int, v knn_vector(8));
CREATE INDEX checked_filled ON checked USING knn_hnsw (v) WITH (m = 4);
SELECT knn_index_check('checked_filled', true, true);
INSERT INTO checked SELECT i, ARRAY[i, i * 7 % 11, i % 13, i * i % 17, i % 3, 1, 2, i * 5 % 23]::real[]
	FROM generate_series(1, 600) i;
INSERT INTO checked SELECT 1000 + i, '[1,2,3,4,5,6,7,8]' FROM generate_series(1, 30) i;
INSERT INTO checked VALUES (2000, NULL), (2001, '[0,0,0,0,0,0,0,0]'), (2002, '[0,0,0,0,0,0,0,0]');
CREATE INDEX checked_l2 ON checked USING knn_hnsw (v);
CREATE INDEX checked_ip ON checked USING knn_hnsw (v knn_vector_ip_ops);
CREATE INDEX checked_cosine ON checked USING knn_hnsw (v knn_vector_cosine_ops);
CREATE INDEX checked_l1 ON checked USING knn_hnsw (v knn_vector_l1_ops);
CREATE INDEX checked_linf ON checked USING knn_hnsw (v knn_vector_linf_ops);
CREATE INDEX checked_partial ON checked USING knn_hnsw (v) WHERE id % 3 = 0;
CREATE INDEX checked_expression ON checked USING knn_hnsw ((l2_normalize(v)::knn_vector(8)) knn_vector_ip_ops);
CREATE VIEW indexes AS SELECT indexrelid::regclass AS index FROM pg_index WHERE indrelid = 'checked'::regclass;
SELECT index, knn_index_check(index, heapallindexed => true) FROM indexes ORDER BY index::text;

-- after deletes, VACUUM, rows that take up tombstones again, and HOT updates
DELETE FROM checked WHERE id % 2 = 0;
SELECT index, knn_index_check(index, heapallindexed => true) FROM indexes ORDER BY index::text;
VACUUM checked;
SELECT index, knn_index_check(index, heapallindexed => true) FROM indexes ORDER BY index::text;
INSERT INTO checked SELECT i, ARRAY[i, i * 7 % 11, i % 13, i * i % 17, i % 3, 1, 2, i * 5 % 23]::real[]
	FROM generate_series(1, 650, 2) i;
UPDATE checked SET v = v WHERE id < 100;
UPDATE checked SET id = id + 1 WHERE id > 550;
SELECT index, knn_index_check(index, heapallindexed => true) FROM indexes ORDER BY index::text;

-- within a transaction that has changed the table, and one that was rolled back
BEGIN;
INSERT INTO checked VALUES (1, '[9,9,9,9,9,9,9,9]');
SELECT knn_index_check('checked_l2', true);
ROLLBACK;
SELECT knn_index_check('checked_l2', true, true);

-- vectors wider than a page; unlogged and temporary tables
CREATE UNLOGGED TABLE wide (id int, v knn_vector(2500));
INSERT INTO wide SELECT i, (SELECT array_agg((i * j) % 101) FROM generate_series(1, 2500) j)::int[] FROM generate_series(1, 40) i;
CREATE INDEX wide_v ON wide USING knn_hnsw (v);
INSERT INTO wide SELECT i, (SELECT array_agg((i * j) % 101) FROM generate_series(1, 2500) j)::int[] FROM generate_series(41, 60) i;
SELECT knn_index_check('wide_v', true, true);
CREATE TEMP TABLE temporary (v knn_vector(2));
CREATE INDEX temporary_v ON temporary USING knn_hnsw (v);
INSERT INTO temporary VALUES ('[1,2]'), ('[1,2]'), ('[2,1]');
SELECT knn_index_check('temporary_v', true, true);

-- a row that the index does not know
UPDATE pg_index SET indisready = false WHERE indexrelid = 'checked_l2'::regclass;
INSERT INTO checked VALUES (3000, '[3,1,4,1,5,9,2,6]');
UPDATE pg_index SET indisready = true WHERE indexrelid = 'checked_l2'::regclass;
SELECT knn_index_check('checked_l2');
\set VERBOSITY sqlstate
SELECT knn_index_check('checked_l2', true);
\set VERBOSITY default
DELETE FROM checked WHERE id = 3000;
SELECT knn_index_check('checked_l2', true);

-- what cannot be checked
SELECT knn_index_check('checked');
SELECT knn_index_check(0);
SELECT knn_index_check(NULL);
CREATE TABLE check_parent (id int, v knn_vector(3)) PARTITION BY RANGE (id);
CREATE INDEX check_parent_v ON check_parent USING knn_hnsw (v);
SELECT knn_index_check('check_parent_v');
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'checked_l1'::regclass;
SELECT knn_index_check('checked_l1');
UPDATE pg_index SET indisvalid = true WHERE indexrelid = 'checked_l1'::regclass;

-- who may check: the owner, not who reads
CREATE ROLE knn_check_reader;
GRANT SELECT ON checked TO knn_check_reader;
SET ROLE knn_check_reader;
SELECT knn_index_check('checked_l2');
RESET ROLE;
CREATE ROLE knn_check_owner;
ALTER TABLE wide OWNER TO knn_check_owner;
SET ROLE knn_check_owner;
SELECT knn_index_check('wide_v', true, true);
RESET ROLE;

-- expressions are evaluated as the table's owner
CREATE TABLE owned (v knn_vector(2));
CREATE FUNCTION who(v knn_vector) RETURNS knn_vector LANGUAGE plpgsql IMMUTABLE AS
	$$ BEGIN IF current_user <> 'knn_check_owner' THEN RAISE EXCEPTION 'evaluated by %', current_user; END IF; RETURN v; END $$;
INSERT INTO owned VALUES ('[1,2]');
ALTER TABLE owned OWNER TO knn_check_owner;
CREATE INDEX owned_who ON owned USING knn_hnsw ((who(v)::knn_vector(2)));
SELECT knn_index_check('owned_who', true);
SELECT current_user = session_user AS back;

DROP VIEW indexes;
DROP TABLE checked, wide, check_parent, owned;
DROP FUNCTION who(knn_vector);
DROP ROLE knn_check_reader, knn_check_owner;
