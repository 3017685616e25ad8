# Builds of knn_ivf by another program: its job, what it may do wrong, and the real
# program; and builds of both methods under load.  What a program does wrong whatever its
# job is in 080.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use FakeBuilder;
use KnnTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

chomp(my $bindir = `pg_config --bindir`);
my $real = "$bindir/knn-builder";
my $dim = 16;
my $rows = 400;

my ($node, $dir) = start_with_table($rows, $dim);

sub build { return build_index('knn_ivf (v) WITH (nlist = 20)', @_) }

sub drop { return $node->safe_psql('postgres', 'DROP INDEX IF EXISTS t_idx') }

sub whole
{
	my ($name, $index) = @_;
	is($node->safe_psql('postgres', "SELECT knn_index_check('" . ($index // 't_idx') . "', true, true)"), '', "$name: the index is whole");
	return;
}

# ---------------------------------------------------------------------------
# a program that does what it should

my ($rc, $messages) = build(program("job:$dir/job"), "SET maintenance_work_mem = '5MB'; SET knn.algo_param_index_thread_qty = 3");
is($rc, 0, 'a build by a program') or diag $messages;
is($messages, '', 'without complaints');
my $job = slurp_file("$dir/job");
like($job, qr/^\{"job":"cluster","version":1,"vectors":"\//, 'the job');
like($job, qr/"dimension":$dim,"count":$rows,"data_type":"float","space":"l2","seed":"\d+","threads":3,"memory_limit":5242880,"nlist":20\}/, 'its members');
whole('a good program');
is($node->safe_psql('postgres', "SELECT lists, rows, longest_list FROM knn_index_info('t_idx')"), "20|$rows|20", 'its lists are those of the index');
nothing_left('a good program');
like(slurp_file($node->logfile), qr/knn-builder built a division of $rows nodes in 0\.500 s: 3 threads/, 'its result is logged');
drop();

$node->append_conf('postgresql.conf', "knn.builder_path = '" . program('good') . "'");
$node->reload;
foreach my $case (
	[ 'half', 'l2', 'knn_vector(16, \'half\')', '' ],
	[ 'byte', 'cosine', 'knn_vector(16, \'byte\')', '' ],
	[ 'binary', 'hamming', 'knn_vector(128, \'binary\')', '' ],
	[ 'float', 'cosine', 'knn_vector(16)', '' ],
	[ 'float', 'l1', 'knn_vector(16)', '' ],
	[ 'float', 'l2', 'knn_vector(16)', ', compression_level = "32x"' ],
	[ 'float', 'ip', 'knn_vector(16)', ', store_vectors = off' ],
	[ 'float', 'l2', 'knn_vector(16)', ', nlist = 5000' ])
{
	my ($data_type, $space, $type, $with) = @$case;
	my $name = "$data_type $space$with";
	$with = 'nlist = 20' . $with unless $with =~ s/^, (?=nlist)//;
	build_kind($data_type, $type, "knn_ivf (v knn_vector_${space}_ops) WITH ($with)", $name);
}
# the vectors beyond memory are in a file
is((build(program('good'), "SET maintenance_work_mem = '1MB'"))[1], '', 'with little memory');
whole('little memory');
drop();

# too few to be worth it, and not to be asked
($rc, $messages) = build('/nowhere', 'SET knn.build_external_min = \'1MB\'');
is($messages, '', 'few vectors: the program is not asked');
drop();
($rc, $messages) = build('/nowhere', 'SET knn.build_external_min = -1');
is($messages, '', 'nor where it is switched off');
drop();

# ---------------------------------------------------------------------------
# results that are none

foreach my $case (
	[ 'wrong:crc', qr/its checksum is wrong/ ],
	[ 'wrong:version:2', qr/it has version 2, expected 1/ ],
	[ 'wrong:nlist:19', qr/it has 19 lists, expected 20/ ],
	[ 'wrong:count:399', qr/it has 399 vectors, expected 400/ ],
	[ 'wrong:range', qr/vector 7 is in list 20 of 20/ ],
	[ 'wrong:infinite', qr/centroid 1 is not finite/ ],
	[ 'wrong:truncated', qr/it is \d+ bytes long, expected \d+/ ],
	[ 'wrong:empty', qr/it is 0 bytes long/ ],
	[ 'wrong:longer', qr/has \d+ bytes/ ],
	[ 'link', qr/could not be opened/ ],
	[ 'fifo', qr/"result.knnlists" is no file/ ],
	[ 'wrong_count', qr/401 vectors were divided, expected 400/ ])
{
	my ($mode, $expected) = @$case;
	($rc, $messages) = build(program($mode));
	is($rc, 0, "$mode: the index is built");
	like($messages, qr/^psql:<stdin>:\d+: WARNING:  index "t_idx" is built by the server, since knn-builder did not build it/, "$mode: with a warning");
	like($messages, qr/The result of program "[^"]*" is no division of these vectors: /, "$mode: of its result");
	like($messages, $expected, "$mode: what is wrong");
	whole($mode);
	drop();
}
# and no result at all
foreach my $case ([ 'error', qr/reports: not enough memory: It needs 7 bytes\./ ], [ 'signal:SEGV', qr/was killed by signal 11/ ],
	[ 'exit_zero', qr/ended with exit status 0 and without a result/ ], [ 'nonsense', qr/printed what is no message/ ])
{
	my ($mode, $expected) = @$case;
	($rc, $messages) = build(program($mode));
	is($rc, 0, "$mode: the index is built");
	like($messages, $expected, "$mode: what is wrong");
	drop();
}
($rc, $messages) = build(program('hang'), 'SET knn.builder_timeout = 200');
is($rc, 0, 'hang: the index is built');
like($messages, qr/printed nothing for 200 ms/, 'hang: it is not waited for');
drop();
($rc, $messages) = build(program('hang'), 'SET statement_timeout = 500');
isnt($rc, 0, 'a statement that is cancelled');
like($messages, qr/canceling statement due to statement timeout/, 'fails for this reason');
nothing_left('faults');

# ---------------------------------------------------------------------------
# progress

# The subphases that a statement goes through, until one that matches or its end.
sub watch
{
	my ($sql, $until) = @_;
	my %seen;
	my $build = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $sql ], '>', \my $out, '2>', \my $err);
	for (1 .. 400)
	{
		my $now = $node->safe_psql('postgres', 'SELECT phase, tuples_done, tuples_total FROM pg_stat_progress_create_index');
		last if $now eq '' && %seen;
		$seen{$1} = [ $2, $3 ] if $now =~ /^building index: (.*)\|(\d+)\|(\d+)$/;
		last if $until && grep { /$until/ } keys %seen;
		sleep 0.02;
	}
	$node->safe_psql('postgres', 'SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index');
	$build->finish;
	return %seen;
}

my %seen = watch("SET knn.builder_path = '" . program('hang') . "'; CREATE INDEX t_idx ON t USING knn_ivf (v) WITH (nlist = 20)", 'training');
is_deeply($seen{training}, [ 1, $rows ], 'the program\'s progress') or diag explain \%seen;
nothing_left('a build that was watched');
# in the server: as many lists as it can have, so that it takes a while
$node->safe_psql('postgres', "CREATE TABLE wide AS SELECT i AS id, (SELECT array_agg((i * (j + 7) * 31) % 1009) FROM generate_series(1, 64) j)::real[]::knn_vector AS v FROM generate_series(1, 15000) i");
%seen = watch("SET maintenance_work_mem = '200MB'; SET knn.build_external_min = -1; CREATE INDEX wide_idx ON wide USING knn_ivf ((v::knn_vector(64))) WITH (nlist = 15000)");
ok(exists $seen{training}, 'training is shown') or diag explain \%seen;
cmp_ok(($seen{training} // [ 0, 0 ])->[1], '>=', 4 * 15000, 'with what there is to do');
cmp_ok(($seen{training} // [ 1, 0 ])->[0], '<=', ($seen{training} // [ 1, 0 ])->[1], 'and what of it is done');
$node->safe_psql('postgres', 'DROP TABLE wide');

# ---------------------------------------------------------------------------
# the real program

SKIP:
{
	skip 'knn-builder is not installed', 1 unless -x $real;
	my $many = 20000;
	$node->append_conf('postgresql.conf', "knn.builder_path = '$real'\nmaintenance_work_mem = 128MB");
	$node->reload;
	$node->safe_psql('postgres', "CREATE TABLE big (id int, v knn_vector($dim))");
	load_vectors($node, 'big', 1, clustered_vectors($many, $dim, 2));
	queries($node, 100, $dim, 3);

	foreach my $space ('l2', 'cosine', 'l1')
	{
		my ($op, $opclass) = @{ $operators{$space} };
		my $exact = neighbours($node, 'big', $op, exact => 1);
		my %recall;
		foreach my $who ('server', 'program')
		{
			my ($failed, undef, $said) = $node->psql('postgres',
				($who eq 'server' ? 'SET knn.build_external_min = -1' : 'SET knn.algo_param_index_thread_qty = 2')
				. "; CREATE INDEX big_idx ON big USING knn_ivf (v $opclass) WITH (nlist = 150, nprobes = 4)");
			is($said, '', "$space: built by the $who");
			$recall{$who} = recall(neighbours($node, 'big', $op), $exact);
			whole("$space, $who", 'big_idx');
			$node->safe_psql('postgres', 'DROP INDEX big_idx');
		}
		note "$space: server $recall{server}, program $recall{program}";
		cmp_ok($recall{program}, '>=', $recall{server} - 0.04, "$space: the program's index finds as much");
		cmp_ok($recall{program}, '>=', 0.6, "$space: and much");
	}

	# a limit that the lists do not fit into is found before the program is asked
	($rc, undef, $messages) = $node->psql('postgres',
		"SET maintenance_work_mem = '1MB'; CREATE INDEX big_idx ON big USING knn_ivf (v) WITH (nlist = 5000)");
	like($messages, qr/5000 lists of $dim dimensions do not fit into maintenance_work_mem/, 'lists that are too many');
	nothing_left('the real program');

	# builds while rows come and go, by either method
	foreach my $method ('knn_ivf', 'knn_hnsw')
	{
		my $with = $method eq 'knn_ivf' ? 'WITH (nlist = 100)' : 'WITH (m = 8, ef_construction = 200)';
		my $load = IPC::Run::start(
			[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr('postgres'), '-c', q{
				DO $$
				DECLARE n int := 0;
				BEGIN
					WHILE NOT EXISTS (SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
							WHERE c.relname = 'big_idx' AND i.indisvalid) AND n < 100000 LOOP
						INSERT INTO big SELECT 1000000 + n, v FROM big WHERE id = 1 + n % 10000;
						UPDATE big SET v = (SELECT v FROM big b WHERE b.id = 1 + (n * 7) % 10000 LIMIT 1) WHERE id = 10001 + n % 5000;
						DELETE FROM big WHERE id = 15001 + n % 3000;
						n := n + 1;
						COMMIT;
					END LOOP;
				END $$}
			], '>', \my $out, '2>', \my $err);
		sleep 0.3;
		($rc, undef, $messages) = $node->psql('postgres',
			"SET knn.algo_param_index_thread_qty = 2; CREATE INDEX CONCURRENTLY big_idx ON big USING $method (v) $with");
		is($rc, 0, "$method: built under load") or diag $messages;
		is($messages, '', "$method: by the program");
		$load->finish;
		is($err, '', "$method: the load was not disturbed");
		cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM big WHERE id >= 1000000'), '>', 0, "$method: rows came meanwhile");
		whole("$method, under load", 'big_idx');
		my $exact = neighbours($node, 'big', '<->', exact => 1);
		cmp_ok(recall(neighbours($node, 'big', '<->', settings => 'SET knn.nprobes = 30; SET knn.ef_search = 100;'), $exact), '>=', 0.9,
			"$method, under load: recall");
		$node->safe_psql('postgres', 'DROP INDEX big_idx; DELETE FROM big WHERE id >= 1000000; VACUUM big');
	}
	nothing_left('load');
}

$node->stop;
done_testing();
