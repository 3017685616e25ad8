# What the TAP tests of the access methods share: data, exact answers to compare
# with, and checks of a whole index.

package KnnTest;

use strict;
use warnings;

use Exporter 'import';
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

our @EXPORT = qw(
  new_settings start_node clustered_vectors load_vectors queries neighbours recall
  rows_lost check_whole_index check_structure wait_until_removable check_entries uses_index start_pgbench
  log_errors %operators
  cache_settings stat_of check_mirror check_empty_cache catch_loading
);

# Operator and operator class of each space of float vectors.
our %operators = (
	l2 => [ '<->', 'knn_vector_l2_ops' ],
	ip => [ '<#>', 'knn_vector_ip_ops' ],
	cosine => [ '<=>', 'knn_vector_cosine_ops' ],
	l1 => [ '<+>', 'knn_vector_l1_ops' ],
	linf => [ '<%>', 'knn_vector_linf_ops' ]);

# Settings of every server: no parallel plans and no autovacuum, so that nothing
# happens but what a test does.  With the native memory cache, unless the environment
# has KNN_TEST_PRELOAD=off; tests of the cache itself ask for it in any case.
sub new_settings
{
	my (%options) = @_;
	my $settings = q{
autovacuum = off
max_parallel_workers_per_gather = 0
max_wal_size = 1GB
shared_buffers = 128MB
};
	$settings .= cache_settings('64MB')
	  if !$options{cache_apart} && ($ENV{KNN_TEST_PRELOAD} // 'on') ne 'off';
	return $settings;
}

# A server with the extension, with these settings more; and with a native memory cache
# of this size (cache => '64MB'), whatever the environment has.  Tests crash it, but not
# the operating system, so that fsync does not matter.
sub start_node
{
	my ($settings, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new('main');
	$node->init;
	$node->append_conf('postgresql.conf',
		$options{cache} ? new_settings(cache_apart => 1) . cache_settings($options{cache}) : new_settings());
	$node->append_conf('postgresql.conf', "fsync = off\n" . ($settings // ''));
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION knn');
	return $node;
}

# Settings of a server with a native memory cache of some size.
sub cache_settings
{
	my ($size) = @_;
	return "shared_preload_libraries = 'knn'\nknn.cache_size = '$size'\n";
}

# A generator of its own: the same numbers on every platform and perl.  (Products
# stay below 2^53, so that plain doubles would do.)
sub _generator
{
	my ($state) = @_;
	$state = ($state * 7919 + 12345) % 2147483647;
	return sub {
		$state = ($state * 48271) % 2147483647;
		return $state / 2147483647;
	};
}

# n vectors around centres that lie far apart, as texts.  Components are rounded
# to three places.
sub clustered_vectors
{
	my ($n, $dim, $seed, $clusters) = @_;
	my $random = _generator($seed);
	# the centres are the same for every seed, so that queries are like the data
	my $centre_random = _generator(1);
	my @centres;
	$clusters //= 40;
	for (1 .. $clusters)
	{
		push @centres, [ map { 2 * $centre_random->() - 1 } 1 .. $dim ];
	}
	my @vectors;
	for (1 .. $n)
	{
		my $centre = $centres[ int($clusters * $random->()) ];
		push @vectors,
		  '['
		  . join(',',
			map { sprintf('%.3f', $_ + $random->() + $random->() - 1) } @$centre)
		  . ']';
	}
	return @vectors;
}

# COPY vectors into table (id, v), with ids from first on.
sub load_vectors
{
	my ($node, $table, $first, @vectors) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir_short() . '/rows';
	open my $out, '>', $file or die "could not open $file: $!";
	print $out $first++, "\t$_\n" foreach @vectors;
	close $out;
	$node->safe_psql('postgres', "\\copy $table (id, v) from '$file'");
	unlink $file;
	return;
}

# A table of query vectors.
sub queries
{
	my ($node, $n, $dim, $seed) = @_;
	$node->safe_psql('postgres',
		"CREATE TABLE queries (id int PRIMARY KEY, v knn_vector($dim))");
	load_vectors($node, 'queries', 1, clustered_vectors($n, $dim, $seed));
	$node->safe_psql('postgres', 'VACUUM ANALYZE queries');
	return;
}

# Is the index what answers a query of the table?
sub uses_index
{
	my ($node, $table, $op, %options) = @_;
	my $plan = $node->safe_psql(
		'postgres', qq{
		SET enable_seqscan = off; SET enable_sort = off; SET jit = off;
		EXPLAIN SELECT id FROM $table ORDER BY v $op (SELECT v FROM queries LIMIT 1) LIMIT 10});
	return $plan =~ /Index Scan using \S+ on $table.*Order By/s;
}

# The k nearest rows of each query: { query => [ [ id, distance ], ... ] }.  Exact
# ones are found by sorting, others by the index.
sub neighbours
{
	my ($node, $table, $op, %options) = @_;
	my $k = $options{k} // 10;
	my $settings = $options{settings} // '';
	my $plan =
	  $options{exact}
	  ? 'SET enable_indexscan = off;'
	  : 'SET enable_seqscan = off; SET enable_sort = off;';
	my $answer = $node->safe_psql(
		'postgres', qq{
		$plan $settings SET jit = off;
		SELECT q.id, n.id, n.d FROM queries q,
			LATERAL (SELECT id, v $op q.v AS d FROM $table ORDER BY v $op q.v LIMIT $k) n});
	my %found;
	foreach my $line (split /\n/, $answer)
	{
		my ($query, $id, $distance) = split /\|/, $line;
		push @{ $found{$query} }, [ $id, $distance ];
	}
	return \%found;
}

# Share of the exact neighbours' distances that were reached: a row as near as the
# k-th exact one is as good.
sub recall
{
	my ($found, $exact) = @_;
	my ($hits, $wanted) = (0, 0);
	foreach my $query (keys %$exact)
	{
		my @distances = sort { $a <=> $b } map { $_->[1] } @{ $exact->{$query} };
		my $last = $distances[-1];
		my %seen;
		$wanted += @distances;
		foreach my $row (@{ $found->{$query} // [] })
		{
			# a row that is returned twice counts once
			$hits++
			  if !$seen{ $row->[0] }++
			  && $row->[1] <= $last + 1e-6 * (abs($last) + 1e-3);
		}
	}
	return 1 if $wanted == 0;
	return $hits / $wanted;
}

# Rows that a query for their own vector does not return.  With a wide search, so
# that only rows that are lost are counted, not those that are hard to find.
sub rows_lost
{
	my ($node, $table, $op) = @_;
	$op //= '<->';
	return $node->safe_psql(
		'postgres', qq{
		SET enable_seqscan = on; SET knn.ef_search = 200; SET knn.nprobes = 100; SET jit = off;
		SET enable_sort = off; SET knn.scan_order = relaxed;
		SELECT count(*) FROM (SELECT v FROM $table OFFSET 0) q WHERE NOT EXISTS
			(SELECT FROM (SELECT v FROM $table ORDER BY v $op q.v LIMIT 3) n WHERE n.v = q.v)});
}

# The structure of an index, and that it holds every row of its table, with the
# extension's own checker.
sub check_structure
{
	my ($node, $index, $name) = @_;
	my ($rc, $out, $err) =
	  $node->psql('postgres', "SELECT knn_index_check('$index', heapallindexed => true)");
	is($rc, 0, "$name: structure of $index") or diag $err;
	return;
}

# Wait until VACUUM may remove what has been deleted.  A standby that feeds back holds it
# up, even an idle one: it tells what it needs every wal_receiver_status_interval.
sub wait_until_removable
{
	my ($node) = @_;
	my $now = $node->safe_psql('postgres', 'SELECT pg_current_xact_id()');
	$node->poll_query_until('postgres',
		"SELECT count(*) = 0 FROM pg_stat_replication WHERE backend_xmin::text::bigint < $now")
	  or die 'a standby needs what has been deleted';
	return;
}

# The index has an entry for each row, and no other: VACUUM counts them, if there is
# something to remove.
sub check_entries
{
	my ($node, $table, $index, $name) = @_;
	$node->safe_psql(
		'postgres', qq{
		INSERT INTO $table (id, v) SELECT -1, v FROM queries LIMIT 1;
		DELETE FROM $table WHERE id = -1});
	wait_until_removable($node);
	$node->safe_psql('postgres', "VACUUM (INDEX_CLEANUP on) $table");
	my $rows = $node->safe_psql('postgres', "SELECT count(*) FROM $table WHERE v IS NOT NULL");
	is($node->safe_psql('postgres', "SELECT reltuples FROM pg_class WHERE relname = '$index'"),
		$rows, "$name: entries of the index");
	return;
}

# A scan that is never told to stop returns every row of the table, once, and each
# row is found by its own vector; the structure is sound.
sub check_whole_index
{
	my ($node, $table, $index, $name) = @_;
	my $counts = $node->safe_psql(
		'postgres', qq{
		SET enable_seqscan = off; SET enable_sort = off; SET jit = off;
		SET knn.scan_order = relaxed; SET knn.max_scan_tuples = -1;
		SELECT count(*), count(DISTINCT id) FROM
			(SELECT id FROM $table ORDER BY v <-> (SELECT v FROM queries LIMIT 1)) s});
	my $rows = $node->safe_psql('postgres', "SELECT count(*) FROM $table");
	my ($returned, $different) = split /\|/, $counts;
	# that the index has all rows is known from its entries; here and there
	# pruning puts one out of reach
	my $few = int($rows / 500);
	is($returned, $different, "$name: a full scan returns no row twice");
	ok($returned <= $rows && $returned >= $rows - $few,
		"$name: a full scan returns $returned of $rows rows");
	cmp_ok(rows_lost($node, $table), '<=', $few, "$name: each row is found by its vector");
	check_structure($node, $index, $name);
	return;
}

# pgbench in the background: scripts are { text => weight }.  Returns the process,
# to be finished or killed.
sub start_pgbench
{
	my ($node, $scripts, @options) = @_;
	my $dir = PostgreSQL::Test::Utils::tempdir();
	my @files;
	my $n = 0;
	foreach my $text (sort keys %$scripts)
	{
		my $file = "$dir/script" . $n++;
		open my $out, '>', $file or die "could not open $file: $!";
		print $out $text;
		close $out;
		push @files, '-f', "$file\@$scripts->{$text}";
	}
	# what it says of errors goes to the test's log
	return IPC::Run::start(
		[
			'pgbench', '-n', '--random-seed=1', '-h', $node->host, '-p', $node->port,
			@options, @files, 'postgres'
		],
		'<', \'', '>', "$dir/out", '2>', "$dir/err");
}

# ---- the native memory cache ----

# A column of knn_stat, or an expression of its columns.
sub stat_of
{
	my ($node, $what) = @_;
	return $node->safe_psql('postgres', "SELECT $what FROM knn_stat");
}

# Searches of a table's index go through the cache, and find what they find in pages:
# it is the same graph, so that the lists are equal, row by row.
sub check_mirror
{
	my ($node, $table, $op, $name, %options) = @_;
	$options{k} //= 20;
	my $settings = $options{settings} // '';
	# the first search may have to load it
	neighbours($node, $table, $op, %options, k => 1);
	my $misses = stat_of($node, 'miss_count');
	my $through = neighbours($node, $table, $op, %options);
	is(stat_of($node, 'miss_count'), $misses, "$name: all searches of $table go through the cache");
	my $pages =
	  neighbours($node, $table, $op, %options, settings => "$settings SET knn.use_cache = off;");
	is_deeply($through, $pages, "$name: equal answers of cache and pages of $table");
	return;
}

# Nothing is left in the cache after all is removed from it.  Statements that have just
# ended have let go of what they used.
sub check_empty_cache
{
	my ($node, $name) = @_;
	$node->safe_psql('postgres', q{SELECT knn_clear_cache('*.*')});
	is(stat_of($node, q{cache_used || ' bytes, ' || indices_in_cache || ' indexes'}),
		'0 bytes, 0 indexes', "$name: an empty cache is empty");
	return;
}

# Has a session load an index, and stops its process in the middle of that.  Returns
# the process id, to be continued or killed, or undef when it could not be caught.
# The index should take some milliseconds to load.
sub catch_loading
{
	my ($node, $session, $index) = @_;
	my $observer = $node->background_psql('postgres');
	my $pid = $session->query_safe('SELECT pg_backend_pid()');
	my $caught;
	foreach my $attempt (1 .. 200)
	{
		$session->{stdin} .= "SELECT knn_warmup('$index');\n";
		$session->{run}->pump_nb;
		usleep(1000 + 1000 * ($attempt % 20));
		kill 'STOP', $pid;
		# takes no lock, which the stopped process may hold
		my $seen = $observer->query_safe(
			"SELECT phase = 'loading' AND done > 0 AND done < total FROM knn_progress_reports() WHERE pid = $pid");
		if ($seen eq 't')
		{
			$caught = $pid;
			last;
		}
		kill 'CONT', $pid;
		$session->query('SELECT 1');
		$observer->query_safe("SELECT knn_clear_cache('$index')");
	}
	$observer->quit;
	return $caught;
}

# Lines of a server's log, from an offset on, that no test should cause.
sub log_errors
{
	my ($node, $offset, $expected) = @_;
	my $log = slurp_file($node->logfile, $offset // 0);
	$expected //= qr/(?!)/;
	return grep { /(ERROR|PANIC|FATAL|TRAP|WARNING):/ && !/$expected/ } split /\n/, $log;
}

1;
