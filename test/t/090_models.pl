# Models: trained in the background, as whoever asked for it; seen, found and deleted;
# what becomes of them when the training fails, is cancelled, or the server crashes.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use MIME::Base64;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $pkglibdir = `pg_config --pkglibdir`;
chomp $pkglibdir;
plan skip_all => 'knn-train is not installed' unless -x "$pkglibdir/knn-train";

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', new_settings());
$node->append_conf('postgresql.conf', "fsync = off\nrestart_after_crash = on");
# for the statistics
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'knn'\nknn.cache_size = '16MB'");
$node->start;

sub sql
{
	my ($query, %options) = @_;
	return $node->safe_psql('postgres', $query, %options);
}

# The message of an error.
sub failure
{
	my ($query, %options) = @_;
	my ($status, $out, $err) = $node->psql('postgres', $query, %options);
	isnt($status, 0, 'fails');
	return $err;
}

# Wait for the end of the training: its state and error.
sub finished
{
	my ($id) = @_;
	$node->poll_query_until('postgres', "SELECT state <> 'training' FROM knn_models WHERE model_id = '$id'")
	  or die "model $id is not finished";
	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'knn training'")
	  or die 'the worker is not gone';
	return sql("SELECT state || ': ' || error FROM knn_models WHERE model_id = '$id'");
}

# No files of a training are left.
sub no_spool
{
	my ($name) = @_;
	my @left = glob($node->data_dir . '/base/pgsql_tmp/*');
	is_deeply(\@left, [], "$name: no files left");
	return;
}

sql(q{
	CREATE EXTENSION knn;
	CREATE ROLE alice; CREATE ROLE bob; CREATE ROLE carol LOGIN IN ROLE alice;
	CREATE TABLE train (id int PRIMARY KEY, owner text, v knn_vector(16), h knn_vector(16, 'half'),
		b knn_vector(16, 'byte'), x knn_vector(16, 'binary'), u knn_vector);
	SELECT setseed(0.5);
	INSERT INTO train
	SELECT i, CASE WHEN i <= 1000 THEN 'alice' ELSE 'bob' END, f, f, b, x, f
	FROM (SELECT i, array_agg(random()::real)::knn_vector f,
			array_agg((random() * 250 - 125)::int)::knn_vector(16, 'byte') b,
			(array_agg((random() * 250 - 125)::int) FILTER (WHERE j <= 2))::knn_vector::knn_vector(16, 'binary') x
		FROM generate_series(1, 2000) i, generate_series(1, 16) j GROUP BY i) s;
	INSERT INTO train (id) VALUES (0);
});

# the seed's example
is(sql(q{SELECT knn_train_model('model_x', 'train', 'v', 16, max_training_vector_count => 1200, search_size => 100,
		description => 'My model', method => '{"name": "ivf", "engine": "faiss", "space_type": "l2",
		"parameters": {"nlist": 128, "encoder": {"name": "pq", "parameters": {"code_size": 8}}}}')}),
	'model_x', 'the id comes at once');
is(finished('model_x'), 'created: ', 'the model is trained');
is(sql(q{SELECT concat_ws(' ', d ->> 'model_id', d ->> 'state', d ->> 'description', d ->> 'error', d ->> 'space_type',
		d ->> 'dimension', d ->> 'engine', d ->> 'data_type') FROM knn_get_model('model_x') d}),
	'model_x created My model  l2 16 faiss float', 'what is known of it');
my $blob = decode_base64(sql(q{SELECT knn_get_model('model_x') ->> 'model_blob'}));
is(substr($blob, 0, 4), 'IwPQ', 'the blob is a file of faiss');
is(length $blob, sql(q{SELECT model_size FROM knn_models WHERE model_id = 'model_x'}), 'of that size');
like(sql(q{SELECT knn_get_model('model_x') ->> 'timestamp'}), qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/, 'timestamp');
is(sql(q{SELECT knn_search_models('{"query": {"term": {"state": "created"}}, "_source": {"excludes": ["model_blob"]}}') #>> '{hits,hits,0,_source,model_id}'}),
	'model_x', 'it is found');
no_spool('trained');

# all kinds there are
my %kinds = (
	ivf_flat => [ 'v', 'float', '{"name": "ivf", "parameters": {"nlist": 8}}', 'IwFl' ],
	ivf_sq => [ 'v', 'float', '{"name": "ivf", "space_type": "innerproduct", "parameters": {"encoder": {"name": "sq"}}}', 'IwSq' ],
	ivf_binary => [ 'v', 'float', '{"name": "ivf", "parameters": {"encoder": {"name": "binary"}}}', 'IwFl' ],
	ivf_pq => [ 'u', 'float', '{"name": "ivf", "space_type": "cosinesimil", "parameters": {"encoder": {"name": "pq", "parameters": {"m": 4, "code_size": 5}}}}', 'IwPQ' ],
	hnsw_pq => [ 'h', 'half', '{"name": "hnsw", "parameters": {"m": 8, "encoder": {"name": "pq", "parameters": {"m": 4}}}}', 'IHNp' ],
	bytes => [ 'b', 'byte', '{"name": "ivf"}', 'IwFl' ],
	bits => [ 'x', 'binary', '{"name": "ivf"}', 'IBwF' ]);
for my $id (sort keys %kinds)
{
	my ($column, $type, $method, $kind) = @{ $kinds{$id} };
	sql("SELECT knn_train_model('$id', 'train', '$column', 16, '$method', data_type => '$type')");
	is(finished($id), 'created: ', "$id is trained");
	is(substr(decode_base64(sql("SELECT knn_get_model('$id') ->> 'model_blob'")), 0, 4), $kind, "$id is $kind");
}
sql(q{SELECT knn_train_model('on_disk', 'train', 'v', 16, mode => 'on_disk')});
is(finished('on_disk'), 'created: ', 'a mode will do');
is(sql(q{SELECT method #>> '{parameters,encoder,parameters,bits}' || ' ' || mode FROM knn_models WHERE model_id = 'on_disk'}),
	'1 on_disk', 'and comes to one bit');
my $random = sql(q{SELECT knn_train_model(NULL, 'train', 'v', 16, '{"name": "ivf"}')});
like($random, qr/^[A-Za-z0-9_-]{22}$/, 'an id by chance');
is(finished($random), 'created: ', 'is one as well');

# the same sample, the same model: reading is in the table's order
sql(q{SELECT knn_train_model('again', 'train', 'v', 16, '{"name": "ivf", "parameters": {"nlist": 8}}')});
finished('again');
is(sql(q{SELECT knn_get_model('again') -> 'model_blob' = knn_get_model('ivf_flat') -> 'model_blob'}), 't',
	'a training can be repeated');

# trainings that fail say why
sql(q{SELECT knn_train_model('few', 'train', 'v', 16, '{"name": "ivf", "parameters": {"nlist": 100}}', max_training_vector_count => 99)});
like(finished('few'), qr/^failed: Failed to execute training\. Number of training points \(99\) should be at least/, 'too few for the lists');
sql(q{SELECT knn_train_model('few_pq', 'train', 'v', 16, '{"name": "ivf", "parameters": {"encoder": {"name": "pq"}}}', max_training_vector_count => 99)});
like(finished('few_pq'), qr/^failed: .*Number of training points should be greater than 256/, 'too few for the codes');
sql(q{CREATE TABLE other (v knn_vector); INSERT INTO other VALUES ('[1,2,3]');
	SELECT knn_train_model('dimension', 'other', 'v', 16, '{"name": "ivf"}')});
like(finished('dimension'), qr/^failed: .*has dimension 3, which is different from/, 'vectors of another dimension');
no_spool('failed');

# a transaction that does not commit trains nothing
sql(q{BEGIN; SELECT knn_train_model('undone', 'train', 'v', 16, '{"name": "ivf"}'); ROLLBACK;});
$node->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'knn training'");
is(sql(q{SELECT count(*) FROM knn_models WHERE model_id = 'undone'}), '0', 'rolled back');
# and one that does trains what it has written itself
sql(q{BEGIN; CREATE TABLE fresh AS SELECT v FROM train WHERE id > 0; SELECT knn_train_model('fresh', 'fresh', 'v', 16, '{"name": "ivf"}'); COMMIT;});
is(finished('fresh'), 'created: ', 'a table of the same transaction');

# One at a time.  A view that waits for a lock keeps a training as long as wanted.
sql(q{
	CREATE FUNCTION wait_here() RETURNS boolean LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_advisory_xact_lock_shared(1); RETURN true; END $$;
	CREATE VIEW slow AS SELECT v FROM train WHERE id > 0 AND wait_here();
});
my $session = $node->background_psql('postgres');
sub block { return $session->query_safe('SELECT pg_advisory_lock(1)') }
sub release { return $session->query_safe('SELECT pg_advisory_unlock_all()') }

block();
sql(q{SELECT knn_train_model('slow', 'slow', 'v', 16, '{"name": "ivf"}')});
is(sql(q{SELECT state || (trainer_pid > 0)::text FROM knn_models WHERE model_id = 'slow'}), 'trainingtrue', 'in training');
is(sql(q{SELECT state = 'training' AND training_node_assignment <> '' FROM jsonb_to_record(knn_get_model('slow')) r (state text, training_node_assignment text)}),
	't', 'somewhere');
like(failure(q{SELECT knn_train_model('second', 'train', 'v', 16, '{"name": "ivf"}')}), qr/cluster does not have capacity to train/, 'a second one');
like(failure(q{SELECT knn_train_model('slow', 'train', 'v', 16, '{"name": "ivf"}')}), qr/model with id="slow" already exists/, 'the same');
like(failure(q{SELECT knn_delete_model('slow')}), qr/cannot delete model \[slow\]: model is still in training/, 'deleting it');
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
$node->safe_psql('elsewhere', 'CREATE EXTENSION knn; CREATE TABLE t (v knn_vector(2))');
my ($status, undef, $err) = $node->psql('elsewhere', q{SELECT knn_train_model('m', 't', 'v', 2, '{"name": "ivf"}')});
like($err, qr/cluster does not have capacity/, 'in another database');
release();
is(finished('slow'), 'created: ', 'it goes on');
like(failure(q{BEGIN; SELECT knn_train_model('a', 'train', 'v', 16, '{"name": "ivf"}'); SELECT knn_train_model('b', 'train', 'v', 16, '{"name": "ivf"}'); COMMIT;}),
	qr/cluster does not have capacity/, 'two in a transaction');

# cancelled, terminated
for my $case ([ 'pg_cancel_backend', 'Training was cancelled' ],
	[ 'pg_terminate_backend', 'Training was terminated by administrator command' ])
{
	my ($function, $message) = @$case;
	block();
	sql("SELECT knn_train_model('$function', 'slow', 'v', 16, '{\"name\": \"ivf\"}')");
	sql("SELECT $function(trainer_pid) FROM knn_models WHERE model_id = '$function'");
	is(finished($function), "failed: $message", $function);
	release();
	no_spool($function);
}

# The program: killed, and cancelled while it works.
sql(q{CREATE TABLE large AS SELECT i, ARRAY(SELECT (random() + i * 0)::real FROM generate_series(1, 64))::knn_vector(64) AS v FROM generate_series(1, 60000) i});
sub child_of
{
	my ($id) = @_;
	my $pid = sql("SELECT trainer_pid FROM knn_models WHERE model_id = '$id'");
	for (1 .. 3000)
	{
		my $children = `ps -o pid= --ppid $pid`;
		return $1 if $children =~ /(\d+)/;
		usleep(10_000);
	}
	die 'no child';
}
my $heavy = '{"name": "ivf", "parameters": {"nlist": 2000}}';
$node->append_conf('postgresql.conf', "maintenance_work_mem = '1MB'");
$node->reload;
sql("SELECT knn_train_model('memory', 'large', 'v', 64, '$heavy')");
like(finished('memory'), qr/^failed: .*the training needs about \d+ kB of memory, and may take 1024 kB\. Raise maintenance_work_mem\.$/, 'memory is counted');
$node->append_conf('postgresql.conf', "maintenance_work_mem = '1GB'");
$node->reload;
sql("SELECT knn_train_model('killed', 'large', 'v', 64, '$heavy')");
kill 'KILL', child_of('killed');
like(finished('killed'), qr/^failed: Failed to execute training\. knn-builder did not train the model\. Program "\S+knn-builder" was killed by signal 9/, 'killed');
sql("SELECT knn_train_model('stopped', 'large', 'v', 64, '$heavy')");
my $child = child_of('stopped');
ok($node->poll_query_until('postgres', q{
	SELECT count(*) = 1 FROM knn_models JOIN knn_progress ON pid = trainer_pid
	WHERE (command, relname, phase, total) = ('train', 'large', 'learning centroids', 11) AND done > 1}),
	'progress is seen');
like(sql(q{SELECT query FROM pg_stat_activity JOIN knn_models ON pid = trainer_pid}),
	qr/^training: learning centroids, step \d+ of 11; model "stopped"$/, 'by everybody');
sql("SELECT pg_cancel_backend(trainer_pid) FROM knn_models WHERE model_id = 'stopped'");
is(finished('stopped'), 'failed: Training was cancelled', 'cancelled in the program');
ok(!kill(0, $child), 'which is gone');
no_spool('killed');

# privileges
like(failure(q{SET ROLE alice; SELECT knn_train_model('m', 'train', 'v', 16, '{"name": "ivf"}')}),
	qr/permission denied for table train/, 'no privilege');
sql(q{GRANT SELECT (v) ON train TO alice});
sql(q{SET ROLE alice; SELECT knn_train_model('alices', 'train', 'v', 16, '{"name": "ivf"}')});
is(finished('alices'), 'created: ', 'with the privilege on the column');
is(sql(q{SELECT owner FROM knn_models WHERE model_id = 'alices'}), 'alice', 'her own');
is(sql(q{SET ROLE bob; SELECT count(*) FROM knn_models}), '0', 'others do not see it');
like(failure(q{SET ROLE bob; SELECT knn_get_model('alices')}), qr/model "alices" does not exist/, 'nor get it');
like(failure(q{SET ROLE bob; SELECT knn_delete_model('alices')}), qr/model does not exist/, 'nor delete it');
is(sql(q{SET ROLE carol; SELECT knn_get_model('alices') ->> 'state'}), 'created', 'who has her privileges does');
# the worker is no superuser for her
sql(q{CREATE FUNCTION who() RETURNS boolean LANGUAGE plpgsql AS
		$$ BEGIN IF current_user <> 'alice' OR pg_has_role('bob', 'USAGE') THEN RAISE 'I am %', current_user; END IF; RETURN true; END $$;
	CREATE VIEW hers WITH (security_invoker) AS SELECT v FROM train WHERE who();
	GRANT SELECT ON hers TO alice;
	CREATE FUNCTION evil() RETURNS boolean LANGUAGE plpgsql AS
		$$ BEGIN SET ROLE postgres; RETURN true; END $$;
	CREATE VIEW evil AS SELECT v FROM train WHERE evil();
	GRANT SELECT ON evil TO alice;});
sql(q{SET ROLE alice; SELECT knn_train_model('hers', 'hers', 'v', 16, '{"name": "ivf"}')});
is(finished('hers'), 'created: ', 'her rights alone');
sql(q{SET ROLE alice; SELECT knn_train_model('evil', 'evil', 'v', 16, '{"name": "ivf"}')});
like(finished('evil'), qr/^failed: .*cannot set parameter "role" within security-(restricted operation|definer function)/, 'and no way out');
# revoked meanwhile
block();
sql(q{GRANT SELECT ON slow TO alice; SET ROLE alice; SELECT knn_train_model('revoked', 'slow', 'v', 16, '{"name": "ivf"}')});
release();
is(finished('revoked'), 'created: ', 'a view');

# row-level security: what she may not see she does not learn from
sql(q{ALTER TABLE train ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON train FOR SELECT USING (owner = current_user);
	CREATE TABLE hers_only AS SELECT v FROM train WHERE owner = 'alice'; GRANT SELECT ON hers_only, train TO alice});
sql(q{SET ROLE alice; SELECT knn_train_model('policy', 'train', 'v', 16, '{"name": "ivf"}')});
is(finished('policy'), 'created: ', 'with a policy');
sql(q{SET ROLE alice; SELECT knn_train_model('no_policy', 'hers_only', 'v', 16, '{"name": "ivf"}')});
finished('no_policy');
is(sql(q{SELECT knn_get_model('policy') -> 'model_blob' = knn_get_model('no_policy') -> 'model_blob'}), 't', 'from her rows alone');

is(sql(q{SELECT (s ->> 'training_requests')::int - (SELECT count(*) FROM knn_models) || ' ' ||
		((s ->> 'training_errors')::int = (SELECT count(*) FROM knn_models WHERE state = 'failed'))
	FROM (SELECT knn_stats('training_requests', 'training_errors') #> '{nodes}' AS n) x,
		jsonb_path_query_first(n, '$.*') s}), '0 true', 'statistics');

# A crash: nobody is at it any more, whatever the row says.
block();
sql(q{SELECT knn_train_model('crash', 'slow', 'v', 16, '{"name": "ivf"}')});
is(sql(q{SELECT state FROM knn_models WHERE model_id = 'crash'}), 'training', 'before the crash');
kill 'KILL', sql(q{SELECT trainer_pid FROM knn_models WHERE model_id = 'crash'});
eval { $session->quit };
ok($node->poll_query_until('postgres', 'SELECT 1', '1'), 'the server is up again');
is(finished('crash'), 'failed: Training failed to complete as cluster crashed', 'after the crash');
is(sql(q{SELECT knn_get_model('crash') ->> 'error'}), 'Training failed to complete as cluster crashed', 'said of the model too');
no_spool('crashed');
is(sql(q{SELECT knn_train_model('after', 'fresh', 'v', 16, '{"name": "ivf"}')}), 'after', 'another can be trained');
is(finished('after'), 'created: ', 'and is');
sql(q{SELECT knn_delete_model('crash')});

# Shutting down does not wait for a training, and tells so.
$session = $node->background_psql('postgres');
block();
sql(q{SELECT knn_train_model('stop', 'slow', 'v', 16, '{"name": "ivf"}')});
$node->stop('fast');
eval { $session->quit };
$node->start;
is(finished('stop'), 'failed: Training was terminated by administrator command', 'after a shutdown');
no_spool('stopped');

# dump and restore
$node->command_ok([ 'pg_dump', '-Fc', '-f', $node->basedir . '/dump', '-d', $node->connstr('postgres') ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $node->basedir . '/dump' ], 'restore');
my $all = q{SELECT jsonb_agg(knn_get_model(model_id) ORDER BY model_id)::text || string_agg(owner::text, ' ' ORDER BY model_id) FROM knn_models};
is($node->safe_psql('restored', $all), sql($all), 'with the models');

# elsewhere
sql(q{CREATE SCHEMA elsewhere; ALTER EXTENSION knn SET SCHEMA elsewhere});
is(sql(q{SELECT elsewhere.knn_get_model('model_x') ->> 'state'}), 'created', 'moved with the extension');
sql(q{SELECT elsewhere.knn_train_model('moved', 'fresh', 'v', 16, '{"name": "ivf"}')});
ok($node->poll_query_until('postgres', q{SELECT state = 'created' FROM elsewhere.knn_models WHERE model_id = 'moved'}), 'and trained there');
is(sql(q{SELECT elsewhere.knn_delete_model('moved')}), '{"model_id": "moved", "acknowledged": true}', 'and deleted');
like(failure(q{SELECT elsewhere.knn_get_model('moved')}), qr/model "moved" does not exist/, 'is gone');

done_testing();
