-- arrays to vectors
SELECT ARRAY[1,2,3]::knn_vector, ARRAY[1,2,3]::real[]::knn_vector, ARRAY[1,2.5]::float8[]::knn_vector, ARRAY[0.1,2.5]::knn_vector;
SELECT '{1,2}'::int[]::knn_vector(2, 'byte'), '{1,2}'::real[]::knn_vector(2, 'half'), '{99,-7}'::int[]::knn_vector(16, 'binary'), '{99,-7}'::float8[]::knn_vector(16, 'binary'), '{99,-7}'::numeric[]::knn_vector(2);
SELECT '{1,2}'::int[]::knn_vector(3);
SELECT '{1,2}'::int[]::knn_vector(2, 'binary');
SELECT '{1,2}'::int[]::knn_vector(16, 'binary');
SELECT '{1,200}'::int[]::knn_vector(2, 'byte');
SELECT '{1,1.5}'::real[]::knn_vector(2, 'byte');
SELECT '{}'::real[]::knn_vector;
SELECT '{}'::int[]::knn_vector;
SELECT '{{1},{2}}'::real[]::knn_vector;
SELECT '{{1},{2}}'::float8[]::knn_vector;
SELECT '{1,NULL}'::real[]::knn_vector;
SELECT '{1,NULL}'::float8[]::knn_vector;
SELECT '{1,NULL}'::int[]::knn_vector;
SELECT '{1,NULL}'::numeric[]::knn_vector;
SELECT '{1,NaN}'::real[]::knn_vector;
SELECT '{NaN}'::float8[]::knn_vector;
SELECT '{1,2,NaN}'::numeric[]::knn_vector;
SELECT '{1,Infinity}'::real[]::knn_vector;
SELECT '{-Infinity}'::float8[]::knn_vector;
SELECT '{1,1e300}'::float8[]::knn_vector;
SELECT '{1,1e40}'::numeric[]::knn_vector;
SELECT '{1e-300}'::float8[]::knn_vector, '[5:6]={1,2}'::real[]::knn_vector;
SELECT knn_dims(array_fill(1, ARRAY[16000])::knn_vector);
SELECT array_fill(1, ARRAY[16001])::knn_vector;
SELECT array_fill(1, ARRAY[2001])::knn_vector(16000, 'binary');

-- an array whose null was overwritten still has a null bitmap
DO $$ DECLARE a real[] := '{1,NULL}'; BEGIN a[2] := 2; RAISE NOTICE '%', a::knn_vector; END $$;

-- vectors to arrays
SELECT '[1,2.5]'::knn_vector::real[], '[1,0.1]'::knn_vector::float8[], '[1,2.5,3.5,-1.5]'::knn_vector::int[];
SELECT v::real[], v::float8[], v::int[] FROM (VALUES ('[1,-2]'::knn_vector(2, 'half')), ('[1,-2]'::knn_vector(2, 'byte')), ('[1,-2]'::knn_vector(16, 'binary'))) t(v);
SELECT '[1,2147483520]'::knn_vector::int[];
SELECT '[1,2147483648]'::knn_vector::int[];

-- bits
SELECT B'0110001111111001'::knn_vector, B'0110001111111001'::knn_vector(16, 'binary'), '[99,-7]'::knn_vector(16, 'binary')::bit(16), '[99,-7]'::knn_vector(16, 'binary')::bit(16)::knn_vector = '[99,-7]' AS back;
SELECT B'011'::knn_vector;
SELECT B''::knn_vector;
SELECT B'01100011'::knn_vector(16, 'binary');
SELECT B'01100011'::knn_vector(8);
SELECT repeat('1', 16008)::bit(16008)::knn_vector;
SELECT '[99,-7]'::knn_vector::bit(16);

-- assignment
CREATE TABLE t (v knn_vector(2), b knn_vector(2, 'byte'), x knn_vector(16, 'binary'), r real[], d float8[], bits bit(16));
INSERT INTO t (v, b, x) VALUES (ARRAY[1,2], ARRAY[1,2]::real[], ARRAY[1,2]::float8[]), (ARRAY[1,2.5], ARRAY[3,4], B'0000000100000010');
UPDATE t SET r = v, d = b, bits = x;
SELECT * FROM t;
INSERT INTO t (v) VALUES (ARRAY[1,2,3]);
INSERT INTO t (bits) SELECT v FROM t;
DROP TABLE t;

-- without the extension vector there is nothing to cast
SELECT knn_create_pgvector_casts() IS NOT NULL;

-- the extension can move
CREATE SCHEMA elsewhere;
ALTER EXTENSION knn SET SCHEMA elsewhere;
SELECT '[1,2]'::elsewhere.knn_vector(2, 'byte') OPERATOR(elsewhere.<->) '[1,3]', elsewhere.knn_create_pgvector_casts() IS NOT NULL;
ALTER EXTENSION knn SET SCHEMA public;
DROP SCHEMA elsewhere;
