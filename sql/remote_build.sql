-- Remote builds: repositories, settings, index options, and what is missing for one.
-- No service is asked here; test/t/085_remote_build.pl does that.

-- repositories
CREATE SERVER r FOREIGN DATA WRAPPER knn_repository;
CREATE SERVER r FOREIGN DATA WRAPPER knn_repository OPTIONS (type 'ftp');
CREATE SERVER r FOREIGN DATA WRAPPER knn_repository OPTIONS (type 's3');
CREATE SERVER r FOREIGN DATA WRAPPER knn_repository OPTIONS (type 'file');
CREATE SERVER r FOREIGN DATA WRAPPER knn_repository OPTIONS (type 's3', bucket 'b', buckets 'c');
CREATE SERVER r FOREIGN DATA WRAPPER knn_repository OPTIONS (type 's3', bucket 'b', secret_access_key 'c');
CREATE SERVER r FOREIGN DATA WRAPPER knn_repository OPTIONS (type 's3', bucket 'b', directory '/tmp');
CREATE SERVER r FOREIGN DATA WRAPPER knn_repository OPTIONS (type 'file', directory '/tmp', bucket 'b');
CREATE FUNCTION try_option(options text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	EXECUTE format('CREATE SERVER tried FOREIGN DATA WRAPPER knn_repository OPTIONS (%s)', options);
	DROP SERVER tried;
	RETURN 'in order';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
	RETURN SQLERRM || '. ' || detail;
END $$;
SELECT o AS option, try_option('type ''s3'', bucket ''b'', ' || o) AS result FROM unnest(ARRAY[
	'base_path ''''', 'base_path ''a/b.c/..d''', 'base_path ''/a''', 'base_path ''a/''', 'base_path ''a//b''', 'base_path ''..''',
	'base_path ''a/../b''', 'base_path ''./b''', 'base_path ''a b''',
	'region ''eu-central-1''', 'region ''''', 'region ''a/b''', 'region ''eu.central''', format('region %L', repeat('a', 61)),
	'endpoint ''http://localhost:9000''', 'endpoint ''https://s3.example.com/path''', 'endpoint ''localhost:9000''', 'endpoint ''ftp://h''',
	'endpoint ''http://''', 'endpoint ''http:///p''', 'endpoint ''http://me:secret@h''', 'endpoint ''http://h/?x=1''', 'endpoint ''http://a b''', 'endpoint ''HTTP://h:1/p''', 'endpoint ''http://h/{x}''',
	'endpoint ''http://h:x''', 'endpoint ''http://h/a@b''',
	'path_style ''on''', 'path_style ''maybe''', 'keep_objects ''true''', 'keep_objects ''2''',
	'connections ''8''', 'connections ''0''', 'connections ''65''', 'connections ''many''',
	'ca_file ''/etc/ca.pem''', 'ca_file ''ca.pem''',
	'credentials ''mapping''', 'credentials ''instance''', 'credentials ''Instance''', 'credentials ''''']) o;
SELECT o AS option, try_option('type ''file'', ' || o) AS result FROM unnest(ARRAY[
	'directory ''/srv/knn''', 'directory ''srv''', 'directory ''''', 'directory ''/srv/../etc''', 'directory ''/srv/''', 'directory ''/''',
	'directory ''/srv'', base_path ''x'', keep_objects ''on''', 'directory ''/srv'', region ''x''',
	'directory ''/srv'', credentials ''instance''']) o;
SELECT b AS bucket, try_option(format('type ''s3'', bucket %L', b)) AS result FROM unnest('{vectors,my-bucket.1,A_b,"",a/b,.a,"a b"}'::text[]) b;
DROP FUNCTION try_option;

CREATE SERVER remote_files FOREIGN DATA WRAPPER knn_repository OPTIONS (type 'file', directory '/nowhere/knn', base_path 'a/b');
CREATE SERVER remote_bucket FOREIGN DATA WRAPPER knn_repository
	OPTIONS (type 's3', bucket 'vectors', region 'eu-central-1', endpoint 'http://localhost:9', path_style 'true');
ALTER SERVER remote_bucket OPTIONS (SET bucket 'a/b');
ALTER SERVER remote_bucket OPTIONS (DROP bucket);
ALTER SERVER remote_bucket OPTIONS (SET path_style 'off', ADD connections '2');
ALTER FOREIGN DATA WRAPPER knn_repository OPTIONS (ADD type 's3');
CREATE FOREIGN TABLE remote_table (v knn_vector) SERVER remote_bucket;
SELECT * FROM remote_table;
DROP FOREIGN TABLE remote_table;

-- credentials
CREATE USER MAPPING FOR PUBLIC SERVER remote_bucket OPTIONS (access_key_id 'AK');
CREATE USER MAPPING FOR PUBLIC SERVER remote_bucket OPTIONS (secret_access_key 'SK');
CREATE USER MAPPING FOR PUBLIC SERVER remote_bucket OPTIONS (session_token 'ST');
CREATE USER MAPPING FOR PUBLIC SERVER remote_bucket OPTIONS (access_key_id 'AK', secret_access_key E'top\nsecret');
CREATE USER MAPPING FOR PUBLIC SERVER remote_bucket OPTIONS (access_key_id 'AK', secret_access_key '');
CREATE USER MAPPING FOR PUBLIC SERVER remote_bucket OPTIONS (access_key_id 'AK', secret_key 'SK');
CREATE USER MAPPING FOR PUBLIC SERVER remote_bucket OPTIONS (access_key_id 'AK', secret_access_key 'SK', bucket 'b');
CREATE USER MAPPING FOR PUBLIC SERVER remote_bucket OPTIONS (access_key_id 'AK', secret_access_key 'SK', session_token 'ST');
DROP USER MAPPING FOR PUBLIC SERVER remote_bucket;

-- who may do what
CREATE ROLE remote_someone;
SET ROLE remote_someone;
CREATE SERVER mine FOREIGN DATA WRAPPER knn_repository OPTIONS (type 's3', bucket 'b');
RESET ROLE;
GRANT USAGE ON FOREIGN DATA WRAPPER knn_repository TO remote_someone;
SET ROLE remote_someone;
CREATE SERVER mine FOREIGN DATA WRAPPER knn_repository OPTIONS (type 's3', bucket 'b');
ALTER SERVER mine OPTIONS (ADD ca_file '/etc/passwd');
CREATE SERVER mine_too FOREIGN DATA WRAPPER knn_repository OPTIONS (type 'file', directory '/tmp');
-- the machine's role is the superuser's to give, and a server that uses it is his to change
CREATE SERVER mine_too FOREIGN DATA WRAPPER knn_repository OPTIONS (type 's3', bucket 'b', credentials 'instance');
ALTER SERVER mine OPTIONS (ADD credentials 'instance');
ALTER SERVER mine OPTIONS (ADD credentials 'mapping');
RESET ROLE;
ALTER SERVER mine OPTIONS (SET credentials 'instance');
SET ROLE remote_someone;
ALTER SERVER mine OPTIONS (SET bucket 'c');
ALTER SERVER mine OPTIONS (ADD endpoint 'http://localhost:9');
RESET ROLE;
GRANT pg_write_server_files, pg_read_server_files TO remote_someone;
SET ROLE remote_someone;
ALTER SERVER mine OPTIONS (SET bucket 'c');
ALTER SERVER mine OPTIONS (DROP credentials, SET bucket 'c');
SELECT srvoptions FROM pg_foreign_server WHERE srvname = 'mine';
RESET ROLE;
REVOKE pg_write_server_files, pg_read_server_files FROM remote_someone;
SET ROLE remote_someone;
DROP SERVER mine;
SET knn.remote_index_build_repository = 'mine';
SET knn.remote_index_build_service_endpoint = 'http://localhost';
SET knn.remote_index_build_service_username = 'me';
SET knn.remote_index_build_service_password = 'secret';
SET knn.remote_index_build_service_ca_file = '/etc/passwd';
SET knn.remote_index_build_enabled = on;
RESET knn.remote_index_build_enabled;
RESET ROLE;

-- settings
SELECT name, setting, unit, context FROM pg_settings WHERE name LIKE 'knn.remote%' ORDER BY name COLLATE "C";
SHOW knn.remote_index_build_client_timeout;
SET knn.remote_index_build_service_endpoint = 'localhost:1025';
SET knn.remote_index_build_service_endpoint = 'http://me:secret@localhost:1025';
SET knn.remote_index_build_service_username = 'a:b';
SET knn.remote_index_build_service_ca_file = 'ca.pem';
\set VERBOSITY sqlstate
SET knn.remote_index_build_poll_interval = '99ms';
SET knn.remote_index_build_client_timeout = 0;
SET knn.remote_index_build_size_max = -1;
\set VERBOSITY default

-- the password is shown to nobody
SET knn.remote_index_build_service_username = 'me';
SET knn.remote_index_build_service_password = 'secret';
SHOW knn.remote_index_build_service_password;
SELECT current_setting('knn.remote_index_build_service_password');
SELECT set_config('knn.remote_index_build_service_password', 'other', false);
SELECT setting, boot_val, reset_val FROM pg_settings WHERE name = 'knn.remote_index_build_service_password';
SELECT p::text FROM pg_settings p WHERE p::text ~ 'secret|other' AND name LIKE 'knn.remote%';
SET ROLE remote_someone;
\set VERBOSITY sqlstate
SHOW knn.remote_index_build_service_password;
SHOW knn.remote_index_build_service_username;
\set VERBOSITY default
SELECT count(*) FROM pg_settings WHERE name ~ 'knn.remote_index_build_service_(password|username)';
RESET ROLE;
BEGIN;
SET LOCAL knn.remote_index_build_service_password = '';
SHOW knn.remote_index_build_service_password;
ROLLBACK;
SHOW knn.remote_index_build_service_password;
RESET knn.remote_index_build_service_password;
SHOW knn.remote_index_build_service_password;
ALTER ROLE remote_someone SET knn.remote_index_build_service_password = 'secret';
ALTER DATABASE regression SET knn.remote_index_build_service_password = 'secret';
CREATE FUNCTION remote_f() RETURNS int LANGUAGE sql SET knn.remote_index_build_service_password = 'secret' AS 'SELECT 1';
RESET knn.remote_index_build_service_username;

-- index options
CREATE TABLE remote_t (id int, v knn_vector(4));
INSERT INTO remote_t SELECT i, ARRAY[i, i % 7, i % 5, 1]::real[] FROM generate_series(1, 40) i;
CREATE INDEX remote_i ON remote_t USING knn_hnsw (v) WITH (remote_index_build = 2);
CREATE INDEX remote_i ON remote_t USING knn_hnsw (v) WITH (remote_index_build_size_min = 'much');
CREATE INDEX remote_i ON remote_t USING knn_hnsw (v) WITH (remote_index_build_size_min = '5 parsecs');
CREATE INDEX remote_i ON remote_t USING knn_hnsw (v) WITH (remote_index_build_size_min = '-1');
CREATE INDEX remote_i ON remote_t USING knn_ivf (v) WITH (remote_index_build = on);
CREATE INDEX remote_i ON remote_t USING knn_hnsw (v) WITH (remote_index_build = off, remote_index_build_size_min = '1GB');
SELECT remote_index_build, remote_index_build_size_min FROM knn_index_info('remote_i');
ALTER INDEX remote_i RESET (remote_index_build, remote_index_build_size_min);
SELECT remote_index_build, remote_index_build_size_min FROM knn_index_info('remote_i');
ALTER INDEX remote_i SET (remote_index_build_size_min = 0);
SELECT reloptions FROM pg_class WHERE relname = 'remote_i';

-- what is missing: a warning, and an index all the same
SET knn.builder_path = '/nowhere/knn-builder';
SET knn.remote_index_build_enabled = on;
REINDEX INDEX remote_i;
SET knn.remote_index_build_repository = 'Nowhere';
REINDEX INDEX remote_i;
SET knn.remote_index_build_service_endpoint = 'http://localhost:9/base';
REINDEX INDEX remote_i;
CREATE FOREIGN DATA WRAPPER remote_other;
CREATE SERVER remote_elsewhere FOREIGN DATA WRAPPER remote_other;
SET knn.remote_index_build_repository = 'remote_elsewhere';
REINDEX INDEX remote_i;
DROP FOREIGN DATA WRAPPER remote_other CASCADE;
SET knn.remote_index_build_repository = 'remote_bucket';
SET knn.remote_index_build_service_username = 'me';
REINDEX INDEX remote_i;
RESET knn.remote_index_build_service_username;
SET knn.remote_index_build_service_password = 'secret';
REINDEX INDEX remote_i;
RESET knn.remote_index_build_service_password;
-- the owner of the table needs the right to the repository, and credentials
ALTER TABLE remote_t OWNER TO remote_someone;
REINDEX INDEX remote_i;
GRANT USAGE ON FOREIGN SERVER remote_bucket TO remote_someone;
REINDEX INDEX remote_i;
-- the machine's, or keys, but not both; a mapping without keys says nothing
ALTER SERVER remote_bucket OPTIONS (ADD credentials 'instance');
REINDEX INDEX remote_i;
CREATE USER MAPPING FOR remote_someone SERVER remote_bucket OPTIONS (access_key_id 'AK', secret_access_key 'SK');
REINDEX INDEX remote_i;
ALTER USER MAPPING FOR remote_someone SERVER remote_bucket OPTIONS (DROP access_key_id, DROP secret_access_key);
REINDEX INDEX remote_i;
ALTER USER MAPPING FOR remote_someone SERVER remote_bucket OPTIONS (ADD access_key_id 'AK', ADD secret_access_key 'SK');
ALTER SERVER remote_bucket OPTIONS (SET credentials 'mapping');
REINDEX INDEX remote_i;
ALTER TABLE remote_t OWNER TO CURRENT_USER;
-- a directory asks for none
SET knn.remote_index_build_repository = 'remote_files';
REINDEX INDEX remote_i;
SELECT knn_index_check('remote_i', true);

-- what a service has not, and what is too small or large, is built locally without a word
CREATE INDEX ON remote_t USING knn_hnsw (v knn_vector_l1_ops) WITH (remote_index_build_size_min = 0);
CREATE INDEX ON remote_t USING knn_hnsw (v knn_vector_linf_ops) WITH (remote_index_build_size_min = 0);
CREATE INDEX ON remote_t USING knn_hnsw ((v::real[]::knn_vector(4, 'byte')) knn_vector_cosine_ops) WITH (remote_index_build_size_min = 0);
CREATE INDEX ON remote_t USING knn_ivf (v);
ALTER INDEX remote_i SET (remote_index_build = off);
REINDEX INDEX remote_i;
ALTER INDEX remote_i SET (remote_index_build = on, remote_index_build_size_min = '1kB');
REINDEX INDEX remote_i;
SET knn.remote_index_build_size_max = 1;
ALTER INDEX remote_i SET (remote_index_build_size_min = 0);
REINDEX INDEX remote_i;
INSERT INTO remote_t SELECT i, ARRAY[i, i % 7, i % 5, 1]::real[] FROM generate_series(41, 100) i;
REINDEX INDEX remote_i;
SET knn.remote_index_build_size_max = 2;
REINDEX INDEX remote_i;
DELETE FROM remote_t WHERE id > 4;
VACUUM remote_t;
REINDEX INDEX remote_i;

DROP TABLE remote_t;
DROP SERVER remote_files;
DROP SERVER remote_bucket CASCADE;
DROP OWNED BY remote_someone;
DROP ROLE remote_someone;
