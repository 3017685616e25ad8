# A build tells how far it is, and ends when it is told to in whichever phase;
# so do long scans and VACUUM.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 800;
my $rows = 4000;

my $node = start_node("maintenance_work_mem = 512MB\nwal_level = replica");
$node->safe_psql(
	'postgres', qq{
	CREATE TABLE t (id int, v knn_vector($dim));
	INSERT INTO t SELECT i, array_agg(((i * 73856093::bigint) # (j * 19349663::bigint)) % 2003 / 1000.0::real)::real[]::knn_vector
		FROM generate_series(1, $rows) i, generate_series(1, $dim) j GROUP BY i;
	-- what an observer sees of a build: each phase once, and the counters as they grow
	CREATE TABLE seen (phase text, tuples_total bigint, tuples_done bigint)});

# Watches the progress view until a build in phase "target" is seen, which is then
# cancelled; without a target until the build ends.
my $observe = q{
DO $$
DECLARE
	p record;
	last record;
	started bool := false;
	idle int := 0;
BEGIN
	-- give the build time to begin, and stop when it has ended
	WHILE idle < 50000 LOOP
		PERFORM pg_stat_clear_snapshot();
		SELECT pid, phase, tuples_total, tuples_done INTO p FROM pg_stat_progress_create_index;
		IF FOUND THEN
			started := true;
			IF last IS NULL OR p IS DISTINCT FROM last THEN
				INSERT INTO seen VALUES (p.phase, p.tuples_total, p.tuples_done);
				last := p;
			END IF;
			IF p.phase = 'TARGET' THEN
				PERFORM pg_cancel_backend(p.pid);
				RETURN;
			END IF;
		ELSIF started THEN
			RETURN;
		ELSE
			idle := idle + 1;
		END IF;
		PERFORM pg_sleep(0.0005);
	END LOOP;
END $$};

# Runs a build and an observer next to it; returns status and messages of the build.
sub build
{
	my ($target, $table, $options, $settings) = @_;
	my $script = $observe;
	$script =~ s/TARGET/$target/;
	$node->safe_psql('postgres', 'TRUNCATE seen');
	my $file = PostgreSQL::Test::Utils::tempdir() . '/observer.sql';
	open my $handle, '>', $file or die "could not open $file: $!";
	print $handle $script;
	close $handle;
	my ($out, $err) = ('', '');
	my $observer = IPC::Run::start(
		[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-h', $node->host, '-p', $node->port, '-f', $file, 'postgres' ],
		'<', \'', '>', \$out, '2>', \$err);
	$node->poll_query_until('postgres',
		"SELECT count(*) = 1 FROM pg_stat_activity WHERE query ~ '^DO' AND state = 'active' AND pid <> pg_backend_pid()");
	my ($rc, undef, $messages) = $node->psql('postgres',
		"$settings; CREATE INDEX t_idx ON $table USING knn_hnsw (v) WITH ($options)");
	$observer->finish;
	is($err, '', 'the observer ran well');
	return ($rc, $messages);
}

my $cheap = 'm = 4, ef_construction = 20';
my $memory = "SET maintenance_work_mem = '512MB'";
# in the server's process, to whose memory it matters
my $little = "SET maintenance_work_mem = '1MB'; SET knn.build_external_min = -1";

# ---------------------------------------------------------------------------
# progress

my ($rc, $messages) = build('none', 't', $cheap, $memory);
is($rc, 0, 'a build under observation') or diag $messages;
is($messages, '', 'nothing to complain about');
my @phases = split /\n/, $node->safe_psql('postgres', q{SELECT DISTINCT regexp_replace(phase, '^building index: ', '') FROM seen ORDER BY 1});
my %phases = map { $_ => 1 } @phases;
note join ', ', @phases;
ok($phases{$_}, "phase \"$_\" is seen")
  foreach ('reading vectors', 'building graph', 'writing pages', 'logging pages');
is( $node->safe_psql(
		'postgres', q{
		SELECT max(tuples_total), max(tuples_done) BETWEEN 1 AND max(tuples_total), min(tuples_done) < max(tuples_done)
		FROM seen WHERE phase LIKE '%building graph'}),
	"$rows|t|t",
	'tuples are counted');
is( $node->safe_psql('postgres', q{SELECT count(*) FROM seen WHERE tuples_done > tuples_total AND tuples_total > 0}),
	0,
	'never more done than there are');
$node->safe_psql('postgres', 'DROP INDEX t_idx');

# little memory: it is said, and the answers are right all the same
$node->safe_psql('postgres', 'CREATE TABLE small (id int, v knn_vector(64))');
load_vectors($node, 'small', 1, clustered_vectors(6000, 64, 2));
queries($node, 30, 64, 3);
my $usual = 'm = 16, ef_construction = 64';
($rc, $messages) = build('none', 'small', $usual, $little);
is($rc, 0, 'a build with little memory') or diag $messages;
like($messages, qr/NOTICE:  the graph of index "t_idx" does not fit into maintenance_work_mem/, 'is said to be one');
like($messages, qr/DETAIL:  \d+ of 6000 vectors fit; the others are inserted one by one, which is slower/, 'and what it means');
like($messages, qr/HINT:  The whole graph needs maintenance_work_mem = '\d+ MB'/, 'and what would help');
@phases = split /\n/, $node->safe_psql('postgres', q{SELECT DISTINCT phase FROM seen});
ok(grep(/inserting vectors beyond maintenance_work_mem/, @phases), 'the phase of inserts is seen');
my $exact = neighbours($node, 'small', '<->', exact => 1);
my $recall = recall(neighbours($node, 'small', '<->'), $exact);
cmp_ok($recall, '>=', 0.97, sprintf('recall %.4f of a build with little memory', $recall));
check_whole_index($node, 'small', 't_idx', 'little memory');
check_entries($node, 'small', 't_idx', 'little memory');
# the advice is right
my ($advised) = $messages =~ /needs maintenance_work_mem = '(\d+) MB'/;
$node->safe_psql('postgres', 'DROP INDEX t_idx');
($rc, $messages) = build('none', 'small', $usual, "SET maintenance_work_mem = '${advised}MB'");
is($messages, '', "with the advised $advised MB the graph fits");
$node->safe_psql('postgres', 'DROP INDEX t_idx');

# ---------------------------------------------------------------------------
# cancel in each phase: the build ends, and leaves neither files nor an index

# files of dropped relations go with a checkpoint
$node->safe_psql('postgres', 'CHECKPOINT');
my $files = $node->safe_psql('postgres', "SELECT count(*) FROM pg_ls_dir('base/' || (SELECT oid FROM pg_database WHERE datname = 'postgres')) f WHERE f ~ '^[0-9]+\$'");
foreach my $phase (
	'reading vectors', 'building graph', 'writing pages', 'logging pages',
	'inserting vectors beyond maintenance_work_mem')
{
	# a phase may be over before the signal arrives
	foreach my $attempt (1 .. 5)
	{
		($rc, $messages) = build("building index: $phase", 't', $cheap, $phase =~ /beyond/ ? $little : $memory);
		last if $rc != 0;
		$node->safe_psql('postgres', 'DROP INDEX t_idx');
	}
	isnt($rc, 0, "$phase: cancelled");
	like($messages, qr/canceling statement due to user request/, "$phase: the user's request is the reason");
	is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_ls_tmpdir()'), 0, "$phase: no temporary file is left");
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE relname LIKE 't_idx%'"), 0, "$phase: no index is left");
}
$node->safe_psql('postgres', 'CHECKPOINT');
is( $node->safe_psql('postgres', "SELECT count(*) FROM pg_ls_dir('base/' || (SELECT oid FROM pg_database WHERE datname = 'postgres')) f WHERE f ~ '^[0-9]+\$'"),
	$files,
	'no file of an index is left');

# ---------------------------------------------------------------------------
# scans and VACUUM

$node->safe_psql('postgres', "CREATE INDEX t_idx ON small USING knn_hnsw (v) WITH ($usual)");
($rc, undef, $messages) = $node->psql(
	'postgres', q{
	SET enable_seqscan = off; SET enable_sort = off; SET knn.ef_search = 2000;
	SET statement_timeout = '300ms';
	SELECT count(*) FROM generate_series(1, 1000) i,
		LATERAL (SELECT t.id FROM small t ORDER BY t.v <-> (SELECT v FROM queries OFFSET i % 10 LIMIT 1) LIMIT 2000) s});
isnt($rc, 0, 'a long scan is cancelled');
like($messages, qr/canceling statement due to statement timeout/, 'by its timeout');
# one scan that a filter keeps from ending
($rc, undef, $messages) = $node->psql(
	'postgres', q{
	SET enable_seqscan = off; SET enable_sort = off;
	SET statement_timeout = '300ms';
	SELECT id FROM small WHERE pg_sleep(0.005) IS NULL ORDER BY v <-> (SELECT v FROM queries LIMIT 1) LIMIT 1});
like($messages, qr/canceling statement due to statement timeout/, 'a scan without rows is cancelled');
$node->safe_psql('postgres', 'DELETE FROM small WHERE id % 2 = 0');
($rc, undef, $messages) = $node->psql(
	'postgres', q{
	SET vacuum_cost_delay = '100ms'; SET vacuum_cost_limit = 1; SET statement_timeout = '500ms'; VACUUM small});
like($messages, qr/canceling statement due to statement timeout/, 'a VACUUM is cancelled');
check_whole_index($node, 'small', 't_idx', 'after a cancelled VACUUM');
$node->safe_psql('postgres', 'VACUUM small');
check_whole_index($node, 'small', 't_idx', 'after a whole VACUUM');

is(join("\n", log_errors($node, 0, qr/canceling statement/)), '', 'no other error in the log');
$node->stop;
done_testing();
