# Replay reproduces every page: a standby compares its pages with images that the
# primary logs along with each record, and stops at the first difference.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 24;

# Run with and without full page images in the ordinary records: without them, what
# a record refers to must have been logged before.
foreach my $full_page_writes ('on', 'off')
{
	my $name = "full_page_writes $full_page_writes";
	my $primary = PostgreSQL::Test::Cluster->new("primary_$full_page_writes");
	$primary->init(allows_streaming => 1);
	$primary->append_conf('postgresql.conf', new_settings());
	# images of all pages come with records of the generic resource manager; the
	# second run is to see what a server does without them
	$primary->append_conf('postgresql.conf',
		"full_page_writes = $full_page_writes\nwal_consistency_checking = '"
		  . ($full_page_writes eq 'on' ? 'all' : '') . "'");
	$primary->start;
	$primary->backup('backup');
	my $standby = PostgreSQL::Test::Cluster->new("standby_$full_page_writes");
	$standby->init_from_backup($primary, 'backup', has_streaming => 1);
	$standby->start;

	my $replayed = sub {
		my ($what) = @_;
		$primary->wait_for_catchup($standby);
		is($standby->safe_psql('postgres', 'SELECT 1'), 1, "$name: standby is alive after $what");
	};

	$primary->safe_psql('postgres', 'CREATE EXTENSION knn');
	queries($primary, 10, $dim, 1);
	$primary->safe_psql('postgres', "CREATE TABLE t (id int, v knn_vector($dim))");
	my @vectors = clustered_vectors(1500, $dim, 2);
	load_vectors($primary, 't', 1, @vectors[ 0 .. 799 ]);
	$primary->safe_psql('postgres', 'CREATE INDEX t_idx ON t USING knn_hnsw (v) WITH (m = 6)');
	$replayed->('a build');

	load_vectors($primary, 't', 801, @vectors[ 800 .. 1199 ]);
	$replayed->('inserts');

	$primary->safe_psql('postgres',
		'INSERT INTO t SELECT 5000 + i, v FROM t, generate_series(1, 300) i WHERE id = 3');
	$primary->safe_psql('postgres',
		'INSERT INTO t SELECT 6000 + i, q.v FROM queries q, generate_series(1, 300) i WHERE q.id = 3');
	$replayed->('equal rows');

	$primary->safe_psql('postgres', 'UPDATE t SET id = id; UPDATE t SET v = v + v WHERE id % 7 = 0');
	$replayed->('updates');

	$primary->safe_psql('postgres', 'DELETE FROM t WHERE id % 3 = 0 OR id BETWEEN 6000 AND 6300; VACUUM t');
	$replayed->('VACUUM');

	load_vectors($primary, 't', 10001, @vectors);
	$primary->safe_psql('postgres', 'DELETE FROM t; VACUUM t');
	load_vectors($primary, 't', 1, @vectors[ 0 .. 299 ]);
	$replayed->('the life of tombstones');

	# right after a checkpoint every page's first record carries an image
	$primary->safe_psql('postgres', 'CHECKPOINT');
	load_vectors($primary, 't', 301, @vectors[ 300 .. 399 ]);
	$primary->safe_psql('postgres', 'DELETE FROM t WHERE id % 2 = 0; VACUUM t');
	$replayed->('a checkpoint');

	# an index that starts empty, and one of items that cross pages
	$primary->safe_psql(
		'postgres', q{
		CREATE TABLE wide (id int, v knn_vector(9000));
		CREATE INDEX wide_idx ON wide USING knn_hnsw (v);
		INSERT INTO wide SELECT i, array_agg((i * 31 + j * 7) % 101)::knn_vector
			FROM generate_series(1, 20) i, generate_series(1, 9000) j GROUP BY i;
		REINDEX INDEX wide_idx;
		INSERT INTO wide SELECT i, array_agg((i * 31 + j * 7) % 101)::knn_vector
			FROM generate_series(21, 40) i, generate_series(1, 9000) j GROUP BY i;
		DELETE FROM wide WHERE id % 2 = 0;
		VACUUM wide});
	$replayed->('vectors that cross pages');

	# a build that goes on with inserts, because memory was short
	$primary->safe_psql('postgres', "CREATE TABLE short (id int, v knn_vector(300))");
	load_vectors($primary, 'short', 1, clustered_vectors(2500, 300, 3));
	my ($rc, $out, $err) = $primary->psql('postgres',
		"SET maintenance_work_mem = '1MB'; SET knn.build_external_min = -1; CREATE INDEX short_idx ON short USING knn_hnsw (v) WITH (ef_construction = 20)");
	is($rc, 0, "$name: build with little memory");
	like($err, qr/does not fit into maintenance_work_mem/, "$name: which is said");
	$replayed->('a build with little memory');

	$primary->safe_psql(
		'postgres', q{
		CREATE UNLOGGED TABLE u (id int, v knn_vector(3));
		CREATE INDEX u_idx ON u USING knn_hnsw (v);
		INSERT INTO u SELECT i, ARRAY[i, 1, 2]::knn_vector FROM generate_series(1, 100) i;
		ALTER TABLE u SET LOGGED;
		REINDEX TABLE t;
		TRUNCATE wide});
	$replayed->('what rewrites an index');

	is_deeply(
		neighbours($standby, 't', '<->'),
		neighbours($primary, 't', '<->'),
		"$name: the standby's answers are the primary's");
	is( $standby->safe_psql('postgres',
			'SET enable_seqscan = off; SELECT id FROM u ORDER BY v <-> ARRAY[42, 1, 2]::knn_vector LIMIT 1'),
		42,
		"$name: a table made logged has its index");

	$standby->stop;
	$primary->stop;
	my $log = slurp_file($standby->logfile) . slurp_file($primary->logfile);
	unlike($log, qr/inconsistent page|invalid page|PANIC|FATAL:  (?!the database system|terminating)/,
		"$name: no complaint in the logs");
}

done_testing();
