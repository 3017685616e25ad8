# What pg_dump writes makes the same table and index again; the extension can be
# dropped, created and moved to another schema.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 8;

my $node = start_node();
queries($node, 10, $dim, 1);
$node->safe_psql(
	'postgres', qq{
	CREATE TABLE t (id int PRIMARY KEY, cat int, r real[], v knn_vector($dim), h knn_vector($dim, 'half'))});
load_vectors($node, 't', 1, clustered_vectors(800, $dim, 2));
$node->safe_psql(
	'postgres', qq{
	UPDATE t SET cat = id % 5, r = v::real[], h = v;
	INSERT INTO t (id) VALUES (0);
	CREATE INDEX t_l2 ON t USING knn_hnsw (v) WITH (m = 8, ef_construction = 60, ef_search = 300);
	CREATE INDEX t_cosine ON t USING knn_hnsw (v knn_vector_cosine_ops) WITH (ef_search = 77) WHERE cat < 3;
	CREATE INDEX t_linf ON t USING knn_hnsw ((r::knn_vector($dim)) knn_vector_linf_ops);
	CREATE INDEX t_half ON t USING knn_hnsw ((h::knn_vector($dim)) knn_vector_l1_ops);
	CREATE MATERIALIZED VIEW mv AS SELECT id, v FROM t WHERE cat = 1;
	CREATE INDEX mv_ip ON mv USING knn_hnsw (v knn_vector_ip_ops);
	CREATE VIEW nearest AS SELECT id FROM t ORDER BY v <-> '[1,1,1,1,1,1,1,1]' LIMIT 5;
	CREATE TABLE p (id int, v knn_vector($dim)) PARTITION BY RANGE (id);
	CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (400);
	CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (400) TO (1000);
	CREATE INDEX p_idx ON p USING knn_hnsw (v) WITH (m = 12);
	INSERT INTO p SELECT id, v FROM t});

my $definitions = q{
	SELECT pg_get_indexdef(indexrelid), indisvalid FROM pg_index JOIN pg_class c ON c.oid = indexrelid
	WHERE relam = (SELECT oid FROM pg_am WHERE amname = 'knn_hnsw') AND relkind = 'i' ORDER BY 1};
my $rows = 'SELECT t FROM t ORDER BY id';
my $answers = q{
	SET enable_seqscan = off; SET knn.ef_search = 1000;
	SELECT array_agg(id) FROM nearest;
	SELECT q.id, n.id FROM queries q, LATERAL (SELECT id FROM t ORDER BY v <-> q.v LIMIT 5) n ORDER BY q.id, n.id;
	SELECT q.id, n.id FROM queries q, LATERAL (SELECT id FROM p ORDER BY v <-> q.v LIMIT 5) n ORDER BY q.id, n.id;
	SELECT q.id, n.id FROM queries q, LATERAL (SELECT id FROM mv ORDER BY v <#> q.v LIMIT 5) n ORDER BY q.id, n.id;
	SELECT q.id, n.id FROM queries q, LATERAL (SELECT id FROM t WHERE cat < 3 ORDER BY v <=> q.v LIMIT 5) n ORDER BY q.id, n.id;
	SELECT q.id, n.id FROM queries q, LATERAL (SELECT id FROM t ORDER BY r::knn_vector(8) <%> q.v LIMIT 5) n ORDER BY q.id, n.id};
my %expected = map { $_ => $node->safe_psql('postgres', $_) } ($definitions, $rows, $answers);

sub same
{
	my ($database, $name) = @_;
	is($node->safe_psql($database, $definitions), $expected{$definitions}, "$name: definitions of indexes");
	is($node->safe_psql($database, $rows), $expected{$rows}, "$name: rows");
	is($node->safe_psql($database, $answers), $expected{$answers}, "$name: answers");
	return;
}
like($expected{$definitions}, qr/WITH \(m='8', ef_construction='60', ef_search='300'\)/, 'options are part of the definition');

my $dir = PostgreSQL::Test::Utils::tempdir();
$node->safe_psql('postgres', "CREATE DATABASE $_") foreach qw(plain custom parallel inserts);

$node->command_ok([ 'pg_dump', '-f', "$dir/plain.sql", $node->connstr('postgres') ], 'pg_dump, plain');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", $node->connstr('plain') ],
	'psql, plain');
same('plain', 'plain');

$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom.dump", $node->connstr('postgres') ], 'pg_dump, custom');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('custom'), "$dir/custom.dump" ], 'pg_restore, custom');
same('custom', 'custom');

$node->command_ok([ 'pg_dump', '-Fd', '-j', '2', '-f', "$dir/dir.dump", $node->connstr('postgres') ], 'pg_dump, directory');
$node->command_ok([ 'pg_restore', '-e', '-j', '3', '-d', $node->connstr('parallel'), "$dir/dir.dump" ],
	'pg_restore, several jobs');
same('parallel', 'several jobs');

$node->command_ok([ 'pg_dump', '--rows-per-insert=50', '-f', "$dir/inserts.sql", $node->connstr('postgres') ],
	'pg_dump, INSERT commands');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/inserts.sql", $node->connstr('inserts') ],
	'psql, INSERT commands');
same('inserts', 'INSERT commands');

# a dump of a dump is the same dump
my $schema = sub {
	my ($database) = @_;
	my $out = '';
	IPC::Run::run([ 'pg_dump', '--schema-only', $node->connstr($database) ], '>', \$out) or die 'pg_dump failed';
	# a key that newer minor versions draw at random
	$out =~ s/^\\(un)?restrict .*$//mg;
	return $out;
};
is($schema->('custom'), $schema->('postgres'), 'the dump of a restored database is the same');

# a database of a template that has indexes
$node->safe_psql('postgres', 'CREATE DATABASE copied TEMPLATE custom');
same('copied', 'copied database');

# ---------------------------------------------------------------------------
# the extension in another schema

$node->safe_psql('custom', 'CREATE SCHEMA extensions; ALTER EXTENSION knn SET SCHEMA extensions');
my $path = 'SET search_path = public, extensions;';
is($node->safe_psql('custom', "$path $answers"), $expected{$answers}, 'moved: answers');
$node->safe_psql(
	'custom', qq{
	$path
	INSERT INTO t (id, v) SELECT id + 1000, v + v FROM t WHERE id > 0;
	REINDEX TABLE t;
	DELETE FROM t WHERE id > 1000;
	CREATE INDEX another ON t USING knn_hnsw (v knn_vector_ip_ops);
	DROP INDEX another});
# also where the operators are not in the search path
$node->safe_psql(
	'custom', q{
	SET search_path = pg_catalog;
	VACUUM public.t;
	INSERT INTO public.t (id, v) SELECT 5000, v FROM public.t WHERE id = 1;
	DELETE FROM public.t WHERE id = 5000;
	REINDEX TABLE public.t});
is( $node->safe_psql('custom', q{
		SET search_path = pg_catalog; SET enable_seqscan = off;
		SELECT id FROM public.t ORDER BY v OPERATOR(extensions.<->) (SELECT v FROM public.t WHERE id = 17) LIMIT 1}),
	17,
	'moved: a query with a qualified operator');
is($node->safe_psql('custom', "$path $answers"), $expected{$answers}, 'moved: answers after changes');
is( $node->safe_psql('custom', q{
		SELECT bool_and(amvalidate(oid)) FROM pg_opclass WHERE opcmethod = (SELECT oid FROM pg_am WHERE amname = 'knn_hnsw')}),
	't', 'moved: operator classes are valid');
$node->safe_psql('postgres', 'CREATE DATABASE moved');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/moved.dump", $node->connstr('custom') ], 'moved: pg_dump');
$node->command_ok([ 'pg_restore', '-e', '-d', $node->connstr('moved'), "$dir/moved.dump" ], 'moved: pg_restore');
is($node->safe_psql('moved', "$path $answers"), $expected{$answers}, 'moved and restored: answers');

# ---------------------------------------------------------------------------
# without the extension, and with it again

my ($rc, $out, $err) = $node->psql('plain', 'DROP EXTENSION knn');
isnt($rc, 0, 'the extension is needed');
like($err, qr/other objects depend on it/, 'by tables and indexes');
$node->safe_psql('plain', 'DROP EXTENSION knn CASCADE');
is($node->safe_psql('plain', q{SELECT count(*) FROM pg_class WHERE relname IN ('t_l2', 'p_idx', 'mv_ip')}), 0, 'indexes go with it');
is($node->safe_psql('plain', q{SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped}),
	'id,cat,r', 'columns of the type as well');
is($node->safe_psql('plain', q{SELECT count(*) FROM pg_proc WHERE proname ~ '^knn'}), 0, 'nothing is left');
$node->safe_psql(
	'plain', q{
	CREATE EXTENSION knn;
	ALTER TABLE t ADD v knn_vector(8);
	UPDATE t SET v = r::knn_vector(8);
	CREATE INDEX t_l2 ON t USING knn_hnsw (v) WITH (ef_search = 300)});
is($node->safe_psql('plain', 'SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = 17) LIMIT 1'),
	17, 'and it can be created again');
# a session that used the extension before
my $session = $node->background_psql('plain');
$session->query_safe('SET enable_seqscan = off; SELECT id FROM t ORDER BY v <-> (SELECT v FROM t WHERE id = 17) LIMIT 1');
$node->safe_psql('plain', 'DROP EXTENSION knn CASCADE; CREATE EXTENSION knn; CREATE TABLE n (id int, v knn_vector(2)); CREATE INDEX ON n USING knn_hnsw (v); INSERT INTO n VALUES (3, ARRAY[1, 2]::knn_vector)');
is($session->query_safe("SELECT id FROM n ORDER BY v <-> '[1,1]' LIMIT 1"), 3, 'in a session that knew the old one');
$session->quit;

$node->stop;
done_testing();
