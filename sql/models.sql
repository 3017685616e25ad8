-- Models: what a training is refused for, and models in every state.  Nothing is
-- trained here, so that it runs without faiss; test/t/090_models.pl trains.

CREATE TABLE train (
	id int PRIMARY KEY, name text, v knn_vector(16), any_v knn_vector,
	h knn_vector(16, 'half'), b knn_vector(16, 'byte'), x knn_vector(16, 'binary'));
CREATE INDEX train_name ON train (name);

-- the request
SELECT knn_train_model('m', NULL, 'v', 16, '{"name": "ivf"}');
SELECT knn_train_model('m', 'train', NULL, 16, '{"name": "ivf"}');
SELECT knn_train_model('m', 'train', 'v', NULL, '{"name": "ivf"}');
SELECT knn_train_model('m', 'nothing', 'v', 16, '{"name": "ivf"}');
SELECT knn_train_model('m', 'train', 'nothing', 16, '{"name": "ivf"}');
SELECT knn_train_model('m', 'train', 'ctid', 16, '{"name": "ivf"}');
SELECT knn_train_model('m', 'train', 'name', 16, '{"name": "ivf"}');
SELECT knn_train_model('m', 'train_name', 'name', 16, '{"name": "ivf"}');
SELECT knn_train_model('m', 'train', 'v', 8, '{"name": "ivf"}');
SELECT knn_train_model('m', 'train', 'v', 0, '{"name": "ivf"}');
SELECT knn_train_model('m', 'train', 'v', 16001, '{"name": "ivf"}');
SELECT knn_train_model('m', 'train', 'x', 12, '{"name": "ivf"}', data_type => 'binary');
SELECT knn_train_model('m', 'train', 'b', 16, '{"name": "ivf"}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf"}', data_type => 'byte');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf"}', data_type => 'double');
SELECT knn_train_model('m', 'train', 'v', 16);
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf"}', max_training_vector_count => 0);
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf"}', search_size => 0);
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf"}', search_size => 10001);
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf"}', repeat('x', 1001));
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf"}', 'one, two');
SELECT knn_train_model(repeat('m', 513), 'train', 'v', 16, '{"name": "ivf"}');

-- the method
SELECT knn_train_model('m', 'train', 'v', 16, '"ivf"');
SELECT knn_train_model('m', 'train', 'v', 16, '["ivf"]');
SELECT knn_train_model('m', 'train', 'v', 16, '{}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "flat"}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": 1}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "lists": 3}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "engine": "lucene"}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "engine": "nmslib"}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "engine": "scann"}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "space_type": "euclid"}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "space_type": "l1"}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "space_type": "hamming"}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "space_type": "l2"}', space_type => 'innerproduct');
SELECT knn_train_model('m', 'train', 'x', 16, '{"name": "ivf"}', data_type => 'binary', space_type => 'l2');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "hnsw"}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "hnsw", "parameters": {"m": 8, "encoder": {"name": "sq"}}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": 3}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"m": 8}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "hnsw", "parameters": {"nlist": 8}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"nlist": 0}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"nlist": 20000}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"nlist": 1e30}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"nlist": 2.5}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"nlist": "8"}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"nprobes": 0}}');

-- the encoder
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": "pq"}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": {}}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "lvq"}}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "pq", "m": 4}}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "pq", "parameters": {"bits": 8}}}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "pq", "parameters": {"m": 5}}}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "pq", "parameters": {"m": 1024}}}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "pq", "parameters": {"code_size": 0}}}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "hnsw", "parameters": {"encoder": {"name": "pq", "parameters": {"code_size": 4}}}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "sq", "parameters": {"bits": 8}}}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "sq", "parameters": {"type": "fp32"}}}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "sq", "parameters": {"clip": 1}}}}');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "binary", "parameters": {"bits": 3}}}}');
SELECT knn_train_model('m', 'train', 'b', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "pq"}}}', data_type => 'byte');
SELECT knn_train_model('m', 'train', 'x', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "sq"}}}', data_type => 'binary');

-- mode and compression level
SELECT knn_train_model('m', 'train', 'v', 16, mode => 'on_tape');
SELECT knn_train_model('m', 'train', 'v', 16, compression_level => '3x');
SELECT knn_train_model('m', 'train', 'v', 16, compression_level => '4x');
SELECT knn_train_model('m', 'train', 'b', 16, data_type => 'byte', mode => 'on_disk');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "flat"}}}', compression_level => '2x');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "pq", "parameters": {"m": 8}}}}', compression_level => '32x');
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "hnsw"}', mode => 'in_memory');

-- tables that a worker cannot read, or the user not
CREATE TEMP TABLE session_train (v knn_vector(16));
SELECT knn_train_model('m', 'session_train', 'v', 16, '{"name": "ivf"}');
BEGIN READ ONLY;
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf"}');
ROLLBACK;
CREATE ROLE regress_knn_model;
CREATE ROLE regress_knn_other;
SET ROLE regress_knn_model;
SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf"}');
SELECT knn_train_model('m', 'train', 'nothing', 16, '{"name": "ivf"}');
SELECT count(*) FROM knn_model;
SELECT count(*) FROM knn_models;
RESET ROLE;
SELECT count(*) FROM knn_models;

-- models in every state, as if trained; nobody trains the fourth
INSERT INTO knn_model
SELECT id, state, '2021-11-15 18:45:07.505369Z', owner::regrole, description, error, 'l2', 128, 'faiss',
	'{"name": "ivf", "parameters": {"nlist": 4}}', 'float', NULL, NULL, 'train'::regclass, 'v', NULL, 10000, run, NULL, '1.0', blob
FROM (VALUES ('test-model', 'created', 'regress_knn_model', 'Default', '', 1, 'IwFl'::bytea),
	('other', 'created', 'regress_knn_other', 'It''s "quoted"', '', 2, 'IwPQ'),
	('broken', 'failed', 'regress_knn_model', '', 'Failed to execute training. Why.', 3, NULL),
	('lost', 'training', 'regress_knn_model', '', '', 4, NULL)) m (id, state, owner, description, error, run, blob);
SELECT jsonb_pretty(knn_get_model('test-model'));
SELECT knn_get_model('broken') -> 'error', knn_get_model('broken') -> 'model_blob';
SELECT knn_get_model('lost') ->> 'state', knn_get_model('lost') ->> 'error';
SELECT knn_get_model('nothing');
SELECT knn_get_model(NULL);
SELECT model_id, state, owner, error, model_size FROM knn_models ORDER BY model_id;
SELECT knn_train_model('test-model', 'train', 'v', 16, '{"name": "ivf"}');

-- search
CREATE FUNCTION found(query jsonb) RETURNS text LANGUAGE sql AS
$$ SELECT (r #>> '{hits,total,value}') || ': ' || coalesce((SELECT string_agg(h ->> '_id', ' ' ORDER BY n) FROM jsonb_array_elements(r #> '{hits,hits}') WITH ORDINALITY e (h, n)), '')
	FROM knn_search_models(query) r $$;
SELECT found('{}'), found('{"query": {"match_all": {}}}'), found('{"size": 1}');
SELECT jsonb_pretty(knn_search_models('{"query": {"ids": {"values": ["test-model"]}}, "_source": {"excludes": ["model_blob"]}}') - 'took');
SELECT jsonb_pretty(knn_search_models('{"query": {"term": {"state": "training"}}}') - 'took');
SELECT knn_search_models('{"size": 2, "_source": false}') #> '{hits,hits}';
SELECT knn_search_models('{"_source": ["state", "dimension"], "query": {"match": {"_id": 1}}}') #> '{hits,hits}';
SELECT found('{"query": {"term": {"state": "created"}}}'), found('{"query": {"term": {"state": {"value": "failed"}}}}'),
	found('{"query": {"match": {"dimension": 128}}}'), found('{"query": {"match": {"dimension": {"query": "129"}}}}'),
	found('{"query": {"terms": {"model_id": ["lost", "other", "none"]}}}'), found('{"query": {"prefix": {"model_id": "o"}}}'),
	found('{"query": {"exists": {"field": "mode"}}}'), found('{"query": {"exists": {"field": "engine"}}}');
SELECT found('{"query": {"bool": {"must": {"term": {"state": "failed"}}, "must_not": [{"ids": {"values": ["lost"]}}]}}}'),
	found('{"query": {"bool": {"should": [{"ids": {"values": ["lost"]}}, {"ids": {"values": ["other"]}}]}}}'),
	found('{"query": {"bool": {"filter": {"term": {"state": "created"}}, "should": {"ids": {"values": ["lost"]}}}}}'),
	found('{"query": {"bool": {}}}');
SELECT found('{"from": 3}');
SELECT found('{"size": 0}');
SELECT found('{"size": 1001}');
SELECT found('{"size": "10"}');
SELECT found('{"query": {"fuzzy": {"model_id": "x"}}}');
SELECT found('{"query": {"term": {"state": "created", "model_id": "x"}}}');
SELECT found('{"query": {"term": {"state": {"boost": 2}}}}');
SELECT found('{"query": {"term": {"state": null}}}');
SELECT found('{"query": {"bool": {"minimum_should_match": 1}}}');
SELECT found('{"query": []}');
SELECT found('[]');
SELECT found('{"_source": {"only": "state"}}');

-- models of others do not exist
SET ROLE regress_knn_model;
SELECT model_id FROM knn_models ORDER BY model_id;
SELECT found('{}');
SELECT knn_get_model('other');
SELECT knn_delete_model('other');
RESET ROLE;
GRANT pg_read_all_data TO regress_knn_model;
SET ROLE regress_knn_model;
SELECT model_id FROM knn_models ORDER BY model_id;
SELECT knn_get_model('other') ->> 'description';
SELECT knn_delete_model('other');
RESET ROLE;

-- delete
SELECT knn_delete_model('nothing');
SET ROLE regress_knn_model;
SELECT knn_delete_model('test-model');
SELECT knn_delete_model('lost');
RESET ROLE;
SELECT knn_delete_model('test-model');
BEGIN;
SELECT knn_delete_model('broken');
ROLLBACK;
SELECT found('{}');
DELETE FROM knn_model;
DROP FUNCTION found;
DROP TABLE train;
DROP ROLE regress_knn_model;
DROP ROLE regress_knn_other;
