# Remote builds from end to end: the server, knn-builder remote, an object store, and
# knn-builder serve.  Stores are a directory, and moto's S3 server where KNN_TEST_MOTO
# is a Python that has it (scripts/test installs one).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use IPC::Run;
use KnnTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

chomp(my $bindir = `pg_config --bindir`);
my $builder = "$bindir/knn-builder";
plan skip_all => 'knn-builder is not installed' unless -x $builder;
foreach my $command ('serve', 'remote')
{
	my $says = '';
	IPC::Run::run([ $builder, $command ], '<', \'', '>', \my $out, '2>', \$says);
	plan skip_all => "knn-builder was built without $command" if "$out$says" =~ /built without/;
}

my $dim = 32;
my $rows = 3000;
my $password = 'a long password';
my $dir = PostgreSQL::Test::Utils::tempdir();
my $store = "$dir/store";
mkdir $_ or die "could not make $_: $!" foreach $store, map { ("$dir/$_-state", "$dir/$_-work") } 'file', 's3';
delete @ENV{ grep { /^AWS_|_proxy$/i } keys %ENV };

sub write_file
{
	my ($name, $text) = @_;
	open my $out, '>', "$dir/$name" or die "could not open $name: $!";
	chmod 0600, "$dir/$name";
	print $out $text;
	close $out;
	return "$dir/$name";
}

# ---------------------------------------------------------------------------
# services

my %services;

# Starts a service, at the port it had before if there was one.
sub start_service
{
	my ($name, @options) = @_;
	my $service = $services{$name} //= { options => \@options, port => 0 };
	$service->{log} = '';
	$service->{run} = IPC::Run::start(
		[ $builder, 'serve', '--listen', "127.0.0.1:$service->{port}", '--state-dir', "$dir/$name-state",
			'--work-dir', "$dir/$name-work", '--auth-file', "$dir/users", '--threads', '2', @{ $service->{options} } ],
		'<', \'', '>', '/dev/null', '2>', \$service->{log});
	for (1 .. 200)
	{
		$service->{run}->pump_nb;
		last if $service->{log} =~ /event=listening address=127\.0\.0\.1:(\d+)/;
		sleep 0.05;
	}
	$service->{log} =~ /event=listening address=127\.0\.0\.1:(\d+)/ or die "the service does not start: $service->{log}";
	return $service->{port} = $1;
}

sub service_log
{
	my ($name) = @_;
	$services{$name}{run}->pump_nb;
	return $services{$name}{log};
}

# By SIGTERM, or at once.
sub stop_service
{
	my ($name, $signal) = @_;
	my $run = $services{$name}{run};
	$run->signal($signal // 'TERM');
	$run->finish;
	return;
}

write_file('users', "# who may\nbuilder:$password\n");
my $port = start_service('file', '--repository-dir', $store);

# ---------------------------------------------------------------------------
# the server

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->append_conf('postgresql.conf', new_settings(cache_apart => 1) . cache_settings('64MB'));
$node->append_conf('postgresql.conf', qq{
fsync = off
log_min_messages = debug1
knn.remote_index_build_enabled = on
knn.remote_index_build_repository = files
knn.remote_index_build_service_endpoint = 'http://127.0.0.1:$port'
knn.remote_index_build_service_username = builder
knn.remote_index_build_service_password = '$password'
knn.remote_index_build_poll_interval = '100ms'
});
$node->start;
$node->safe_psql('postgres', "CREATE EXTENSION knn; CREATE SERVER files FOREIGN DATA WRAPPER knn_repository OPTIONS (type 'file', directory '$store', base_path 'base')");
$node->safe_psql('postgres', "CREATE TABLE floats (id int, v knn_vector($dim))");
load_vectors($node, 'floats', 1, clustered_vectors($rows, $dim, 2));
# equal rows, and rows without a vector
$node->safe_psql('postgres', 'INSERT INTO floats SELECT id + 100000, v FROM floats WHERE id <= 50; INSERT INTO floats SELECT i + 200000, NULL FROM generate_series(1, 5) i');
queries($node, 50, $dim, 3);

# files of a directory, all the way down
sub files
{
	my ($directory) = @_;
	return map { -d $_ ? files($_) : $_ } glob "$directory/*";
}

my %left = (file => sub { return join ' ', files($store) });

sub nothing_left
{
	my ($name, $where) = @_;
	# what is cancelled ends soon after its statement's session
	for (1 .. 60) { last if $left{ $where // 'file' }->() eq ''; sleep 0.05 }
	is($left{ $where // 'file' }->(), '', "$name: no object is left");
	is(join(' ', glob($node->data_dir . '/base/pgsql_tmp/*')), '', "$name: no file is left");
	return;
}

# The statistics that are not zero and are no times.
sub stats
{
	my $found = $node->safe_psql('postgres', q{
		SELECT string_agg(s.key || ' ' || s.value, ', ' ORDER BY s.key COLLATE "C")
		FROM jsonb_each(knn_stats('remote_vector_index_build_stats') -> 'nodes') n,
			jsonb_each(n.value -> 'remote_vector_index_build_stats') g, jsonb_each_text(g.value) s
		WHERE s.value <> '0' AND s.key !~ '_time_|^status_request_success'});
	$node->safe_psql('postgres', 'SELECT knn_stats_reset()');
	return $found;
}
my $counted = 'build_request_success_count 1, index_build_success_count 1, read_success_count 1, write_success_count 1';

# Builds an index; returns the messages.
sub build
{
	my ($definition, %options) = @_;
	my $with = join ', ', 'remote_index_build_size_min = 0', $options{with} // ();
	my (undef, undef, $messages) = $node->psql('postgres', ($options{settings} // '') . "; CREATE INDEX built ON $definition WITH ($with)");
	return $messages;
}

sub drop { return $node->safe_psql('postgres', 'DROP INDEX IF EXISTS built') }

# Local and remote builds of one definition: both find enough, and equally much.
sub compare
{
	my ($name, $table, $op, $opclass, %options) = @_;
	my $queries = $options{queries} // 'queries';
	my $where = $options{where} // 'file';
	my $of = sub {
		my ($exact) = @_;
		$node->safe_psql('postgres', 'ALTER TABLE queries RENAME TO q_kept; ALTER TABLE ' . $queries . ' RENAME TO queries') if $queries ne 'queries';
		my $found = neighbours($node, $table, $op, exact => $exact, settings => 'SET knn.ef_search = 30;');
		$node->safe_psql('postgres', 'ALTER TABLE queries RENAME TO ' . $queries . '; ALTER TABLE q_kept RENAME TO queries') if $queries ne 'queries';
		return $found;
	};
	my $exact = $of->(1);
	my %recall;
	foreach my $who ('local', 'remote')
	{
		my $settings = $who eq 'local' ? 'SET knn.remote_index_build_enabled = off; SET knn.build_external_min = 0' : '';
		my $messages = build("$table USING knn_hnsw (v $opclass)", %options, settings => join '; ', $settings, $options{settings} // ());
		is($messages, '', "$name: built without complaints, $who");
		$recall{$who} = recall($of->(0), $exact);
		is(stats(), $who eq 'local' ? '' : $options{counted} // $counted, "$name: statistics, $who");
		is($node->safe_psql('postgres', "SELECT knn_index_check('built', heapallindexed => true, reachable => true)"), '', "$name: sound, $who");
		drop();
	}
	nothing_left($name, $where);
	note sprintf '%s: recall %.4f local, %.4f remote', $name, $recall{local}, $recall{remote};
	cmp_ok($recall{remote}, '>=', $options{floor} // 0.97, "$name: recall");
	cmp_ok($recall{remote}, '>=', $recall{local} - ($options{worse} // 0.015), "$name: as good as a local build");
	return;
}

# ---------------------------------------------------------------------------
# spaces, data types and levels

compare('l2', 'floats', '<->', 'knn_vector_l2_ops');
compare('cosine', 'floats', '<=>', 'knn_vector_cosine_ops');
compare('inner product', 'floats', '<#>', 'knn_vector_ip_ops');
compare('half', 'floats', '<->', 'knn_vector_l2_ops', with => "compression_level = '2x'");
# of 24 builds, by the chance of the rotation: 0.76 to 0.83 (deviation 0.018)
compare('32x', 'floats', '<->', 'knn_vector_l2_ops', with => "compression_level = '32x'", floor => 0.73, worse => 0.1);
compare('skipped vectors', 'floats', '<->', 'knn_vector_l2_ops', settings => 'SET knn.remote_index_build_skip_stored_vectors = on');
# all in one direction: most are nobody's nearest, and links to them are rare (24 builds: 0.968 to 0.98)
$node->safe_psql('postgres', qq{
	SELECT setseed(0.5);
	CREATE TABLE positive AS SELECT i AS id, (SELECT array_agg(random()) FROM generate_series(1, $dim) WHERE i > 0)::real[]::knn_vector($dim) AS v FROM generate_series(1, $rows) i;
	CREATE TABLE positive_queries AS SELECT * FROM positive WHERE id <= 50});
compare('inner product of positive vectors', 'positive', '<#>', 'knn_vector_ip_ops', queries => 'positive_queries', floor => 0.955, worse => 0.02);
$node->safe_psql('postgres', qq{
	CREATE TABLE bytes AS SELECT id, (SELECT array_agg(round(e * 40)) FROM unnest(v::real[]) e)::real[]::knn_vector($dim, 'byte') AS v FROM floats WHERE v IS NOT NULL;
	CREATE TABLE bytes_queries AS SELECT * FROM bytes WHERE id <= 50;
	CREATE TABLE bits AS SELECT id, (v::real[])::knn_vector(256, 'binary') AS v FROM bytes;
	CREATE TABLE bits_queries AS SELECT * FROM bits WHERE id <= 50});
# directions of very uneven lengths: no service has them, and their inner product is quite another order
$node->safe_psql('postgres', qq{
	CREATE TABLE uneven AS SELECT id, (SELECT array_agg(greatest(-128, least(127, round(e * CASE WHEN id % 10 = 0 THEN 60 ELSE 5 END)))) FROM unnest(v::real[]) e)::real[]::knn_vector($dim, 'byte') AS v FROM floats WHERE v IS NOT NULL;
	CREATE TABLE uneven_queries AS SELECT * FROM uneven WHERE id <= 50});
compare('byte, cosine', 'uneven', '<=>', 'knn_vector_cosine_ops', queries => 'uneven_queries', counted => '');
compare('byte', 'bytes', '<->', 'knn_vector_l2_ops', queries => 'bytes_queries');
compare('binary', 'bits', '<~>', 'knn_vector_hamming_ops', queries => 'bits_queries');

# rebuilds
build('floats USING knn_hnsw (v)');
stats();
my (undef, undef, $messages) = $node->psql('postgres', 'REINDEX INDEX built; REINDEX INDEX CONCURRENTLY built');
is($messages, '', 'REINDEX');
is(stats(), $counted =~ s/ 1/ 2/gr, 'REINDEX: statistics');
check_structure($node, 'built', 'REINDEX');
nothing_left('REINDEX');
drop();

# ---------------------------------------------------------------------------
# who may not, and nobody there

sub falls_back
{
	my ($name, $settings, $expected, $statistics) = @_;
	my $said = build('floats USING knn_hnsw (v)', settings => $settings);
	like($said, qr/WARNING:  index "built" is built locally, since it could not be built remotely\nDETAIL:  .*$expected/s, "$name: a warning");
	is(stats(), $statistics, "$name: statistics");
	check_structure($node, 'built', $name);
	nothing_left($name);
	drop();
	return;
}

# it is greeted first: nothing was uploaded
my $refused = 'build_request_failure_count 1, index_build_failure_count 1';
foreach my $wrong ('wrong', 'quite another password')
{
	falls_back("password '$wrong'", "SET knn.remote_index_build_service_password = '$wrong'",
		qr/refused to let this user in: 401 Unauthorized: The service answered: .*user and password are missing or wrong/, $refused);
}
stop_service('file');
falls_back('stopped service', '', qr/could not reach the build service/, $refused);
start_service('file');

# ---------------------------------------------------------------------------
# a service that is killed at work goes on when it is started again

sub start_psql
{
	my (@commands) = @_;
	my ($out, $err) = ('', '');
	return (IPC::Run::start([ 'psql', '-X', '-q', '-h', $node->host, '-p', $node->port, 'postgres', map { ('-c', $_) } @commands ],
			'<', \'', '>', \$out, '2>', \$err), \$err);
}

my ($run, $err) = start_psql("SET knn.remote_index_build_poll_interval = '1s'",
	'CREATE INDEX built ON floats USING knn_hnsw (v) WITH (remote_index_build_size_min = 0, m = 100, ef_construction = 2000)');
my $begun = time;
while (service_log('file') !~ /event=job_started/ && time < $begun + 30) { sleep 0.01 }
like(service_log('file'), qr/event=job_started/, 'the service is at work');
stop_service('file', 'KILL');
unlike($services{file}{log}, qr/event=job_completed/, 'and killed there');
start_service('file');
$run->finish;
is($$err, '', 'killed service: the build goes on');
like(service_log('file'), qr/event=job_again/, 'killed service: begun again');
is(stats(), $counted, 'killed service: statistics');
check_structure($node, 'built', 'killed service');
nothing_left('killed service');
drop();

# ---------------------------------------------------------------------------
# while it waits: VACUUM, cancelling, and a shutdown

# All jobs of a service are over, and nothing runs.
sub service_is_done
{
	my ($name) = @_;
	my $busy = sub {
		return join ' ', (grep { slurp_file($_) !~ /"state": ?"(?:completed|failed)"/ } glob "$dir/file-state/*.json"), grep { !/lock$/ } glob "$dir/file-work/*";
	};
	for (1 .. 100) { last if $busy->() eq ''; sleep 0.05 }
	is($busy->(), '', "$name: the service has nothing to do");
	return;
}

sub start_waiting
{
	my ($run, $err) = start_psql("SET knn.remote_index_build_poll_interval = '1min'", 'CREATE INDEX built ON floats USING knn_hnsw (v) WITH (remote_index_build_size_min = 0)');
	$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM pg_stat_progress_create_index WHERE phase = 'building index: waiting for the remote build'})
	  or die 'it was not seen waiting';
	# the result may still come, and is removed with the rest
	for (1 .. 200) { last if grep { /\.faiss$/ } files($store); sleep 0.05 }
	return ($run, $err);
}

$node->safe_psql('postgres', 'CREATE TABLE other AS SELECT i FROM generate_series(1, 1000) i');
# what was deleted before; what goes later stays, as with any CREATE INDEX, for its snapshot
$node->safe_psql('postgres', 'DELETE FROM other WHERE i <= 400');
($run, $err) = start_waiting();
(undef, undef, $messages) = $node->psql('postgres', 'VACUUM VERBOSE other');
like($messages, qr/400 removed/, 'VACUUM of another table during the wait removes rows');
$begun = time;
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index');
$run->finish;
cmp_ok(time - $begun, '<', 3.5, 'it is cancelled at once');
like($$err, qr/canceling statement due to user request/, 'which is the reason');
is(stats(), 'build_request_success_count 1, index_build_merge_abort_exception 1, write_success_count 1', 'cancelled: statistics');
nothing_left('cancelled');
like(service_log('file'), qr/event=job_cancelled job=\w+ state=completed/, 'cancelled: the service is told');
service_is_done('cancelled');

# while the service is at work, which ends soon: it has nothing to do any more
my $before = length service_log('file');
($run, $err) = start_psql('CREATE INDEX built ON floats USING knn_hnsw (v) WITH (remote_index_build_size_min = 0, m = 100, ef_construction = 2000)');
$begun = time;
while (substr(service_log('file'), $before) !~ /event=job_started/ && time < $begun + 30) { sleep 0.01 }
$begun = time;
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(pid) FROM pg_stat_progress_create_index');
$run->finish;
cmp_ok(time - $begun, '<', 3.5, 'cancelled at work: at once');
like($$err, qr/canceling statement due to user request/, 'cancelled at work: the reason');
service_is_done('cancelled at work');
nothing_left('cancelled at work');
my $log = substr service_log('file'), $before;
like($log, qr/event=job_cancelled job=\w+ state=running/, 'cancelled at work: the service is told');
unlike($log, qr/event=job_(completed|failed)/, 'cancelled at work: it did not build to the end');
stats();

# ---------------------------------------------------------------------------
# S3

SKIP:
{
	my $python = $ENV{KNN_TEST_MOTO};
	skip 'no moto', 1 unless $python;
	my ($in, $out) = ('', '');
	my $moto = IPC::Run::start([ $python, '-B', "$FindBin::RealBin/../remote/moto_store.py" ], '<', \$in, '>', \$out, '2>', "$dir/moto.log",
		IPC::Run::timeout(120));
	$moto->pump until $out =~ /\n/;
	my ($url, $key, $secret) = split ' ', $out;
	$left{s3} = sub {
		($in, $out) = ("list\n", '');
		$moto->pump until $out =~ /\n/;
		return $out =~ s/\s+$//r;
	};
	write_file('credentials', "AWS_ACCESS_KEY_ID=$key\nAWS_SECRET_ACCESS_KEY=$secret\n");
	my $s3_port = start_service('s3', '--container', 'vectors', '--s3-endpoint', $url, '--s3-path-style', '--s3-region', 'us-east-1',
		'--s3-credentials', "$dir/credentials");
	$node->safe_psql('postgres', qq{
		CREATE SERVER bucket FOREIGN DATA WRAPPER knn_repository OPTIONS (type 's3', bucket 'vectors', region 'us-east-1', endpoint '$url', path_style 'true', base_path 'base');
		CREATE USER MAPPING FOR PUBLIC SERVER bucket OPTIONS (access_key_id '$key', secret_access_key '$secret')});
	my $settings = "SET knn.remote_index_build_repository = bucket; SET knn.remote_index_build_service_endpoint = 'http://127.0.0.1:$s3_port'";
	compare('S3, l2', 'floats', '<->', 'knn_vector_l2_ops', settings => "SET client_min_messages = warning; $settings", where => 's3');
	compare('S3, 32x', 'floats', '<=>', 'knn_vector_cosine_ops', settings => $settings, with => "compression_level = '32x'", floor => 0.75, worse => 0.05, where => 's3');
	$node->safe_psql('postgres', "ALTER USER MAPPING FOR PUBLIC SERVER bucket OPTIONS (SET secret_access_key 'ofanother')");
	like(build('floats USING knn_hnsw (v)', settings => $settings), qr/could not be built remotely\nDETAIL:  .*SignatureDoesNotMatch/s, 'S3: wrong key');
	drop();
	nothing_left('S3: wrong key', 's3');
	stop_service('s3');
	$in = undef;
	$moto->kill_kill;
}

# a shutdown
($run, $err) = start_waiting();
$begun = time;
$node->stop('fast');
cmp_ok(time - $begun, '<', 10, 'a shutdown does not wait');
$run->finish;
nothing_left('shutdown');

unlike(service_log('file'), qr/\Q$password\E/, 'the password is not in the log of the service');
unlike(slurp_file($node->logfile), qr/\Q$password\E/, 'nor in that of the server');
stop_service('file');
done_testing();
