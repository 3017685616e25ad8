# Indexes of every data type, of one bit a dimension, with codebooks and without vectors: a
# standby answers as the primary does, and a crash while they are written leaves them sound.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 32;
my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 1);
$primary->append_conf('postgresql.conf', new_settings());
$primary->append_conf('postgresql.conf', "wal_consistency_checking = 'all'\nwal_keep_size = 1GB");
$primary->start;
$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
$standby->start;

my %indexes = (
	t_bytes => [ 'b', '<->', '' ],
	t_bytes_cosine => [ 'b', '<=>', 'knn_vector_cosine_ops' ],
	t_halves => [ 'h', '<->', '', "compression_level = '4x'" ],
	t_bits => [ 's', '<~>', 'knn_vector_hamming_ops' ],
	t_one_bit => [ 'v', '<->', '', 'mode = on_disk' ],
	t_half_stored => [ 'v', '<#>', 'knn_vector_ip_ops', "compression_level = '2x'" ],
	t_off => [ 'v', '<=>', 'knn_vector_cosine_ops', 'mode = on_disk, store_vectors = off' ],
	t_l1_off => [ 'v', '<+>', 'knn_vector_l1_ops', 'store_vectors = off' ],
	t_pq => [ 'h', '<#>', 'knn_vector_ip_ops', 'encoder = pq, pq_m = 16' ],
	t_pq_lists => [ 'h', '<=>', 'knn_vector_cosine_ops',
		'encoder = pq, pq_m = 8, code_size = 6, nlist = 8, nprobes = 8', 'knn_ivf' ]);

# Rows with ids from first on.
sub insert_rows
{
	my ($first, $n) = @_;
	return qq{INSERT INTO t SELECT i, v, v, b, b FROM generate_series($first, @{[ $first + $n - 1 ]}) i,
		LATERAL (SELECT array_agg(sin(i * 1.3 + j * j) + i % 7)::real[] AS v,
			array_agg(round(sin(i * 1.7 + j * j) * 127))::real[] AS b FROM generate_series(1, $dim) j) s};
}

# The nearest rows of some queries, by each index, through its pages: through the cache a
# standby may find rows that the graph does not lead to.
sub answers
{
	my ($node) = @_;
	my %answers;
	foreach my $index (sort keys %indexes)
	{
		my ($column, $op) = @{ $indexes{$index} };
		$answers{$index} = $node->safe_psql(
			'postgres', qq{
			SET enable_seqscan = off; SET enable_sort = off; SET jit = off; SET knn.use_cache = off;
			SELECT q.id, array_agg(n.id) FROM asked q,
				LATERAL (SELECT id FROM t ORDER BY $column $op q.$column LIMIT 15) n GROUP BY q.id ORDER BY q.id});
	}
	return \%answers;
}

# Through the cache the rows found are as near, on the whole, as through pages.
sub as_near
{
	my ($node, $name) = @_;
	my @farther;
	foreach my $index (sort keys %indexes)
	{
		my ($column, $op) = @{ $indexes{$index} };
		my ($cache, $pages) = map {
			$node->safe_psql(
				'postgres', qq{
				SET enable_seqscan = off; SET enable_sort = off; SET jit = off; SET knn.use_cache = $_;
				SELECT sum(n.d) FROM asked q,
					LATERAL (SELECT $column $op q.$column AS d FROM t ORDER BY $column $op q.$column LIMIT 15) n})
		} ('on', 'off');
		push @farther, "$index: $cache instead of $pages" if $cache > $pages + 0.01 * abs($pages);
	}
	is(join(', ', @farther), '', "$name: rows found through the cache are as near");
	return;
}

sub all_sound
{
	my ($node, $name) = @_;
	foreach my $index (sort keys %indexes)
	{
		my ($rc, $out, $err) = $node->psql('postgres', "SELECT knn_index_check('$index', true)");
		is($rc, 0, "$name: $index is sound") or diag $err;
	}
	return;
}

my $bits = 8 * $dim;
$primary->safe_psql(
	'postgres', qq{
	CREATE EXTENSION knn;
	CREATE TABLE t (id int, v knn_vector($dim), h knn_vector($dim, 'half'), b knn_vector($dim, 'byte'), s knn_vector($bits, 'binary'));
	@{[ insert_rows(1, 600) ]};
	CREATE TABLE asked AS SELECT * FROM t WHERE id % 60 = 7});
foreach my $index (sort keys %indexes)
{
	my ($column, $op, $opclass, $options, $method) = @{ $indexes{$index} };
	my $with = $options ? "WITH ($options)" : '';
	$method //= 'knn_hnsw';
	$primary->safe_psql('postgres', "CREATE INDEX $index ON t USING $method ($column $opclass) $with");
}

is($primary->safe_psql('postgres', "SELECT string_agg(encoder, ' ') FROM unnest('{t_pq,t_pq_lists}'::text[]) i, knn_index_info(i::regclass)"),
	'pq pq', 'indexes with codebooks');

# A build, inserts, equal rows, updates and VACUUM reach the standby.
my @steps = (
	[ 'builds', 'SELECT' ],
	[ 'inserts', insert_rows(1001, 300) ],
	[ 'equal rows', 'INSERT INTO t SELECT 5000 + i, v, h, b, s FROM t, generate_series(1, 40) i WHERE id = 127' ],
	[ 'updates', 'UPDATE t SET v = v + v, h = h + h WHERE id % 9 = 0; UPDATE t SET id = id' ],
	[ 'deletes', 'DELETE FROM t WHERE id % 4 = 0' ],
	[ 'VACUUM', 'VACUUM t' ],
	[ 'inserts among tombstones', 'CHECKPOINT; ' . insert_rows(2001, 200) ]);
foreach my $step (@steps)
{
	my ($name, $sql) = @$step;
	$primary->psql('postgres', $_) foreach split /; /, $sql;
	$primary->wait_for_catchup($standby);
	is_deeply(answers($standby), answers($primary), "the standby answers as the primary after $name");
	as_near($primary, "primary after $name");
	as_near($standby, "standby after $name");
}
all_sound($primary, 'primary');
all_sound($standby, 'standby');

# The server is killed while rows come, go and are vacuumed.
for my $round (1 .. 2)
{
	my $first = 10000 * $round;
	my @sessions;
	foreach my $n (0 .. 2)
	{
		my $script = $n == 2
		  ? join(";\n", map { ("DELETE FROM t WHERE id % 50 = $_", 'VACUUM t') } 1 .. 40)
		  : join(";\n", map { insert_rows($first + 4000 * $n + 20 * $_, 20) } 1 .. 150);
		my $file = PostgreSQL::Test::Utils::tempdir_short() . "/$n.sql";
		append_to_file($file, $script);
		push @sessions,
		  IPC::Run::start(
			[ 'psql', '-X', '-q', '-d', $primary->connstr('postgres'), '-f', $file ],
			'>', \my $out, '2>', \my $err);
	}
	select(undef, undef, undef, 1.5 * $round);
	$primary->kill9;
	$_->finish foreach @sessions;
	# it starts when the others have seen that the postmaster is gone
	for (1 .. 50)
	{
		last if $primary->start(fail_ok => 1);
		select(undef, undef, undef, 0.2);
		$primary->stop('fast', fail_ok => 1);
	}
	my $rows = $primary->safe_psql('postgres', "SELECT count(*) FROM t WHERE id >= $first");
	cmp_ok($rows, '>', 0, "crash $round: some rows had been inserted ($rows)");
	all_sound($primary, "crash $round");
	$primary->wait_for_catchup($standby);
	is_deeply(answers($standby), answers($primary), "crash $round: the standby answers as the primary");
}
$primary->safe_psql('postgres', insert_rows(50000, 50) . '; VACUUM t');
all_sound($primary, 'after recovery');

# The standby takes over.
$primary->wait_for_catchup($standby);
$primary->stop;
$standby->promote;
$standby->safe_psql('postgres', insert_rows(60000, 50) . '; DELETE FROM t WHERE id % 3 = 1; VACUUM t');
all_sound($standby, 'promoted');
$standby->stop;
my $log = slurp_file($standby->logfile) . slurp_file($primary->logfile);
unlike($log, qr/inconsistent page|invalid page|PANIC|TRAP:/, 'no complaint in the logs');

done_testing();
