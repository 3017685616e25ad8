-- floats
SELECT '[0,0]'::knn_vector <-> '[3,4]', l2_distance('[0,0]'::knn_vector, '[0,1]'), l2_squared('[0,0]'::knn_vector, '[3,4]');
SELECT '[1,2]'::knn_vector <#> '[3,4]', inner_product('[1,2]'::knn_vector, '[3,4]'), '[1,0]'::knn_vector <#> '[0,1]' AS zero;
SELECT '[1,2]'::knn_vector <=> '[2,4]', cosine_distance('[1,1]'::knn_vector, '[-1,-1]'), cosine_distance('[1,0]'::knn_vector, '[0,2]');
SELECT '[1,2]'::knn_vector <+> '[3,-4]', l1_distance('[0,0]'::knn_vector, '[3,4]');
SELECT '[1,2]'::knn_vector <%> '[3,-4]', linf_distance('[0,0]'::knn_vector, '[3,4]');
SELECT '[99,-7]'::knn_vector(16, 'binary') <~> '[98,1]', hamming_distance('[-1]'::knn_vector(8, 'binary'), '[0]');

-- cosine with a zero vector has no value
SELECT '[1,2]'::knn_vector <=> '[0,0]', '[0,0]'::knn_vector <=> '[0,0]', '[0,0]'::knn_vector(2, 'byte') <=> '[1,1]', '[0,0]'::knn_vector(2, 'half') <=> '[1,1]';

-- cosine never leaves [0, 2]
SELECT min(d) >= 0, max(d) <= 2 FROM (
	SELECT ARRAY[i, i * 1.1, -i]::knn_vector <=> ARRAY[i * k, i * k * 1.1, -i * k]::knn_vector AS d
	FROM generate_series(1, 100) i, unnest(ARRAY[1, -1, 3, -7]) k) s;

-- sums beyond the range of float, and squares below it
SELECT ('[3e38]'::knn_vector <-> '[-3e38]') / 6e38 BETWEEN 0.999999 AND 1.000001 AS l2, ('[3e38,3e38]'::knn_vector <#> '[3e38,3e38]') < -1e77 AS ip, '[3e38]'::knn_vector <=> '[-3e38]' AS cos, ('[3e38,3e38]'::knn_vector <+> '[-3e38,-3e38]') > 1e39 AS l1, ('[3e38]'::knn_vector <%> '[-3e38]') > 5e38 AS linf;
SELECT ('[1e-30]'::knn_vector <-> '[0]') / 1e-30 BETWEEN 0.999999 AND 1.000001 AS l2, '[1e-30,0]'::knn_vector <=> '[0,1e-30]' AS cos, '[1e-30]'::knn_vector <=> '[1e-30]' AS same;

-- other data types
SELECT d, a <-> b AS l2, a <#> b AS ip, round((a <=> b)::numeric, 4) AS cos, a <+> b AS l1, a <%> b AS linf
FROM (VALUES ('float', '[1,2,-3]'::knn_vector, '[4,-5,6]'::knn_vector),
	('half', '[1,2,-3]'::knn_vector(3, 'half'), '[4,-5,6]'::knn_vector(3, 'half')),
	('byte', '[1,2,-3]'::knn_vector(3, 'byte'), '[4,-5,6]'::knn_vector(3, 'byte'))) t(d, a, b);
SELECT a <-> b AS l2, a <#> b AS ip, a <+> b AS l1, a <%> b AS linf
FROM (SELECT array_fill(-128, ARRAY[16000])::knn_vector(16000, 'byte'), array_fill(127, ARRAY[16000])::knn_vector(16000, 'byte')) t(a, b);
SELECT array_fill(-1, ARRAY[2000])::knn_vector(16000, 'binary') <~> array_fill(0, ARRAY[2000])::knn_vector(16000, 'binary');

-- a float operand follows the other one
SELECT '[1,2]'::knn_vector(2, 'byte') <-> '[4,6]', '[4,6]' <-> '[1,2]'::knn_vector(2, 'byte'), '[0.1,6]'::knn_vector(2, 'half') <-> '[0.1,6]', '[7]' <~> '[0]'::knn_vector(8, 'binary');
SELECT '[1,2]'::knn_vector(2, 'byte') <-> '[4,6.5]';
SELECT '[1,2]'::knn_vector(2, 'byte') <-> '[4,600]';
SELECT '[1,2]'::knn_vector(2, 'half') <-> '[4,70000]';
SELECT '[1,2]'::knn_vector(16, 'binary') <~> '[0.5,1]';
SELECT '[1,2]'::knn_vector(16, 'binary') <~> '[1]';
SELECT '[1,2]'::knn_vector(2, 'byte') <-> '[1,2]'::knn_vector(2, 'half');
SELECT '[1,2]'::knn_vector(2, 'byte') <~> '[1,2]'::knn_vector(16, 'binary');

-- dimensions
SELECT '[1,2]'::knn_vector <-> '[3]';
SELECT '[1,2]'::knn_vector <#> '[3]';
SELECT '[1,2]'::knn_vector <=> '[3]';
SELECT '[1,2]'::knn_vector <+> '[3]';
SELECT '[1,2]'::knn_vector <%> '[3]';
SELECT l2_squared('[1,2]'::knn_vector, '[3]');
SELECT '[1,2]'::knn_vector(16, 'binary') <~> '[3]'::knn_vector(8, 'binary');

-- spaces and data types
SELECT '[1,2]'::knn_vector <~> '[3,4]';
SELECT '[1,2]'::knn_vector(2, 'byte') <~> '[3,4]';
SELECT '[1]'::knn_vector(8, 'binary') <-> '[3]';
SELECT '[1]'::knn_vector(8, 'binary') <#> '[3]';
SELECT '[1]'::knn_vector(8, 'binary') <=> '[3]';
SELECT '[1]'::knn_vector(8, 'binary') <+> '[3]';
SELECT '[1]'::knn_vector(8, 'binary') <%> '[3]';

-- NULL
SELECT '[1]'::knn_vector <-> NULL, NULL::knn_vector <=> '[1]';

-- scores
SELECT knn_score('l2', '[1,2]'::knn_vector <-> '[1,5]') AS l2, knn_score('l1', 3) AS l1, knn_score('linf', 1) AS linf, knn_score('hamming', 4) AS hamming;
SELECT d, knn_score('cosinesimil', d) FROM unnest(ARRAY[0, 0.5, 1, 2, 2.5, 'NaN']::float8[]) d;
SELECT d, knn_score('innerproduct', d) FROM unnest(ARRAY[-10, -0.5, 0, 1, 4]::float8[]) d;
SELECT knn_score('l2', 0), knn_score('l2', 'Infinity'), knn_score('innerproduct', '-Infinity'), knn_score(NULL, 1), knn_score('l2', NULL);
SELECT knn_score('euclid', 1);
SELECT knn_score('', 1);
SELECT knn_score('L2', 1);
SELECT knn_score('l2', -1);

-- exact search
CREATE TABLE items (id int, v knn_vector(3), b knn_vector(3, 'byte'), x knn_vector(24, 'binary'));
INSERT INTO items SELECT i, ARRAY[i, i * i, -i]::knn_vector, ARRAY[i, 2 * i, -i]::knn_vector, ARRAY[i, i, i]::knn_vector FROM generate_series(1, 9) i;
INSERT INTO items VALUES (10, NULL, NULL, NULL);
SELECT id, v <-> '[3,8,-3]' AS d FROM items ORDER BY v <-> '[3,8,-3]' LIMIT 3;
SELECT id, v <#> '[3,8,-3]' AS d FROM items ORDER BY v <#> '[3,8,-3]' LIMIT 3;
SELECT id, v <+> '[3,8,-3]' AS d FROM items ORDER BY v <+> '[3,8,-3]' LIMIT 3;
SELECT id, v <%> '[3,8,-3]' AS d FROM items ORDER BY v <%> '[3,8,-3]', id LIMIT 3;
SELECT id FROM items ORDER BY v <=> '[3,9,-3]' LIMIT 3;
SELECT id, b <+> '[3,7,-3]' AS d FROM items ORDER BY b <+> '[3,7,-3]' LIMIT 3;
SELECT id, x <~> '[7,7,7]' AS d FROM items ORDER BY x <~> '[7,7,7]', id LIMIT 3;
DROP TABLE items;
