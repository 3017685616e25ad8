# Logical replication: rows reach a subscriber's table, and its index, by inserts,
# updates and deletes that find their rows by the primary key.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dim = 10;

my $publisher = PostgreSQL::Test::Cluster->new('publisher');
$publisher->init(allows_streaming => 'logical');
$publisher->append_conf('postgresql.conf', new_settings());
$publisher->start;
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->append_conf('postgresql.conf', new_settings());
$subscriber->start;

foreach my $node ($publisher, $subscriber)
{
	$node->safe_psql(
		'postgres', qq{
		CREATE EXTENSION knn;
		CREATE TABLE t (id int PRIMARY KEY, n int DEFAULT 0, v knn_vector($dim));
		CREATE INDEX t_idx ON t USING knn_hnsw (v);
		-- rows found by all their columns, vector included
		CREATE TABLE f (id int, v knn_vector($dim))});
	queries($node, 20, $dim, 1);
}
$publisher->safe_psql('postgres', 'ALTER TABLE f REPLICA IDENTITY FULL');
$subscriber->safe_psql('postgres', 'ALTER TABLE f REPLICA IDENTITY FULL; CREATE INDEX f_idx ON f USING knn_hnsw (v)');

my @vectors = clustered_vectors(2000, $dim, 2);
load_vectors($publisher, 't', 1, @vectors[ 0 .. 799 ]);
$publisher->safe_psql('postgres', 'INSERT INTO f SELECT id, v FROM t WHERE id <= 300');

# rows that are there before, and then each kind of change; one time as texts and
# one time in binary form
foreach my $binary ('false', 'true')
{
	my $name = "binary = $binary";
	$publisher->safe_psql('postgres', 'CREATE PUBLICATION pub FOR TABLE t, f');
	$subscriber->safe_psql('postgres',
		"TRUNCATE t, f; CREATE SUBSCRIPTION sub CONNECTION '"
		  . $publisher->connstr
		  . " dbname=postgres' PUBLICATION pub WITH (binary = $binary)");
	$subscriber->wait_for_subscription_sync($publisher, 'sub');

	my $same = sub {
		my ($what) = @_;
		$publisher->wait_for_catchup('sub');
		my $rows = 'SELECT t FROM t ORDER BY id';
		is($subscriber->safe_psql('postgres', $rows), $publisher->safe_psql('postgres', $rows), "$name, $what: rows");
		$rows = 'SELECT f FROM f ORDER BY id, v';
		is($subscriber->safe_psql('postgres', $rows), $publisher->safe_psql('postgres', $rows),
			"$name, $what: rows without a key");
		check_whole_index($subscriber, 't', 't_idx', "$name, $what");
		my $recall = recall(neighbours($subscriber, 't', '<->'), neighbours($publisher, 't', '<->', exact => 1));
		cmp_ok($recall, '>=', 0.97, sprintf('%s, %s: recall %.4f', $name, $what, $recall));
	};

	$same->('first copy');
	load_vectors($publisher, 't', 1001, @vectors[ 800 .. 1399 ]);
	$publisher->safe_psql('postgres', 'INSERT INTO f SELECT id, v FROM t WHERE id BETWEEN 1001 AND 1100');
	$same->('inserts');
	$publisher->safe_psql('postgres', 'UPDATE t SET n = n + 1 WHERE id % 2 = 0; UPDATE t SET v = v + v WHERE id % 7 = 0; UPDATE t SET id = id + 10000 WHERE id % 11 = 0');
	$publisher->safe_psql('postgres', 'UPDATE f SET v = v + v WHERE id % 7 = 0');
	$same->('updates');
	$publisher->safe_psql('postgres', 'DELETE FROM t WHERE id % 3 = 0; DELETE FROM f WHERE id % 3 = 0');
	$same->('deletes');
	$subscriber->safe_psql('postgres', 'VACUUM t');
	$publisher->safe_psql('postgres', 'INSERT INTO t (id, v) VALUES (77777, NULL); INSERT INTO t (id, v) SELECT 80000 + i, v FROM t, generate_series(1, 50) i WHERE id = 1');
	$publisher->safe_psql('postgres', 'BEGIN; INSERT INTO t (id, v) SELECT id + 50000, v FROM t WHERE v IS NOT NULL; ROLLBACK');
	$publisher->wait_for_catchup('sub');
	is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM t'), $publisher->safe_psql('postgres', 'SELECT count(*) FROM t'), "$name: NULL and equal rows arrive");
	$publisher->safe_psql('postgres', 'DELETE FROM t WHERE v IS NULL');
	$same->('the rest');
	check_entries($subscriber, 't', 't_idx', $name);
	$publisher->safe_psql('postgres', 'TRUNCATE t, f');
	$publisher->safe_psql('postgres', 'INSERT INTO f (id, v) SELECT id, v FROM queries');
	load_vectors($publisher, 't', 1, @vectors[ 0 .. 799 ]);
	$same->('TRUNCATE');
	$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION sub');
	$publisher->safe_psql('postgres', 'DROP PUBLICATION pub');
}

$publisher->stop;
$subscriber->stop;
is(join("\n", log_errors($subscriber, 0, qr/terminating|logical replication|shutdown/)), '', 'no error on the subscriber');
done_testing();
