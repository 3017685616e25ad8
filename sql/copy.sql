CREATE TABLE src (id int, v knn_vector(3), h knn_vector(3, 'half'), b knn_vector(3, 'byte'), x knn_vector(24, 'binary'), u knn_vector);
INSERT INTO src VALUES
	(1, '[1,2,3]', '[1,2,3]', '[1,2,3]', '[1,2,3]', '[1,2,3]'),
	(2, '[-0,1e-45,3.4028235e38]', '[0.1,65504,6e-8]', '[-128,0,127]', '[-128,0,127]', '[0.1]'),
	(3, NULL, NULL, NULL, NULL, NULL),
	(4, NULL, NULL, NULL, NULL, '[1,2]'::knn_vector(2, 'byte')),
	(5, NULL, NULL, NULL, NULL, '[1,2]'::knn_vector(16, 'binary'));

CREATE TABLE dst (LIKE src);

-- binary
\copy src TO 'results/knn_copy.bin' WITH (FORMAT binary)
\copy dst FROM 'results/knn_copy.bin' WITH (FORMAT binary)
SELECT id, v, h, b, x, u, knn_data_type(u) FROM dst ORDER BY id;
SELECT count(*) FROM src s JOIN dst d USING (id)
	WHERE ROW(knn_vector_send(s.v), knn_vector_send(s.h), knn_vector_send(s.b), knn_vector_send(s.x), knn_vector_send(s.u))
		IS DISTINCT FROM ROW(knn_vector_send(d.v), knn_vector_send(d.h), knn_vector_send(d.b), knn_vector_send(d.x), knn_vector_send(d.u));

-- text: what is not declared comes back as float
TRUNCATE dst;
\copy src TO 'results/knn_copy.txt'
\copy dst FROM 'results/knn_copy.txt'
SELECT id, v, h, b, x, u, knn_data_type(u) FROM dst ORDER BY id;
SELECT count(*) FROM src s JOIN dst d USING (id)
	WHERE ROW(knn_vector_send(s.v), knn_vector_send(s.h), knn_vector_send(s.b), knn_vector_send(s.x))
		IS DISTINCT FROM ROW(knn_vector_send(d.v), knn_vector_send(d.h), knn_vector_send(d.b), knn_vector_send(d.x));

-- floats on the wire are converted to the data type of the column
CREATE TABLE wire (v knn_vector(2));
CREATE TABLE declared (v knn_vector(2, 'byte'));
CREATE TABLE bits (v knn_vector(16, 'binary'));
INSERT INTO wire VALUES ('[99,-7]');
\copy wire TO 'results/knn_copy.bin' WITH (FORMAT binary)
\copy declared FROM 'results/knn_copy.bin' WITH (FORMAT binary)
\copy bits FROM 'results/knn_copy.bin' WITH (FORMAT binary)
SELECT d.v, knn_data_type(d.v), b.v, knn_data_type(b.v) FROM declared d, bits b;

-- and checked
UPDATE wire SET v = '[99.5,-7]';
\copy wire TO 'results/knn_copy.bin' WITH (FORMAT binary)
\copy declared FROM 'results/knn_copy.bin' WITH (FORMAT binary)
\copy bits FROM 'results/knn_copy.bin' WITH (FORMAT binary)
\copy bits TO 'results/knn_copy.bin' WITH (FORMAT binary)
\copy wire FROM 'results/knn_copy.bin' WITH (FORMAT binary)
CREATE TABLE three (v knn_vector(3));
\copy three FROM 'results/knn_copy.bin' WITH (FORMAT binary)
\copy wire TO 'results/knn_copy.bin' WITH (FORMAT binary)
\copy three FROM 'results/knn_copy.bin' WITH (FORMAT binary)
COPY declared FROM stdin;
[1,2]
[-128,127]
\N
\.
COPY declared FROM stdin;
[1,2]
[1,128]
\.
COPY bits FROM stdin;
[1,2,3]
\.
SELECT v FROM declared ORDER BY v;

-- the wire form
SELECT id, knn_vector_send(v) AS v, knn_vector_send(h) AS h, knn_vector_send(b) AS b, knn_vector_send(x) AS x, knn_vector_send(u) AS u FROM src ORDER BY id;
DROP TABLE src, dst, wire, declared, bits, three;
