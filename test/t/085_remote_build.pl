# Remote builds as the server sees them: when one is asked for, what the program is
# told, what comes of each of its endings, and how they are counted.  The program is a
# fake one (fake_builder.pl).

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use FakeBuilder;
use KnnTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $dim = 16;
my $rows = 200;
my $bytes = $rows * 4 * $dim;
my $password = 'pass"word%1';
my $secret = 'SecretKeyOfTheStore';
my $token = 'SessionTokenOfTheStore';

delete @ENV{qw(AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY)};
my $node = PostgreSQL::Test::Cluster->new('main');
my $dir = fake_builders($node);
$node->init;
$node->append_conf('postgresql.conf', new_settings(cache_apart => 1) . cache_settings('64MB'));
$node->append_conf('postgresql.conf', qq{
fsync = off
restart_after_crash = on
log_min_messages = debug1
knn.remote_index_build_enabled = on
knn.remote_index_build_repository = store
knn.remote_index_build_service_endpoint = 'http://localhost:9/base'
knn.remote_index_build_service_username = builder
knn.remote_index_build_service_password = 'old'
});
$node->start;
# the password is not in the log line of a reload
$node->append_conf('postgresql.conf', "knn.remote_index_build_service_password = '$password'\nknn.remote_index_build_poll_interval = '250ms'");
$node->reload;
$node->poll_query_until('postgres', "SELECT current_setting('knn.remote_index_build_poll_interval') = '250ms'");
like(slurp_file($node->logfile), qr/parameter "knn\.remote_index_build_poll_interval" changed to "250ms"/, 'a reload is logged');
unlike(slurp_file($node->logfile), qr/\Q$password\E/, 'without the password');

$node->safe_psql('postgres', 'CREATE EXTENSION knn');
$node->safe_psql('postgres', "CREATE TABLE t (id int, v knn_vector($dim))");
load_vectors($node, 't', 1, clustered_vectors($rows, $dim, 2, 8));
queries($node, 20, $dim, 3);
my $exact = neighbours($node, 't', '<->', exact => 1);
$node->safe_psql('postgres', qq{
	CREATE SERVER store FOREIGN DATA WRAPPER knn_repository
		OPTIONS (type 's3', bucket 'vectors', base_path 'a/b', region 'eu-central-1', endpoint 'http://localhost:9000', path_style 'on', connections '3', keep_objects 'on');
	CREATE USER MAPPING FOR PUBLIC SERVER store
		OPTIONS (access_key_id 'AccessKey', secret_access_key '$secret', session_token '$token');
	CREATE SERVER files FOREIGN DATA WRAPPER knn_repository OPTIONS (type 'file', directory '/srv/knn')});

# Builds an index on t with a program; returns status, messages and seconds.
sub build
{
	my ($program, $settings, $with, $column) = @_;
	my $begun = time;
	$with = join ', ', 'remote_index_build_size_min = 0', $with // ();
	my ($rc, undef, $messages) = $node->psql('postgres',
		"SET knn.builder_path = '$program'; SET knn.build_external_min = -1; " . ($settings // '') . '; CREATE INDEX t_idx ON t USING knn_hnsw (' . ($column // 'v') . ") WITH ($with)");
	return ($rc, $messages, time - $begun);
}

sub drop { return $node->safe_psql('postgres', 'DROP INDEX IF EXISTS t_idx') }

# The statistics that are not zero, but for times of builds.
sub stats
{
	my $found = $node->safe_psql('postgres', q{
		SELECT string_agg(s.key || ' ' || s.value, ', ' ORDER BY s.key COLLATE "C")
		FROM jsonb_each(knn_stats('remote_vector_index_build_stats') -> 'nodes') n,
			jsonb_each(n.value -> 'remote_vector_index_build_stats') g, jsonb_each_text(g.value) s
		WHERE s.value <> '0' AND s.key !~ '_(flush|merge)_time_'});
	return $found;
}

sub is_counted
{
	my ($name, %expected) = @_;
	is(stats(), join(', ', map { "$_ $expected{$_}" } sort keys %expected), "$name: statistics");
	$node->safe_psql('postgres', 'SELECT knn_stats_reset()');
	is(stats(), '', "$name: are reset");
	return;
}

my %written = (write_success_count => 1, successful_write_time_in_millis => 11);
my %asked = (%written, build_request_success_count => 1);
my %waited = (%asked, status_request_success_count => 3, waiting_time_in_ms => 70);
my %done = (%waited, read_success_count => 1, successful_read_time_in_millis => 13);

# ---------------------------------------------------------------------------
# a program that does what it should

my ($rc, $messages) = build(program("remote_job:$dir/job"));
is($rc, 0, 'a remote build') or diag $messages;
is($messages, '', 'without complaints');
check_whole_index($node, 't', 't_idx', 'a good program');
cmp_ok(recall(neighbours($node, 't', '<->'), $exact), '>=', 0.97, 'a good program: recall');
nothing_left('a good program');
is_counted('a good program', %done, index_build_success_count => 1);
my $seen = slurp_file("$dir/job");
my ($job) = $seen =~ /^(.*)$/m;
my $system = $node->safe_psql('postgres', 'SELECT system_identifier FROM pg_control_system()');
my $oids = $node->safe_psql('postgres', "SELECT d.oid || '_' || 't_idx'::regclass::oid FROM pg_database d WHERE datname = 'postgres'");
like($job, qr/^\{"job":"build","version":1,.*"dimension":$dim,"count":$rows,"data_type":"float","space":"l2"/, 'the job');
like($job, qr/"remote":\{"endpoint":"http:\/\/localhost:9\/base","username":"builder","password":"pass\\"word%1","poll_interval":0\.25,"timeout":3600,"tenant_id":"main",/, 'the service');
like($job, qr/"object":"a\/b\/${system}_${oids}_vectors\/[0-9a-f]{32}_v","keep_objects":true,"fp16_storage":false,"skip_stored_vectors":false,/, 'the objects');
like($job, qr/"repository":\{"type":"s3","container":"vectors","region":"eu-central-1","endpoint":"http:\/\/localhost:9000","path_style":true,"access_key":"AccessKey","secret_key":"$secret","session_token":"$token","connections":3\}\}\}$/, 'the repository');
like($seen, qr/^mode: 600$/m, 'the job is for its owner only');
unlike(join("\n", grep { /^(arguments|environment):/ } split /\n/, $seen), qr/word%1|$secret|$token/, 'no secret is in arguments or environment');
drop();

# a directory, defaults, and what the index keeps
foreach my $case (
	[ '', "compression_level = '2x'", qr/"fp16_storage":true,"skip_stored_vectors":false/ ],
	[ '', "compression_level = '32x'", qr/"fp16_storage":false,"skip_stored_vectors":true/ ],
	[ '', "compression_level = '8x'", qr/"fp16_storage":false,"skip_stored_vectors":false/ ],
	[ 'SET knn.remote_index_build_skip_stored_vectors = on', undef, qr/"skip_stored_vectors":true/ ],
	[ "SET knn.remote_index_build_service_username = ''; SET knn.remote_index_build_service_password = ''", undef, qr/"remote":\{"endpoint":"[^"]+","poll_interval"/ ],
	[ '', undef, qr/"object":"${system}_\d+_\d+_vectors\/[0-9a-f]{32}_v","keep_objects":false,.*"repository":\{"type":"file","container":"\/srv\/knn"\}\}\}$/m ])
{
	my ($settings, $with, $expected) = @$case;
	(undef, $messages) = build(program("remote_job:$dir/job"), "SET knn.remote_index_build_repository = files; $settings", $with);
	is($messages, '', "built with $settings " . ($with // ''));
	like(slurp_file("$dir/job"), $expected, 'its job');
	drop();
}
$node->safe_psql('postgres', 'SELECT knn_stats_reset()');

# a password that everybody on the way can read, once a session
my $clear = qr/WARNING:  the password of the build service is sent without encryption\nDETAIL:  .*endpoint is "http:\/\/builder\.example:1"/;
foreach my $case (
	[ 1, "SET knn.remote_index_build_service_endpoint = 'http://builder.example:1'" ],
	[ 0, "SET knn.remote_index_build_service_endpoint = 'https://builder.example:1'" ],
	[ 0, "SET knn.remote_index_build_service_endpoint = 'http://127.0.0.1:1'" ],
	[ 0, "SET knn.remote_index_build_service_endpoint = 'http://builder.example:1'; SET knn.remote_index_build_service_username = ''; SET knn.remote_index_build_service_password = ''" ])
{
	my ($times, $settings) = @$case;
	(undef, $messages) = build(program('remote'), "$settings; CREATE INDEX t_other ON t USING knn_hnsw (v) WITH (remote_index_build_size_min = 0); DROP INDEX t_other");
	is(scalar(() = $messages =~ /$clear/g), $times, "sent without encryption: $settings");
	is($messages =~ s/$clear.*?\nHINT:.*?begins with "https:\/\/"\.\n?//sr =~ s/^psql:.*: //r, '', 'nothing else is said');
	drop();
}
$node->safe_psql('postgres', 'SELECT knn_stats_reset()');

# rebuilds are merges, and other kinds of builds
$node->append_conf('postgresql.conf', "knn.builder_path = '" . program('remote') . "'");
$node->reload;
build(program('remote'));
$node->safe_psql('postgres', 'SELECT knn_stats_reset()');
foreach my $statement ('REINDEX INDEX t_idx', 'REINDEX INDEX CONCURRENTLY t_idx')
{
	(undef, undef, $messages) = $node->psql('postgres', $statement);
	is($messages, '', $statement);
	my $times = $node->safe_psql('postgres', q{SELECT (b ->> 'remote_index_build_merge_time_in_millis')::int > 0 AND b ->> 'remote_index_build_flush_time_in_millis' = '0'
		FROM (SELECT jsonb_path_query(knn_stats('remote_vector_index_build_stats'), '$.nodes.*.*.build_stats') b) x});
	is($times, 't', "$statement is a merge");
	is_counted($statement, %done, index_build_success_count => 1);
	check_whole_index($node, 't', 't_idx', $statement);
}
drop();

# not asked for: no program is run, nothing is counted, and the log tells why
foreach my $case (
	[ 'SET knn.remote_index_build_enabled = off', '', qr/knn\.remote_index_build_enabled is off/ ],
	[ "SET knn.remote_index_build_repository = ''", '', qr/knn\.remote_index_build_repository is empty/ ],
	[ '', 'remote_index_build = off', qr/option remote_index_build is off/ ],
	[ 'SET knn.remote_index_build_size_max = 1', '', qr/more than knn\.remote_index_build_size_max/ ])
{
	my ($settings, $with, $reason) = @$case;
	my $offset = -s $node->logfile;
	(undef, $messages) = build(program('nonsense'), $settings, $with || undef);
	is($messages, '', "$settings$with: a local build without a word");
	like(slurp_file($node->logfile, $offset), qr/index "t_idx" is not built remotely: .*$reason/, 'the log tells why');
	is(stats(), '', 'and nothing is counted');
	drop();
}

# what the program warns of is the user's to hear, but not without end
(undef, $messages) = build(program('remote_warning:1'), "SET knn.remote_index_build_service_username = 'u'; SET knn.remote_index_build_service_password = 'word%1 of 12'");
like($messages, qr/WARNING:  it was left\nDETAIL:  as \*\*\* says\nHINT:  Remove it\./, 'a warning of the program');
unlike($messages, qr/word%1|built locally/, 'without its secrets, and the graph is used');
is_counted('a warning', %done, index_build_success_count => 1);
drop();
(undef, $messages) = build(program('remote_warning:50'));
is(scalar(() = $messages =~ /it was left/g), 10, 'warnings have an end');
drop();
$node->safe_psql('postgres', 'SELECT knn_stats_reset()');

# ---------------------------------------------------------------------------
# failures: a warning, and a local build

foreach my $case (
	[ 'remote_error:0:write_failure_count:repository', { write_failure_count => 1 }, qr/reports: it is said to be repository: by a test\.\nHINT:  Do something\./ ],
	[ 'remote_error:1:build_request_failure_count:remote', { %written, build_request_failure_count => 1 }, qr/said to be remote/ ],
	[ 'remote_error:2:status_request_failure_count:remote', { %asked, status_request_failure_count => 1 }, qr/said to be remote/ ],
	[ 'remote_error:3:read_failure_count:not_found', { %waited, read_failure_count => 1 }, qr/said to be not_found/ ],
	[ 'remote_error:4:index_build_failure_count:bad_input', {%done}, qr/said to be bad_input/ ],
	[ 'remote_error:0:x:out_of_memory', {}, qr/said to be out_of_memory/ ],
	[ 'remote_error:0:x:io:false', {}, qr/said to be io/ ],
	[ 'remote_error:0:x:remote:1', {}, qr/printed what is no message/ ],
	[ 'remote_wrong:range', {%done}, qr/is no graph of these vectors: node 3 links to 200/ ],
	[ 'remote_wrong:truncated', {%done}, qr/is no graph of these vectors: it is \d+ bytes long/ ],
	[ 'nonsense', {}, qr/printed what is no message/ ],
	[ 'signal:KILL', {}, qr/was killed by signal 9/ ],
	[ 'exit_zero', {}, qr/ended with exit status 0 and without a result/ ])
{
	my ($mode, $counted, $expected) = @$case;
	my $status;
	($status, $messages) = build(program($mode));
	is($status, 0, "$mode: an index is built");
	like($messages, qr/WARNING:  index "t_idx" is built locally, since it could not be built remotely\nDETAIL:  .*$expected/s, "$mode: with a warning");
	nothing_left($mode);
	check_structure($node, 't_idx', $mode);
	is_counted($mode, %$counted, index_build_failure_count => 1);
	drop();
}
# then knn-builder, and then the server itself
(undef, $messages) = build(program('remote_error:0:x:remote;good'), 'SET knn.build_external_min = 0');
like($messages, qr/could not be built remotely/, 'remote fails');
unlike($messages, qr/is built by the server/, 'and knn-builder builds');
drop();
(undef, $messages) = build(program('remote_error:0:x:remote;nonsense'), 'SET knn.build_external_min = 0');
like($messages, qr/could not be built remotely.*WARNING:  index "t_idx" is built by the server, since knn-builder did not build it/s, 'both fail');
check_whole_index($node, 't', 't_idx', 'both fail');
drop();
$node->safe_psql('postgres', 'SELECT knn_stats_reset()');

# but not if nothing else is to be tried
($rc, $messages) = build(program('remote_error:3:x:io:true'));
isnt($rc, 0, 'terminal: no index');
like($messages, qr/ERROR:  could not build index "t_idx" remotely\nDETAIL:  Program "\S+" reports: it is said to be io: by a test\.\nHINT:  Do something\./, 'terminal: an error');
nothing_left('terminal');
is_counted('terminal', %waited, index_build_terminal_exception => 1);

# secrets that a program repeats
foreach my $mode ('remote_gossip:1', 'remote_gossip')
{
	my $offset = -s $node->logfile;
	(undef, $messages) = build(program($mode), "SET knn.remote_index_build_service_password = 'word%1'");
	like($messages, qr/could not be built remotely/, "$mode: a warning");
	unlike($messages . slurp_file($node->logfile, $offset) =~ s/^.*statement: .*$//mgr, qr/"password":"word%1|login with word|$secret|$token/, "$mode: no secret is shown");
	drop();
}
$node->safe_psql('postgres', 'SELECT knn_stats_reset()');

# ---------------------------------------------------------------------------
# programs that hang

($rc, $messages) = build(program('remote_hang'), "SET knn.builder_timeout = '300ms'");
like($messages, qr/printed nothing for 12300 ms/, 'silent for too long, with the time for removing objects');
is_counted('silence', %written, index_build_failure_count => 1);
drop();
($rc, $messages) = build(program('remote_hang'), "SET statement_timeout = '1s'");
like($messages, qr/canceling statement due to statement timeout/, 'statement_timeout');
nothing_left('statement_timeout');
is_counted('statement_timeout', %written, index_build_merge_abort_exception => 1);

sub start_hanging
{
	my ($mode, $phase, $command) = @_;
	my $total = $phase =~ /^waiting/ ? 0 : $rows;
	return start_build("phase = 'building index: $phase' AND tuples_done = 1 AND tuples_total = $total",
		"SET knn.builder_path = '" . program($mode) . "'", $command // 'CREATE INDEX t_idx ON t USING knn_hnsw (v) WITH (remote_index_build_size_min = 0)');
}
my @current = (remote_index_build_current_flush_operations => 1, remote_index_build_current_flush_size => $bytes);
my $run;
my $err;
my $pid;
foreach my $case ([ 'pg_cancel_backend', 'upload', 'uploading vectors' ],
	[ 'pg_terminate_backend', 'remote', 'waiting for the remote build' ],
	[ 'pg_cancel_backend', 'download', 'downloading the graph' ],
	[ 'pg_terminate_backend', 'import', 'importing the graph' ])
{
	my ($how, $at, $phase) = @$case;
	($run, $err, $pid) = start_hanging("remote_hang:$at", $phase);
	my %now = (%written, @current);
	is(stats(), join(', ', map { "$_ $now{$_}" } grep { !exists $written{$_} } sort keys %now), "$phase: is under way");
	is(join(' ', glob($node->data_dir . '/base/pgsql_tmp/pgsql_tmp_knn*/job.json')), '', "$phase: the job's file is gone");
	my $begun = time;
	$node->safe_psql('postgres', "SELECT $how($pid)");
	$run->finish;
	cmp_ok(time - $begun, '<', 3, "$phase, $how: at once");
	nothing_left("$phase, $how");
	is_counted("$phase, $how", %written, index_build_merge_abort_exception => 1);
}

# what a rebuild is at is told in vectors, whatever its phase counts
build(program('remote'));
my @merge = map { "'\$.nodes.*.graph_stats.merge.$_'" } qw(current current_docs current_size_in_bytes);
foreach my $case ([ 'upload', 'uploading vectors' ], [ 'remote', 'waiting for the remote build' ],
	[ 'download', 'downloading the graph' ], [ 'import', 'importing the graph' ])
{
	my ($at, $phase) = @$case;
	foreach my $how ('', ' CONCURRENTLY')
	{
		($run, $err, $pid) = start_hanging("remote_hang:$at", $phase, "REINDEX INDEX$how t_idx");
		is($node->safe_psql('postgres', 'SELECT concat_ws(\' \', ' . join(', ', map { "jsonb_path_query_first(s, $_)" } @merge) . ") FROM knn_stats('graph_stats') s"),
			"1 $rows $bytes", "REINDEX$how, $phase: statistics of merges");
		$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
		$run->finish;
		$node->safe_psql('postgres', 'DROP INDEX IF EXISTS t_idx_ccnew');
	}
}
drop();
$node->safe_psql('postgres', 'SELECT knn_stats_reset()');

# waiting holds back no more than a local build does
my %held;
foreach my $mode ('remote_hang', 'remote_error:0:x:remote;hang')
{
	($run, $err, $pid) = start_build("tuples_done = 1 AND phase ~ 'waiting|graph'", "SET knn.builder_path = '" . program($mode) . "'",
		'SET knn.build_external_min = 0', 'CREATE INDEX CONCURRENTLY t_idx ON t USING knn_hnsw (v) WITH (remote_index_build_size_min = 0)');
	$held{$mode} = $node->safe_psql('postgres', "SELECT (SELECT string_agg(mode || coalesce(relation::regclass::text, ''), ' ' ORDER BY 1) FROM pg_locks WHERE pid = $pid AND locktype = 'relation')
		|| (SELECT backend_xmin IS NULL FROM pg_stat_activity WHERE pid = $pid)") =~ s/t_idx|\d+//gr;
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	$run->finish;
	drop();
}
is($held{'remote_hang'}, $held{'remote_error:0:x:remote;hang'}, 'locks and snapshot are those of a local build');

# a crash
($run, $err, $pid) = start_hanging('remote_hang', 'waiting for the remote build');
kill 'KILL', $pid;
$run->finish;
for (1 .. 600) { last if $node->psql('postgres', 'SELECT 1') == 0; sleep 0.1 }
nothing_left('kill -9');
is(stats(), '', 'kill -9: nothing is under way');
# and a shutdown
($run, $err, $pid) = start_hanging('remote_hang', 'waiting for the remote build');
my $begun = time;
$node->stop('fast');
cmp_ok(time - $begun, '<', 10, 'a shutdown does not wait');
$run->finish;
nothing_left('shutdown');

# ---------------------------------------------------------------------------
# credentials of the environment; and pg_dump

$ENV{AWS_ACCESS_KEY_ID} = 'FromOutside';
$ENV{AWS_EC2_METADATA_SERVICE_ENDPOINT} = 'http://localhost:9';
$node->start;
delete @ENV{qw(AWS_ACCESS_KEY_ID AWS_EC2_METADATA_SERVICE_ENDPOINT)};
my $dump = $node->safe_psql('postgres', 'SELECT 1') && do {
	my ($out, $errors) = ('', '');
	IPC::Run::run([ 'pg_dump', '-h', $node->host, '-p', $node->port, 'postgres' ], '>', \$out, '2>', \$errors) or diag $errors;
	$out;
};
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->psql('restored', $dump);
my $list = q{SELECT s.srvname, ARRAY(SELECT unnest(s.srvoptions) ORDER BY 1), ARRAY(SELECT unnest(u.umoptions) ORDER BY 1) FROM pg_foreign_server s LEFT JOIN pg_user_mappings u ON u.srvid = s.oid ORDER BY 1};
is($node->safe_psql('restored', $list), $node->safe_psql('postgres', $list), 'repositories and credentials are dumped and restored');
$node->safe_psql('postgres', 'DROP USER MAPPING FOR PUBLIC SERVER store');
(undef, $messages) = build(program("remote_job:$dir/job"));
is($messages, '', 'credentials of the environment');
unlike(slurp_file("$dir/job"), qr/"access_key"|"credentials"/, 'are not in the job');
drop();

# the owner of a repository may let it be anywhere: the environment's are for those of superusers,
# whether there is no user mapping, or one that has nothing
$node->safe_psql('postgres', 'CREATE ROLE keeper; GRANT USAGE ON FOREIGN DATA WRAPPER knn_repository TO keeper; ALTER SERVER store OWNER TO keeper');
foreach my $mapping ('', 'CREATE USER MAPPING FOR PUBLIC SERVER store')
{
	$node->safe_psql('postgres', $mapping) if $mapping;
	unlink "$dir/job";
	(undef, $messages) = build(program("remote_job:$dir/job"));
	like($messages, qr/WARNING:  index "t_idx" is built locally.*has no credentials for repository "store"\.  Those in the environment of the server are for repositories that a superuser owns\.\nHINT:  CREATE USER MAPPING/s,
		"a repository of another: no credentials of the environment, $mapping");
	ok(!-e "$dir/job", 'no program is asked');
	drop();
}
$node->safe_psql('postgres', 'ALTER SERVER store OWNER TO CURRENT_USER');
(undef, $messages) = build(program("remote_job:$dir/job"));
is($messages, '', 'credentials of the environment, with a user mapping that has nothing');
drop();
$node->safe_psql('postgres', 'DROP USER MAPPING FOR PUBLIC SERVER store');

# those of the machine, which only the program asks for; what tells it where is of the environment
$node->safe_psql('postgres', "ALTER SERVER store OPTIONS (ADD credentials 'instance')");
(undef, $messages) = build(program("remote_job:$dir/job"));
is($messages, '', 'credentials of the machine');
like(slurp_file("$dir/job"), qr/"path_style":true,"credentials":"instance","connections":3\}/, 'are asked for by the program');
like(slurp_file("$dir/job"), qr/^environment:.*AWS_EC2_METADATA_SERVICE_ENDPOINT/m, 'which is told where') or diag slurp_file("$dir/job");
drop();
$node->safe_psql('postgres', "CREATE USER MAPPING FOR PUBLIC SERVER store OPTIONS (access_key_id 'AccessKey', secret_access_key '$secret')");
(undef, $messages) = build(program("remote_job:$dir/job"));
like($messages, qr/WARNING:  index "t_idx" is built locally.*option credentials "instance", and role "\w+", the owner of the table, a user mapping with keys/s, 'keys besides are refused');
unlike($messages, qr/$secret/, 'and not shown');
$node->stop;

unlike(slurp_file($node->logfile) =~ s/^.*statement: .*$//mgr, qr/\Q$password\E/, 'the password is nowhere in the log');
done_testing();
