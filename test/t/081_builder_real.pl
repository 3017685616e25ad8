# Builds by the real knn-builder: as good as those of the server, watched, cancelled,
# and with little memory.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use FakeBuilder qw(fake_builders children nothing_left);
use KnnTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

chomp(my $bindir = `pg_config --bindir`);
plan skip_all => 'knn-builder is not installed' unless -x "$bindir/knn-builder";

my $dim = 64;
my $rows = 20000;
# a search that does not find all, so that a worse graph shows; builds differ by a
# percent or so, their seeds being random
my $narrow = 'SET knn.ef_search = 20;';

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', new_settings());
$node->append_conf('postgresql.conf', "fsync = off\nmaintenance_work_mem = 256MB\nlog_min_messages = debug1\nknn.build_external_min = 0");
$node->start;
fake_builders($node);
$node->safe_psql('postgres', 'CREATE EXTENSION knn');
$node->safe_psql('postgres', "CREATE TABLE t (id int, v knn_vector($dim))");
load_vectors($node, 't', 1, clustered_vectors($rows, $dim, 2));
# equal rows, and rows without a vector
$node->safe_psql('postgres', 'INSERT INTO t SELECT id + 100000, v FROM t WHERE id <= 100; INSERT INTO t SELECT i + 200000, NULL FROM generate_series(1, 10) i');
queries($node, 200, $dim, 3);

# Builds an index; returns messages and seconds.
sub build
{
	my ($settings, $definition) = @_;
	$definition //= 'ON t USING knn_hnsw (v)';
	my $begun = time;
	my ($rc, undef, $messages) = $node->psql('postgres', "$settings; CREATE INDEX t_idx $definition");
	return ($messages, time - $begun);
}

sub drop { return $node->safe_psql('postgres', 'DROP INDEX t_idx') }

# ---------------------------------------------------------------------------
# recall in every space, against a build by the server

foreach my $space ('l2', 'cosine', 'ip', 'l1', 'linf')
{
	my ($op, $opclass) = @{ $operators{$space} };
	my $exact = neighbours($node, 't', $op, exact => 1);
	my %recall;
	foreach my $who ('server', 'program')
	{
		my ($messages, $seconds) = build($who eq 'server' ? 'SET knn.build_external_min = -1' : 'SET knn.algo_param_index_thread_qty = 2',
			"ON t USING knn_hnsw (v $opclass)");
		is($messages, '', "$space: built by the $who");
		$recall{$who} = recall(neighbours($node, 't', $op, settings => $narrow), $exact);
		note sprintf('%s: %s, recall %.4f, %.2f s', $space, $who, $recall{$who}, $seconds);
		check_structure($node, 't_idx', "$space, $who");
		drop();
	}
	cmp_ok($recall{program}, '>=', $recall{server} - 0.03, "$space: the program's index finds as much");
}
my $log = slurp_file($node->logfile);
like($log, qr/knn-builder built a graph of $rows nodes in \S+ s: 2 threads/, 'with two threads, each vector once');
is(scalar(() = $log =~ /knn-builder made the codes of $rows nodes/g), 5, 'and it makes the codes of every space');
nothing_left('spaces');

# levels and kinds of vectors
foreach my $with ('compression_level = "32x"', 'compression_level = "2x"', 'compression_level = "8x", store_vectors = off', 'm = 5, ef_construction = 40')
{
	my ($messages) = build('', "ON t USING knn_hnsw (v) WITH ($with)");
	is($messages, '', "$with: built by the program");
	check_structure($node, 't_idx', $with);
	drop();
}
is(scalar(() = slurp_file($node->logfile) =~ /knn-builder made the codes of $rows nodes/g), 9, 'and the codes of every level');
foreach my $case (
	[ 'half', 'l2', "knn_vector(64, 'half')", 'SELECT id, v::real[]::knn_vector::%s FROM t WHERE v IS NOT NULL' ],
	[ 'byte', 'cosine', "knn_vector(64, 'byte')", 'SELECT id, (SELECT array_agg(round(e * 40)) FROM unnest(v::real[]) e)::real[]::knn_vector::%s FROM t WHERE id <= 3000' ],
	[ 'byte', 'ip', "knn_vector(64, 'byte')", 'SELECT id, (SELECT array_agg(round(e * 40)) FROM unnest(v::real[]) e)::real[]::knn_vector::%s FROM t WHERE id <= 3000' ],
	[ 'binary', 'hamming', "knn_vector(512, 'binary')", 'SELECT id, (SELECT array_agg(round(e * 40)) FROM unnest(v::real[]) e)::real[]::knn_vector::%s FROM t WHERE id <= 3000' ])
{
	my ($name, $space, $type, $data) = @$case;
	$data = sprintf $data, $type;
	my ($rc, undef, $messages) = $node->psql('postgres', qq{
		CREATE TABLE kinds (id int, v $type);
		INSERT INTO kinds $data;
		CREATE INDEX kinds_idx ON kinds USING knn_hnsw (v knn_vector_${space}_ops);
		SELECT knn_index_check('kinds_idx', heapallindexed => true);
		DROP TABLE kinds});
	is($rc, 0, "$name, $space: built and whole") or diag $messages;
	is($messages, '', "$name, $space: by the program");
}

# few vectors, down to one
foreach my $few (1, 2, 3, 40)
{
	my ($rc, undef, $messages) = $node->psql('postgres', qq{
		CREATE TABLE few AS SELECT * FROM t WHERE id <= $few;
		CREATE INDEX few_idx ON few USING knn_hnsw (v);
		SELECT knn_index_check('few_idx', heapallindexed => true, reachable => true);
		DROP TABLE few});
	is($rc, 0, "$few vectors: built and whole") or diag $messages;
	is($messages, '', "$few vectors: by the program");
}

# ---------------------------------------------------------------------------
# little memory: near the recall of the whole, and nothing is said about it

my $exact = neighbours($node, 't', '<->', exact => 1);
build('');
my $whole = recall(neighbours($node, 't', '<->', settings => $narrow), $exact);
drop();
# the graph takes some 4.5 MB
my ($messages, $seconds) = build("SET maintenance_work_mem = '2MB'; SET knn.algo_param_index_thread_qty = 2");
SKIP:
{
	# a limit that the program refuses is a reason to build without it
	skip 'the program does not build with so little memory', 1 if $messages =~ /WARNING/;
	my $recall = recall(neighbours($node, 't', '<->', settings => $narrow), $exact);
	note sprintf('little memory: recall %.4f, whole %.4f, %.2f s', $recall, $whole, $seconds);
	cmp_ok($recall, '>=', $whole - 0.03, 'a build with little memory finds as much');
}
check_structure($node, 't_idx', 'little memory');
nothing_left('little memory');
drop();

# ---------------------------------------------------------------------------
# progress, and cancelling in it

$node->safe_psql('postgres', 'CREATE TABLE seen (phase text, total bigint, done bigint)');
sub start_build
{
	my ($out, $err) = ('', '');
	my $run = IPC::Run::start(
		[ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, 'postgres', '-c', 'SET knn.algo_param_index_thread_qty = 2',
			'-c', 'CREATE INDEX t_idx ON t USING knn_hnsw (v) WITH (ef_construction = 1000)' ],
		'<', \'', '>', \$out, '2>', \$err);
	return ($run, \$err);
}
my ($run, $err) = start_build();
$node->safe_psql('postgres', q{
	DO $$
	DECLARE
		p record;
		started bool := false;
	BEGIN
		FOR i IN 1 .. 60000 LOOP
			PERFORM pg_stat_clear_snapshot();
			SELECT phase, tuples_total, tuples_done INTO p FROM pg_stat_progress_create_index;
			IF FOUND THEN
				started := true;
				INSERT INTO seen VALUES (p.phase, p.tuples_total, p.tuples_done);
			ELSIF started THEN
				RETURN;
			END IF;
			PERFORM pg_sleep(0.002);
		END LOOP;
	END $$});
$run->finish;
is($$err, '', 'a build under observation');
is($node->safe_psql('postgres', qq{SELECT max(total), count(DISTINCT done) > 3, bool_and(done <= total) FROM seen WHERE phase = 'building index: building graph'}),
	"$rows|t|t", 'tuples are counted as the program goes on');
drop();

($run, $err) = start_build();
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_progress_create_index WHERE phase = 'building index: building graph' AND tuples_done > 0})
  or die 'the program was not seen at work';
is(scalar(split ' ', children()), 1, 'the program runs');
my $begun = time;
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index');
$run->finish;
cmp_ok(time - $begun, '<', 2, 'it is cancelled at once');
like($$err, qr/canceling statement due to user request/, 'which is the reason');
nothing_left('cancel');

# killed from outside
($run, $err) = start_build();
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_progress_create_index WHERE phase = 'building index: building graph' AND tuples_done > 0})
  or die 'the program was not seen at work';
kill 'KILL', map { m{(\d+)$} } split ' ', children();
$run->finish;
like($$err, qr/WARNING:  index "t_idx" is built by the server.*\nDETAIL:  Program "\S+" was killed by signal 9/, 'a program that is killed is replaced by the server');
check_structure($node, 't_idx', 'killed');
nothing_left('killed');

is(join("\n", grep { !/is built by the server/ } log_errors($node, 0, qr/canceling statement/)), '', 'no other error in the log');
$node->stop;
done_testing();
