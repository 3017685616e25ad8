# Indexes made from models: train, create, search, deletion refused; what does not go
# together; a model that is deleted while an index is made of it; dumps; crashes; and
# lists and graphs of both methods and all encoders.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pkglibdir = `pg_config --pkglibdir`;
chomp $pkglibdir;
plan skip_all => 'knn-train is not installed' unless -x "$pkglibdir/knn-train";

my $dim = 32;
my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', new_settings());
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'knn'\nknn.cache_size = '32MB'");
$node->start;

sub sql { return $node->safe_psql('postgres', $_[0]) }

sub failure
{
	my ($status, $out, $err) = $node->psql('postgres', $_[0]);
	isnt($status, 0, 'fails');
	return $err;
}

# Train a model and wait for it.
sub train
{
	my ($id, $column, $method, %options) = @_;
	my $more = join '', map { ", $_ => '$options{$_}'" } sort keys %options;
	sql("SELECT knn_train_model('$id', 'items', '$column', $dim, '$method'$more)");
	$node->poll_query_until('postgres', "SELECT state <> 'training' FROM knn_models WHERE model_id = '$id'");
	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'knn training'");
	is(sql("SELECT state, error FROM knn_models WHERE model_id = '$id'"), 'created|', "$id is created");
}

sub pq { return '"encoder": {"name": "pq", "parameters": {"m": ' . $_[0] . ', "code_size": 8}}' }

sql(qq{
	CREATE EXTENSION knn;
	CREATE TABLE items (id int, v knn_vector($dim), h knn_vector($dim, 'half'),
		b knn_vector($dim, 'byte'))});
load_vectors($node, 'items', 1, clustered_vectors(3000, $dim, 42));
sql(q{
	UPDATE items SET h = v,
		b = (SELECT array_agg(round(e * 50)) FROM unnest(v::real[]) e)::real[];
	VACUUM FULL ANALYZE items});

# --- an index of each kind
my @kinds = (
	[ 'ivf_flat', 'v', 'knn_ivf', 'knn_vector_l2_ops', '{"name": "ivf", "parameters": {"nlist": 16, "nprobes": 8}}', 0.9, 'rotated 8-bit' ],
	[ 'ivf_sq', 'v', 'knn_ivf', 'knn_vector_ip_ops', '{"name": "ivf", "space_type": "innerproduct", "parameters": {"nlist": 16, "nprobes": 8, "encoder": {"name": "sq"}}}', 0.85, 'rotated 8-bit' ],
	[ 'ivf_binary', 'v', 'knn_ivf', 'knn_vector_l2_ops', '{"name": "ivf", "parameters": {"nlist": 16, "nprobes": 8, "encoder": {"name": "binary", "parameters": {"bits": 2}}}}', 0.9, 'rotated 2-bit' ],
	[ 'ivf_pq', 'v', 'knn_ivf', 'knn_vector_l2_ops', '{"name": "ivf", "parameters": {"nlist": 16, "nprobes": 8, ' . pq(8) . '}}', 0.9, 'pq' ],
	[ 'ivf_pq_cosine', 'v', 'knn_ivf', 'knn_vector_cosine_ops', '{"name": "ivf", "space_type": "cosinesimil", "parameters": {"nlist": 16, "nprobes": 8, ' . pq(8) . '}}', 0.9, 'pq' ],
	[ 'ivf_half', 'h', 'knn_ivf', 'knn_vector_l2_ops', '{"name": "ivf", "parameters": {"nlist": 16, "nprobes": 8, ' . pq(4) . '}}', 0.9, 'pq', data_type => 'half' ],
	[ 'ivf_byte', 'b', 'knn_ivf', 'knn_vector_l2_ops', '{"name": "ivf", "parameters": {"nlist": 16, "nprobes": 8}}', 0.9, 'byte', data_type => 'byte' ],
	[ 'ivf_byte_cosine', 'b', 'knn_ivf', 'knn_vector_cosine_ops', '{"name": "ivf", "space_type": "cosinesimil", "parameters": {"nlist": 16, "nprobes": 8}}', 0.85, 'byte', data_type => 'byte' ],
	[ 'hnsw_pq', 'v', 'knn_hnsw', 'knn_vector_l2_ops', '{"name": "hnsw", "parameters": {"m": 12, ' . pq(8) . '}}', 0.9, 'pq' ]);

foreach my $kind (@kinds)
{
	my ($name, $column, $method, $opclass, $definition, $floor, $encoder, %options) = @$kind;
	train($name, $column, $definition, %options);
	sql("CREATE INDEX idx ON items USING $method ($column $opclass) WITH (model_id = '$name')");
	is(sql("SELECT encoder, model_id FROM knn_index_info('idx')"), "$encoder|$name", "$name: what it is");
	is(sql("SELECT nlist, nprobes, lists FROM knn_index_info('idx')"), '16|8|16', "$name: its lists")
	  if $method eq 'knn_ivf';
	my $recall = sql("SELECT round(recall::numeric, 3) FROM knn_index_recall('idx')");
	cmp_ok($recall, '>=', $floor, "$name: recall $recall");
	is(sql("SELECT knn_index_check('idx', true)"), '', "$name is sound");
	like(failure("SELECT knn_delete_model('$name')"),
		qr/cannot delete model \[$name\]: model is in use by the following indices \[public\.idx\], which must be deleted first/,
		"$name cannot be deleted");
	# an index made on no rows has all that the model has learned
	sql(qq{
		CREATE TABLE empty (LIKE items);
		CREATE INDEX empty_idx ON empty USING $method ($column $opclass) WITH (model_id = '$name');
		INSERT INTO empty SELECT * FROM items WHERE id <= 1500});
	is(sql("SELECT encoder FROM knn_index_info('empty_idx')"), $encoder, "$name: filled by inserts");
	$recall = sql("SELECT round(recall::numeric, 3) FROM knn_index_recall('empty_idx')");
	cmp_ok($recall, '>=', $floor - 0.05, "$name, filled by inserts: recall $recall");
	is(sql("SELECT knn_index_check('empty_idx', true)"), '', "$name, filled by inserts, is sound");
	sql('DROP TABLE empty; DROP INDEX idx');
}

# --- what does not go together
like(failure("CREATE INDEX ON items USING knn_ivf (v) WITH (model_id = 'nothing')"),
	qr/model "nothing" does not exist/, 'no such model');
like(failure("CREATE INDEX ON items USING knn_hnsw (v) WITH (model_id = 'ivf_pq')"),
	qr/model "ivf_pq" is of method "ivf"/, 'another method');
like(failure("CREATE INDEX ON items USING knn_ivf (v knn_vector_ip_ops) WITH (model_id = 'ivf_pq')"),
	qr/model "ivf_pq" has space type "l2", the operator class has "innerproduct"/, 'another space');
like(failure("CREATE INDEX ON items USING knn_ivf (h) WITH (model_id = 'ivf_pq')"),
	qr/model "ivf_pq" has data type "float", the column has "half"/, 'another data type');
sql('CREATE TABLE other (v knn_vector(16))');
like(failure("CREATE INDEX ON other USING knn_ivf (v) WITH (model_id = 'ivf_pq')"),
	qr/model "ivf_pq" has dimension 32, the column has 16/, 'another dimension');
sql("UPDATE knn_model SET state = 'failed' WHERE model_id = 'ivf_sq'");
like(failure("CREATE INDEX ON items USING knn_ivf (v knn_vector_ip_ops) WITH (model_id = 'ivf_sq')"),
	qr/model ID 'ivf_sq' is not created/, 'not created');
sql("UPDATE knn_model SET model_blob = substr(model_blob, 1, length(model_blob) / 2) WHERE model_id = 'ivf_flat'");
like(failure("CREATE INDEX ON items USING knn_ivf (v) WITH (model_id = 'ivf_flat')"),
	qr/the file of model "ivf_flat" cannot be used/, 'a damaged file');
sql(q{UPDATE knn_model SET model_blob = (SELECT model_blob FROM knn_model WHERE model_id = 'hnsw_pq')
	WHERE model_id = 'ivf_flat'});
like(failure("CREATE INDEX ON items USING knn_ivf (v) WITH (model_id = 'ivf_flat')"),
	qr/It is of another method/, 'the file of another model');

# who indexes are built as must be allowed to use the model
sql(q{
	CREATE ROLE other_owner;
	CREATE TABLE theirs AS SELECT id, v FROM items WHERE id < 300;
	ALTER TABLE theirs ALTER v TYPE knn_vector(32), OWNER TO other_owner});
like(failure("CREATE INDEX ON theirs USING knn_ivf (v) WITH (model_id = 'ivf_pq')"),
	qr/model "ivf_pq" does not exist/, 'the owner of the table may not use it');

# --- a deletion waits for an index that is being made, and sees it then
my $making = IPC::Run::start(
	[ 'psql', '-XAtq', '-h', $node->host, '-p', $node->port, '-c', 'BEGIN',
		'-c', "CREATE INDEX made ON items USING knn_ivf (v) WITH (model_id = 'ivf_pq')",
		'-c', 'SELECT pg_sleep(2)', '-c', 'COMMIT', 'postgres' ],
	'<', \'', '>', '/dev/null', '2>', '/dev/null');
$node->poll_query_until('postgres',
	"SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND backend_xid IS NOT NULL")
  or die 'the index is not made';
like(failure("SELECT knn_delete_model('ivf_pq')"),
	qr/model is in use by the following indices \[public\.made\]/, 'a deletion waits for the index');
$making->finish;

# --- a dump: the model's row comes before the index
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('postgres') ], 'dumped');
sql('CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-v', 'ON_ERROR_STOP=1', '-q', '-f', $dump, '-d', $node->connstr('restored') ],
	'restored');
is($node->safe_psql('restored', "SELECT encoder, model_id, lists FROM knn_index_info('made')"),
	'pq|ivf_pq|16', 'the index is made of the model again');

# --- it needs the catalog no more, but to be rebuilt
sql("DELETE FROM knn_model WHERE model_id = 'ivf_pq'");
$node->stop('immediate');
$node->start;
is(sql("SELECT knn_index_check('made', true)"), '', 'sound without its model, and after a crash');
cmp_ok(sql("SELECT recall FROM knn_index_recall('made')"), '>', 0.9, 'searched without its model');
like(failure('REINDEX INDEX made'), qr/model "ivf_pq" does not exist/, 'not rebuilt without it');

$node->stop;
done_testing();
