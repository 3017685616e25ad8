-- text form
SELECT '[1,2,3]'::knn_vector;
SELECT ' [ 1 , 2.5 ,	-3e-2 ] '::knn_vector;
SELECT E'\n\t\r\x0b\f[\n1\n]\n'::knn_vector;
SELECT '[+1,-1,.5,5.,1e3,1E+3,1e-3,00012,-0]'::knn_vector;
SELECT '[1.23456789,0.1,3.4028235e38,-3.4028235e38,1.17549435e-38]'::knn_vector;

-- subnormal and too small numbers
SELECT '[1e-45,1.4e-45,7e-46,1e-46,-1e-400]'::knn_vector;

-- rounding next to the midpoint of two floats, with many digits
SELECT '[16777217,16777217.000000000000000000000000000001,16777219,16777218.999999999999999999999999]'::knn_vector;
SELECT '[0.1000000000000000055511151231257827021181583404541015625,1.00000005960464477539062500000000000000000000000000000000000001,1.000000059604644775390625]'::knn_vector;
SELECT '[123456789012345678901234567890,0.000000000000000000000000000000000000123456789012345678901234567890]'::knn_vector;
SELECT ('[0.' || repeat('0', 500) || '1e501,1' || repeat('0', 500) || 'e-500]')::knn_vector;

-- the same rounding as real has
SELECT count(*) FROM generate_series(1, 5000) i,
	LATERAL (SELECT ((hashint4(i)::float8 / 2147483648) * 10::float8 ^ (i % 77 - 38))::text AS x) r
	WHERE ('[' || x || ']')::knn_vector::real[] <> ARRAY[x::real];

-- errors
SELECT ''::knn_vector;
SELECT ' '::knn_vector;
SELECT '1,2,3'::knn_vector;
SELECT '['::knn_vector;
SELECT '[ '::knn_vector;
SELECT '[]'::knn_vector;
SELECT '[ ]'::knn_vector;
SELECT '[,'::knn_vector;
SELECT '[,]'::knn_vector;
SELECT '[1,]'::knn_vector;
SELECT '[,1]'::knn_vector;
SELECT '[1,,3]'::knn_vector;
SELECT '[1, ,3]'::knn_vector;
SELECT '[1 2]'::knn_vector;
SELECT '[1,2,3'::knn_vector;
SELECT '[1,2,3]9'::knn_vector;
SELECT '[1,2,3] x'::knn_vector;
SELECT '[[1]]'::knn_vector;
SELECT '{1}'::knn_vector;
SELECT '[hello,1]'::knn_vector;
SELECT '[1a]'::knn_vector;
SELECT '[0x10]'::knn_vector;
SELECT '[1e]'::knn_vector;
SELECT '[1e+]'::knn_vector;
SELECT '[.]'::knn_vector;
SELECT '[-]'::knn_vector;
SELECT '[--1]'::knn_vector;
SELECT '[1.2.3]'::knn_vector;
SELECT '[NaN,1]'::knn_vector;
SELECT '[1,-nan]'::knn_vector;
SELECT '[1,Infinity]'::knn_vector;
SELECT '[1,2,-inf]'::knn_vector;
SELECT '[1,4e38]'::knn_vector;
SELECT '[-1e400]'::knn_vector;
SELECT '[1e99999999999999999999999999]'::knn_vector;
SELECT '[3.40282357e38]'::knn_vector;
SELECT ('[' || repeat('1,', 100) || 'x]')::knn_vector;
SELECT ('[' || repeat('9', 100) || ']')::knn_vector;

-- limits
SELECT knn_dims(('[1' || repeat(',1', 15999) || ']')::knn_vector);
SELECT ('[1' || repeat(',1', 16000) || ']')::knn_vector;

-- properties
SELECT knn_dims('[1,2,3]'), knn_data_type('[1,2,3]'), knn_norm('[3,4]');
SELECT knn_dims(v), knn_data_type(v) FROM (VALUES ('[1,2]'::knn_vector(2, 'half')), ('[1,2]'::knn_vector(2, 'byte')), ('[1,2]'::knn_vector(16, 'binary'))) t(v);
SELECT knn_norm('[3,4]'::knn_vector(2, 'half')), knn_norm('[3,4]'::knn_vector(2, 'byte')), knn_norm('[3e37,4e37]')::real, knn_norm('[0]');
SELECT knn_norm('[3]'::knn_vector(8, 'binary'));

-- parts
SELECT subvector('[1,2,3,4,5]', 1, 3), subvector('[1,2,3,4,5]', 3, 2), subvector('[1,2,3,4,5]', -1, 3), subvector('[1,2,3,4,5]', 3, 9);
SELECT subvector('[1,2,3,4,5]', 3, 2147483647);
SELECT subvector('[1,2]', -2147483648, 2147483647);
SELECT subvector('[1,2,3,4,5]', 2147483647, 2147483647);
SELECT subvector('[1,2,3,4,5]', 1, 0);
SELECT subvector('[1,2,3,4,5]', 3, -1);
SELECT subvector('[1,2,3]'::knn_vector(3, 'half'), 2, 1), subvector('[1,2,3]'::knn_vector(3, 'byte'), 2, 2), subvector('[1,2,3]'::knn_vector(24, 'binary'), 9, 16);
SELECT subvector('[1,2,3]'::knn_vector(24, 'binary'), 2, 8);
SELECT subvector('[1,2,3]'::knn_vector(24, 'binary'), 1, 4);

-- normal vectors
SELECT l2_normalize('[3,4]'), l2_normalize('[3e38,4e37]'::knn_vector) <-> '[0.9912283,0.1321638]' < 1e-6 AS large, l2_normalize('[0,0]'), l2_normalize('[0,-1e-40]');
SELECT l2_normalize('[3,4]'::knn_vector(2, 'half')), knn_data_type(l2_normalize('[3,4]'::knn_vector(2, 'half'))), l2_normalize('[3,4]'::knn_vector(2, 'byte'));
SELECT l2_normalize('[3]'::knn_vector(8, 'binary'));

-- the type as part of others
SELECT ARRAY['[1,2]','[3]']::knn_vector[], ROW('[1,2]'::knn_vector);
SELECT '{"[1,2]","[3]"}'::knn_vector(1)[];
SELECT '{"[1]","[3]"}'::knn_vector(1)[];
SELECT '[1,2]'::knn_vector::text, '[1,2]'::text::knn_vector, '[1,2]'::varchar::knn_vector;

-- storage
SELECT typstorage, typalign, typlen FROM pg_type WHERE typname = 'knn_vector';
CREATE TABLE storage (v knn_vector(2000));
INSERT INTO storage SELECT array_agg(i)::knn_vector FROM generate_series(1, 2000) i;
SELECT pg_column_size(v), knn_dims(v), knn_norm(v)::numeric(12, 3), v <-> v AS zero FROM storage;
DROP TABLE storage;
