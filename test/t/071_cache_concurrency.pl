# Writers, scans, VACUUM, rebuilds and drops while indexes come into the cache and
# leave it: nobody gets an error, and afterwards the cache has what pages have.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep time);

my $dim = 16;

my $node = start_node('', cache => '8MB');
queries($node, 40, $dim, 1);
$node->safe_psql(
	'postgres', qq{
	CREATE SEQUENCE ids START 100000;
	CREATE TABLE pool (id int PRIMARY KEY, v knn_vector($dim));
	CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('ids'), n int DEFAULT 0, v knn_vector($dim));
	CREATE TABLE b (id int PRIMARY KEY, v knn_vector($dim));
	CREATE TABLE one_bit (id int PRIMARY KEY, v knn_vector($dim));
	CREATE INDEX one_bit_idx ON one_bit USING knn_hnsw (v) WITH (mode = on_disk)});
load_vectors($node, 'pool', 0, clustered_vectors(4000, $dim, 2));
$node->safe_psql(
	'postgres', q{
	INSERT INTO t (id, v) SELECT id, v FROM pool WHERE id < 1500;
	INSERT INTO b SELECT * FROM pool WHERE id % 2 = 0;
	INSERT INTO one_bit SELECT * FROM pool WHERE id % 4 = 0;
	CREATE INDEX t_idx ON t USING knn_hnsw (v);
	CREATE INDEX b_idx ON b USING knn_hnsw (v);
	VACUUM ANALYZE});

# A scan checks that the order is an order and that no row comes twice (a division by
# zero is an error).
sub scan
{
	my ($table) = @_;
	return qq{
\\set q random(1, 40)
SET enable_seqscan = off;
SET enable_sort = off;
SELECT 1 / (count(*) = count(DISTINCT id) AND count(*) FILTER (WHERE d < before - 1e-5) = 0)::int
FROM (SELECT id, d, lag(d) OVER () AS before FROM
	(SELECT id, v <-> (SELECT v FROM queries WHERE id = :q) AS d FROM $table
	 ORDER BY v <-> (SELECT v FROM queries WHERE id = :q) LIMIT 50) s) s;
};
}

# rows are locked in the order of their ids, so that writers do not deadlock
my $some = 'WHERE id IN (SELECT id FROM t WHERE id % 1000 = :r ORDER BY id FOR UPDATE)';
my %changes = (
	"\\set r random(0, 3999)\nINSERT INTO t (v) SELECT v FROM pool WHERE id = :r;" => 60,
	"\\set r random(1, 5)\nINSERT INTO t (v) SELECT v FROM queries, generate_series(1, 3) WHERE id = :r;" => 10,
	"\\set r random(0, 999)\nDELETE FROM t $some;" => 20,
	"\\set r random(0, 999)\nUPDATE t SET n = n + 1 $some;" => 20,
	"\\set r random(0, 999)\nUPDATE t SET v = v + v $some;" => 5,
	"BEGIN;\n\\set r random(0, 3999)\nINSERT INTO t (v) SELECT v FROM pool WHERE id = :r;\nROLLBACK;" => 5,
	"\\set r random(0, 999)\nINSERT INTO one_bit SELECT nextval('ids'), v FROM pool WHERE id = :r;" => 10,
	scan('t') => 50,
	scan('b') => 10,
	scan('one_bit') => 20,
	# a cursor that is open while others do all of that
	qq{BEGIN ISOLATION LEVEL REPEATABLE READ;
SET LOCAL enable_seqscan = off;
\\set q random(1, 40)
DECLARE c CURSOR FOR SELECT id FROM t ORDER BY v <-> (SELECT v FROM queries WHERE id = :q);
FETCH 10 FROM c;
FETCH 100 FROM c;
COMMIT;
} => 5);
# patterns, since b's index comes and goes
my %cache = (
	"SELECT knn_warmup('t');\n\\sleep 10 ms" => 6,
	"SELECT knn_warmup('*');\n\\sleep 10 ms" => 2,
	"SELECT knn_clear_cache('*');\n\\sleep 10 ms" => 4,
	"SELECT knn_clear_cache('t');\n\\sleep 10 ms" => 4,
	"SELECT count(*) FROM knn_cache;\nSELECT knn_stats();" => 4);
# one at a time, since some of them wait for all others
my %definitions = (
	"VACUUM t;" => 6,
	"REINDEX INDEX t_idx;" => 2,
	"REINDEX INDEX CONCURRENTLY t_idx;" => 2,
	"BEGIN;\nREINDEX INDEX t_idx;\nROLLBACK;" => 1,
	"DROP INDEX b_idx;\nCREATE INDEX b_idx ON b USING knn_hnsw (v);" => 1,
	"DROP INDEX CONCURRENTLY b_idx;\nCREATE INDEX CONCURRENTLY b_idx ON b USING knn_hnsw (v);" => 1,
	"BEGIN;\nDROP INDEX b_idx;\nROLLBACK;" => 1,
	"REINDEX INDEX one_bit_idx;" => 1);

my $seconds = 12;
my @running = (
	start_pgbench($node, \%changes, '-c', '4', '-T', $seconds),
	start_pgbench($node, \%cache, '-c', '2', '-T', $seconds),
	start_pgbench($node, \%definitions, '-c', '1', '-T', $seconds));
# the limit goes up and down meanwhile; at 1 MB not all fit
my $end = time + $seconds - 2;
while (time < $end)
{
	foreach my $limit ('1MB', '20%', '100%')
	{
		$node->safe_psql('postgres', "ALTER SYSTEM SET knn.memory_circuit_breaker_limit = '$limit'");
		$node->reload;
		usleep(700_000);
	}
}
my @names = ('changes and scans', 'the cache', 'definitions');
foreach my $run (@running)
{
	my $name = shift @names;
	ok($run->finish, "$name: pgbench ends well");
}
# what does not fit at the moment, or is dropped just then, is a warning of knn_warmup
my $expected = qr/could not load index "(public\.\w+|\d+)" into the cache/;
is(join("\n", log_errors($node, 0, $expected)), '', 'no error in the log');
note stat_of($node, q{'hits ' || hit_count || ', misses ' || miss_count || ', loads ' || load_success_count
	|| ', refused ' || load_exception_count || ', evictions ' || eviction_count});
is(stat_of($node, 'hit_count > 500 AND load_success_count > 50 AND eviction_count > 0'),
	't', 'the cache was in use');
is($node->safe_psql('postgres', 'SELECT count(*) FROM knn_progress'), 0, 'nobody is at work any more');

sub check_all
{
	my ($name) = @_;
	# what was kept up to date all the time, and what is loaded now
	foreach my $how ('kept', 'loaded')
	{
		check_mirror($node, $_, '<->', "$name, $how", k => 50) foreach ('t', 'b', 'one_bit');
		check_whole_index($node, 't', 't_idx', "$name, $how");
		my $recall = recall(neighbours($node, 't', '<->'), neighbours($node, 't', '<->', exact => 1));
		cmp_ok($recall, '>=', 0.97, sprintf('%s, %s: recall %.4f', $name, $how, $recall));
		check_empty_cache($node, "$name, $how");
	}
	check_structure($node, $_, $name) foreach ('b_idx', 'one_bit_idx');
	return;
}
check_all('at rest');

# the same without anything that makes mirrors go, so that they are kept up for long
$node->safe_psql('postgres', q{SELECT knn_warmup('*')});
my $loads = stat_of($node, 'load_success_count + eviction_count');
@running = (
	start_pgbench($node, \%changes, '-c', '4', '-T', 5),
	start_pgbench($node, { 'VACUUM t;' => 1, "\\sleep 20 ms" => 1 }, '-c', '1', '-T', 5));
ok($_->finish, 'kept up: pgbench ends well') foreach @running;
is(stat_of($node, 'load_success_count + eviction_count'), $loads, 'kept up: nothing was loaded or evicted');
check_mirror($node, $_, '<->', 'kept up', k => 50) foreach ('t', 'b', 'one_bit');
is(stat_of($node, 'load_success_count + eviction_count'), $loads, 'kept up: nor for these answers');
check_all('kept up');
check_entries($node, 't', 't_idx', 'kept up');
check_mirror($node, 't', '<->', 'after VACUUM');
check_empty_cache($node, 'at the end');
is(join("\n", log_errors($node, 0, $expected)), '', 'no error in the log at the end');

$node->stop;
done_testing();
