-- declarations
CREATE TABLE t (a knn_vector, b knn_vector(3), c knn_vector(3, 'float'), d knn_vector(3, 'half'), e knn_vector(3, 'byte'), f knn_vector(24, 'binary'), g knn_vector(3, half), h knn_vector(16000, 'BYTE'));
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum;
CREATE TABLE bad (v knn_vector(0));
CREATE TABLE bad (v knn_vector(-1));
CREATE TABLE bad (v knn_vector(16001));
CREATE TABLE bad (v knn_vector(99999999999999999999));
CREATE TABLE bad (v knn_vector('x'));
CREATE TABLE bad (v knn_vector(''));
CREATE TABLE bad (v knn_vector(3.5));
CREATE TABLE bad (v knn_vector(3, 'double'));
CREATE TABLE bad (v knn_vector(3, 'half', 1));
CREATE TABLE bad (v knn_vector(3, 'binary'));
CREATE TABLE bad (v knn_vector(16008, 'binary'));

-- assignment converts to the data type of the column
INSERT INTO t (a, b, c, d, e, f) VALUES ('[1,2,3]', '[1,2,3]', '[1,2,3]', '[1,2,3]', '[1,2,3]', '[1,2,3]');
SELECT knn_data_type(a), knn_data_type(b), knn_data_type(c), knn_data_type(d), knn_data_type(e), knn_data_type(f), knn_dims(f) FROM t;
SELECT a, b, c, d, e, f FROM t;

-- dimensions
INSERT INTO t (b) VALUES ('[1,2]');
INSERT INTO t (d) VALUES ('[1,2,3,4]');
INSERT INTO t (e) VALUES ('[1]');
INSERT INTO t (f) VALUES ('[1,2]');
INSERT INTO t (f) VALUES ('[0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1,0,1]');
UPDATE t SET b = '[1,2]';

-- range
SELECT '[65504,-65504,65505]'::knn_vector(3, 'half');
SELECT '[65504,-65504,1e-8,6e-8,0.1,1e-7]'::knn_vector(6, 'half');
SELECT '[1,2049,2051,-0]'::knn_vector(4, 'half');
SELECT '[-128,127,-0,1e2]'::knn_vector(4, 'byte');
SELECT '[-128,127,128]'::knn_vector(3, 'byte');
SELECT '[-129]'::knn_vector(1, 'byte');
SELECT '[1,1.5]'::knn_vector(2, 'byte');
SELECT '[1e30]'::knn_vector(1, 'byte');
SELECT '[1,1.5]'::knn_vector(16, 'binary');
SELECT '[1,128]'::knn_vector(16, 'binary');
SELECT '[99,-7]'::knn_vector(16, 'binary')::bit(16);

-- between data types
SELECT '[1,2]'::knn_vector(2, 'half')::knn_vector(2, 'byte'), '[1,2]'::knn_vector(2, 'byte')::knn_vector(2, 'half'), '[1,2]'::knn_vector(2, 'byte')::knn_vector(2), '[1,2]'::knn_vector(2, 'byte')::knn_vector(16, 'binary');
SELECT '[1,2]'::knn_vector(16, 'binary')::knn_vector(2);
SELECT '[1,2]'::knn_vector(16, 'binary')::knn_vector(16);
SELECT '[0.5]'::knn_vector(1, 'half')::knn_vector(1, 'byte');
SELECT knn_data_type('[1,2]'::knn_vector(2, 'byte')::knn_vector);
SELECT array_fill(1, ARRAY[2000])::knn_vector::knn_vector(16000, 'binary') <~> array_fill(0, ARRAY[2000])::knn_vector;

-- changing a column's type
ALTER TABLE t ALTER COLUMN b TYPE knn_vector(3, 'byte');
SELECT b, knn_data_type(b) FROM t;
ALTER TABLE t ALTER COLUMN b TYPE knn_vector(4, 'byte');
ALTER TABLE t ALTER COLUMN f TYPE knn_vector(3);
DROP TABLE t;
