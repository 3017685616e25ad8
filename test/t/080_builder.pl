# Builds by another program, and all that such a program may do wrong: the server
# warns and builds the index itself; nothing is left of program and files; and a
# statement that is cancelled ends at once.  The program is a fake one
# (fake_builder.pl); 081 has the real one.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use FakeBuilder;
use KnnTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);

my $dim = 16;
my $rows = 200;

my ($node, $dir) = start_with_table($rows, $dim, 'restart_after_crash = on');
queries($node, 20, $dim, 3);
my $exact = neighbours($node, 't', '<->', exact => 1);
my $started = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');

sub build { return build_index('knn_hnsw (v)', @_) }

sub drop { return $node->safe_psql('postgres', 'DROP INDEX IF EXISTS t_idx') }

# ---------------------------------------------------------------------------
# a program that does what it should

my ($rc, $messages) = build(program("job:$dir/job"), "SET maintenance_work_mem = '5MB'; SET knn.algo_param_index_thread_qty = 3");
is($rc, 0, 'a build by a program') or diag $messages;
is($messages, '', 'without complaints');
my $job = slurp_file("$dir/job");
like($job, qr/^\{"job":"build","version":1,"vectors":"\//, 'the job');
like($job, qr/[,{]$_[,}]/, "it has $_")
  foreach qq("dimension":$dim,"count":$rows,"data_type":"float","space":"l2"), '"threads":3', '"memory_limit":5242880', '"method":"hnsw"',
  '"engine":"cpu"', '"encoding":"rotated_8"', '"m":16', '"ef_construction":100', qr/"seed":"\d+"/, qr/"codes_per_page":\d+/,
  qr/"codes":"\/[^"]+\/result\.knncodes"/;
check_whole_index($node, 't', 't_idx', 'a good program');
cmp_ok(recall(neighbours($node, 't', '<->'), $exact), '>=', 0.97, 'a good program: recall');
nothing_left('a good program');
like(slurp_file($node->logfile), qr/knn-builder built a graph of $rows nodes in 0\.500 s: 3 threads/, 'its result is logged');
drop();

is((build(program("descriptors:$dir/descriptors")))[1], '', 'a program that looks at its descriptors');
is(slurp_file("$dir/descriptors"), '0 1 2', 'it has those of its own and no other');
drop();

# kinds of columns, indexes and statements
$node->safe_psql('postgres', "SET knn.build_external_min = -1; CREATE INDEX t_other ON t USING knn_hnsw (v knn_vector_cosine_ops)");
$node->append_conf('postgresql.conf', "knn.builder_path = '" . program('good') . "'");
$node->reload;
foreach my $case (
	[ 'half', 'l2', 'knn_vector(16, \'half\')', '' ],
	[ 'byte', 'l2', 'knn_vector(16, \'byte\')', '' ],
	[ 'byte', 'ip', 'knn_vector(16, \'byte\')', '' ],
	[ 'binary', 'hamming', 'knn_vector(128, \'binary\')', '' ],
	[ 'float', 'cosine', 'knn_vector(16)', '' ],
	[ 'float', 'ip', 'knn_vector(16)', '' ],
	[ 'float', 'l1', 'knn_vector(16)', '' ],
	[ 'float', 'linf', 'knn_vector(16)', '' ],
	[ 'float', 'l2', 'knn_vector(16)', 'WITH (compression_level = "32x")' ],
	[ 'float', 'l2', 'knn_vector(16)', 'WITH (compression_level = "2x")' ],
	[ 'float', 'l2', 'knn_vector(16)', 'WITH (store_vectors = off)' ],
	[ 'float', 'l2', 'knn_vector(16)', 'WITH (m = 5)' ])
{
	my ($data_type, $space, $type, $with) = @$case;
	my $name = "$data_type $space $with";
	build_kind($data_type, $type, "knn_hnsw (v knn_vector_${space}_ops) $with", $name);
}
foreach my $statement (
	'CREATE INDEX CONCURRENTLY t_idx ON t USING knn_hnsw (v)',
	'REINDEX INDEX t_idx',
	'REINDEX INDEX CONCURRENTLY t_idx',
	'DROP INDEX t_idx; CREATE TEMP TABLE n AS SELECT * FROM t; CREATE INDEX ON n USING knn_hnsw (v); SELECT knn_index_check(\'n_v_idx\', heapallindexed => true)',
	'CREATE UNLOGGED TABLE u AS SELECT * FROM t; CREATE INDEX ON u USING knn_hnsw (v); SELECT knn_index_check(\'u_v_idx\', heapallindexed => true)',
	'CREATE TABLE empty (LIKE t); CREATE INDEX ON empty USING knn_hnsw (v)',
	'INSERT INTO empty SELECT * FROM t LIMIT 1; REINDEX TABLE empty',
	'INSERT INTO empty SELECT * FROM t LIMIT 2; REINDEX TABLE empty; DROP TABLE empty')
{
	my ($status, undef, $said) = $node->psql('postgres', $statement);
	is($status, 0, $statement) or diag $said;
	is($said, '', 'by the program');
	check_whole_index($node, 't', 't_idx', $statement) if $statement =~ /CONCURRENTLY|^REINDEX INDEX/;
}
nothing_left('kinds');
drop();

# ---------------------------------------------------------------------------
# programs that cannot be run, die, or tell nonsense: a warning, and an index

open my $text, '>', "$dir/fake_text" or die;
print $text "no program\n";
close $text;
open my $bad, '>', "$dir/fake_interpreter" or die;
print $bad "#!/nowhere/at/all\n";
close $bad;
chmod 0755, "$dir/fake_interpreter";
open my $elf, '>', "$dir/fake_elf" or die;
print $elf "\x7fELF and so on";
close $elf;
chmod 0755, "$dir/fake_elf";

my $no_graph = qr/The result of program "\S+" is no graph of these vectors: /;
my $no_message = qr/Program "\S+" printed what is no message: "/;
foreach my $case (
	[ 'missing', "$dir/nowhere", qr/could not be run: No such file or directory\.\nHINT:  Install the program/ ],
	[ 'not executable', "$dir/fake_text", qr/could not be run: Permission denied/ ],
	[ 'a directory', $dir, qr/could not be run: it is no file/ ],
	[ 'without interpreter', "$dir/fake_interpreter", qr/could not be run: No such file or directory and without a result/ ],
	[ 'of no format', "$dir/fake_elf", qr/could not be run: Exec format error/ ],
	[ 'false', '/bin/false', qr/Program "\/bin\/false" ended with exit status 1 and without a result\./ ],
	[ 'true', '/bin/true', qr/ended with exit status 0 and without a result\./ ],
	[ 'echo', '/bin/echo', qr/printed what is no message: "build"\./ ],
	[ 'cat', '/bin/cat', qr/ended with exit status 1 and without a result\. The last of its standard error is: .*build/ ],
	[ 'error', 'error', qr/reports: not enough memory: It needs 7 bytes\.\nHINT:  Give it 8 "bytes"\./ ],
	[ 'full disk', 'io', qr/reports: could not write the graph: No space left on device\./ ],
	[ 'error without a word', 'quiet_error', qr/ended with exit status 3 and without a result\. The last of its standard error is: first line something went wrong/ ],
	[ 'no result', 'exit_zero', qr/ended with exit status 0 and without a result/ ],
	[ 'status after result', 'exit_after_result', qr/ended with exit status 5, after its result/ ],
	[ 'talks on', 'more_after_result', qr/printed something after its result: "\{"progress"/ ],
	[ 'segmentation fault', 'signal:SEGV', qr/was killed by signal 11/ ],
	[ 'kill -9', 'signal:KILL', qr/was killed by signal 9: Killed and without a result\.\nHINT:  The system may have been out of memory/ ],
	[ 'SIGTERM', 'signal:TERM', qr/was killed by signal 15/ ],
	[ 'dies and leaves a child', 'orphan', qr/was killed by signal 9/ ],
	[ 'nonsense', 'nonsense', qr/${no_message}Segmentation fault \?\? \(core dumped\)/ ],
	[ 'random bytes', 'binary', $no_message ],
	[ 'nested', 'nested', qr/${no_message}\{"progress":\{"progress":/ ],
	[ 'unknown message', 'unknown', qr/${no_message}\{"advice"/ ],
	[ 'bad number', 'bad_number', $no_message ],
	[ 'giant line', 'giant_line', qr/printed a line of more than 16384 bytes that begins with "x{100}\.\.\."/ ],
	[ 'endless output', 'endless', qr/printed more than it can have to say, \d+ bytes/ ],
	[ 'no file', 'exit_zero', qr/without a result/ ],
	[ 'link', 'link', qr/${no_graph}file "result\.knngraph" could not be opened/ ],
	[ 'fifo', 'fifo', qr/$no_graph"result\.knngraph" is no file/ ],
	[ 'directory as result', 'directory', qr/$no_graph"result\.knngraph" is no file/ ],
	[ 'empty file', 'wrong:empty', $no_graph ],
	[ 'truncated', 'wrong:truncated', qr/${no_graph}it is \d+ bytes long, expected \d+/ ],
	[ 'longer', 'wrong:longer', qr/${no_graph}it is \d+ bytes long, expected \d+/ ],
	[ 'checksum', 'wrong:crc', $no_graph ],
	[ 'version', 'wrong:version:2', qr/${no_graph}it has version 2, expected 1/ ],
	[ 'too few nodes', 'wrong:nodes:' . ($rows - 1), qr/${no_graph}it has 199 nodes of 200 vectors/ ],
	[ 'too many nodes', 'wrong:nodes:' . ($rows + 1), $no_graph ],
	[ 'other count', 'wrong_count', $no_graph ],
	[ 'other m', 'wrong:m:8', qr/${no_graph}its m is 8, not 16/ ],
	[ 'link out of range', 'wrong:range', qr/${no_graph}node 3 links to 200 of 200 nodes/ ],
	[ 'link to itself', 'wrong:self', qr/${no_graph}node 3 links to itself/ ],
	[ 'too many links', 'wrong:degree', qr/${no_graph}node 3 has 33 links/ ],
	[ 'no permutation', 'wrong:permutation', $no_graph ],
	[ 'bad entry', 'wrong:entry:200', $no_graph ],
	[ 'no links', 'wrong:islands', qr/${no_graph}no link leads to 199 of its 200 nodes/ ],
	[ 'codes of others', 'codes:other', qr/${no_graph}the code of vector \d+ is not what the server makes of it/ ],
	[ 'codes that are no numbers', 'codes:nan', qr/${no_graph}the code of vector \d+ is not what the server makes of it/ ],
	[ 'codes without a beginning', 'codes:magic', qr/${no_graph}its codes do not begin with/ ],
	[ 'codes of another version', 'codes:version', qr/${no_graph}its codes have version 2, expected 1/ ],
	[ 'codes of another width', 'codes:width', qr/${no_graph}it has 200 codes of 32 bytes, expected 200 of 28/ ],
	[ 'checksum of codes', 'codes:crc', qr/${no_graph}the checksum of its codes is wrong/ ],
	[ 'no bytes of codes', 'codes:empty', qr/${no_graph}its codes are 0 bytes long/ ],
	[ 'codes cut off', 'codes:short', qr/${no_graph}its codes are 5631 bytes long, expected 5632/ ],
	[ 'codes and more', 'codes:long', qr/${no_graph}file "result\.knncodes" has 5633 bytes/ ],
	[ 'a link to codes', 'codes:link', qr/${no_graph}file "result\.knncodes" could not be opened/ ],
	[ 'writing the vectors', 'vandal', qr/The last of its standard error is: refused: Permission denied/ ])
{
	my ($name, $program, $expected) = @$case;
	$program = program($program) unless $program =~ m{^/};
	my ($status, $said, $seconds) = build($program);
	is($status, 0, "$name: an index is built");
	like($said, qr/WARNING:  index "t_idx" is built by the server, since knn-builder did not build it\nDETAIL:  .*$expected/s, "$name: with a warning");
	cmp_ok($seconds, '<', 10, "$name: in time");
	nothing_left($name);
	check_structure($node, 't_idx', $name);
	cmp_ok(recall(neighbours($node, 't', '<->'), $exact), '>=', 0.97, "$name: recall");
	drop();
}

# what is odd, but no reason to complain
foreach my $mode ('no_newline', 'noise')
{
	my ($status, $said) = build(program($mode));
	is($said, '', "$mode: is in order");
	nothing_left($mode);
	drop();
}

# what it says may be in letters that the database has not
foreach my $case ([ 'UTF8', qr/reports: Gr\xc3\xb6\xc3\x9fe \xc3\xbc \xf0\x9f\x98\x80 \?\? \?: long long/ ],
	[ 'LATIN1', qr/reports: Gr\?\?\?\?e \?\? \?\?\?\? \?\? \?: long long/ ])
{
	my ($encoding, $expected) = @$case;
	$node->safe_psql('postgres', "CREATE DATABASE words TEMPLATE template0 ENCODING '$encoding' LC_COLLATE 'C' LC_CTYPE 'C'");
	my ($status, undef, $said) = $node->psql('words', "SET client_encoding = $encoding; CREATE EXTENSION knn; CREATE TABLE t AS SELECT '[1,2]'::knn_vector(2) AS v;
		SET knn.builder_path = '" . program('words') . "'; CREATE INDEX ON t USING knn_hnsw (v)");
	like($said, $expected, "words in $encoding");
	cmp_ok(length $said, '<', 1500, 'are cut');
	$node->safe_psql('postgres', 'DROP DATABASE words');
}
like((build(program('surrogate')))[1], qr/printed what is no message: "\{"error"/, 'half a character is no message');
drop();

# ---------------------------------------------------------------------------
# programs that hang

foreach my $mode ('hang', 'closed')
{
	my ($status, $said, $seconds) = build(program($mode), "SET knn.builder_timeout = '300ms'");
	like($said, qr/WARNING:  index.*printed nothing for 300 ms\.\nHINT:  knn\.builder_timeout/s, "$mode: silent for too long");
	cmp_ok($seconds, '<', 5, "$mode: in time");
	check_structure($node, 't_idx', $mode);
	nothing_left($mode);
	drop();
}
foreach my $mode ('hang', 'stubborn', 'family', 'closed', 'stays')
{
	my ($status, $said, $seconds) = build(program($mode), "SET statement_timeout = '1s'");
	isnt($status, 0, "$mode: a timeout is an error");
	like($said, qr/^psql:\S+ ERROR:  canceling statement due to statement timeout\s*$/, "$mode: the usual one");
	cmp_ok($seconds, '<', 5, "$mode: in time");
	nothing_left("$mode, timeout");
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE relname = 't_idx'"), 0, "$mode: no index is left");
}

# Starts a build that hangs.
sub start_hanging
{
	my ($mode) = @_;
	return start_build("phase = 'building index: building graph' AND tuples_done = 1 AND tuples_total = $rows",
		"SET knn.builder_path = '" . program($mode) . "'", 'CREATE INDEX t_idx ON t USING knn_hnsw (v)');
}

foreach my $how ('pg_cancel_backend', 'pg_terminate_backend')
{
	my ($run, $err, $pid) = start_hanging('hang');
	isnt(children(), '', "$how: the program runs");
	like(spools(), qr/^pgsql_tmp_knn_$pid\.\d+$/, "$how: its files are there");
	my $begun = time;
	$node->safe_psql('postgres', "SELECT $how($pid)");
	$run->finish;
	cmp_ok(time - $begun, '<', 3, "$how: at once");
	like($$err, $how =~ /cancel/ ? qr/canceling statement due to user request/ : qr/terminating connection due to administrator command/, "$how: is the reason");
	unlike($$err, qr/WARNING:  index/, "$how: and no reason to build it otherwise");
	nothing_left($how);
}

# two at once do not touch each other's files
{
	my ($run, $err, $pid) = start_hanging('hang');
	my ($status, undef, $said) = $node->psql('postgres',
		'CREATE TABLE other AS SELECT * FROM t; CREATE INDEX ON other USING knn_hnsw (v)');
	is($said, '', 'another build meanwhile');
	like(spools(), qr/^pgsql_tmp_knn_$pid\.\d+$/, 'the files of the first are still there');
	$node->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
	$run->finish;
	nothing_left('two builds');
}

# ---------------------------------------------------------------------------
# settings and limits

($rc, $messages) = build(program('good'), "SET temp_file_limit = '20kB'");
is($messages, '', 'vectors are written once');
drop();
($rc, $messages) = build(program('good'), "SET temp_file_limit = '13kB'");
like($messages, qr/WARNING:  index.*\nDETAIL:  Its files need 14 kB of temporary files, more than temp_file_limit/, 'temp_file_limit is heeded');
nothing_left('temp_file_limit');
drop();
is((build(program('nonsense'), 'SET knn.build_external_min = -1'))[1], '', 'no program below -1');
drop();
is((build(program('nonsense'), "SET knn.build_external_min = '1MB'"))[1], '', 'no program for few vectors');
drop();
# with the library loaded, and before
foreach my $order ("LOAD 'knn'; SET SESSION AUTHORIZATION someone; SET knn.builder_path = '/bin/true'",
	"SET SESSION AUTHORIZATION someone; SET knn.builder_path = '/bin/true'; SELECT '[1]'::knn_vector; SHOW knn.builder_path")
{
	($rc, my $shown, $messages) = $node->psql('postgres', "CREATE ROLE someone; $order");
	like($messages, qr/permission denied to set parameter "knn\.builder_path"/, 'the path is for superusers');
	unlike($shown, qr/true/, 'and stays as it was');
	$node->safe_psql('postgres', 'DROP ROLE someone');
}
($rc, undef, $messages) = $node->psql('postgres', "LOAD 'knn'; SET knn.builder_path = 'knn-builder'");
like($messages, qr/invalid value.*The path of the program must be absolute/s, 'a relative path is refused');
($rc, undef, $messages) = $node->psql('postgres', "LOAD 'knn'; SET knn.algo_param_index_thread_qty = 33");
like($messages, qr/outside the valid range.*\(1 \.\. 32\)/, 'at most 32 threads');

is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $started, 'the server was never restarted');
my @errors = grep { !/is built by the server/ } log_errors($node, 0,
	qr/canceling statement|terminating connection|permission denied|invalid value|outside the valid range|there is no unique or exclusion/);
is(join("\n", @errors), '', 'no other error in the log');
unlike(slurp_file($node->logfile), qr/terminated by signal|all server processes terminated/, 'no process crashed');

# ---------------------------------------------------------------------------
# kill -9 of the backend, and of the server: nothing outlives them

foreach my $setting ('on', 'off')
{
	$node->append_conf('postgresql.conf', "remove_temp_files_after_crash = $setting");
	$node->reload;
	my ($run, $err, $pid) = start_hanging('stubborn');
	kill 'KILL', $pid;
	$run->finish;
	for (1 .. 600) { last if $node->psql('postgres', 'SELECT 1') == 0; sleep 0.1 }
	is(children(), '', "kill -9 of a backend ($setting): no program is left");
	if ($setting eq 'off')
	{
		like(spools(), qr/^pgsql_tmp_knn_$pid\.\d+$/, 'files stay where the server is told to leave them');
		is((build(program('good')))[1], '', 'until the next build');
	}
	# the server's own temporary files stay too
	nothing_left("kill -9 of a backend ($setting)", $setting eq 'off' ? 'pgsql_tmp_knn*' : '*');
	drop();
}
{
	my ($run, $err, $pid) = start_hanging('stubborn');
	$node->kill9;
	$run->finish;
	for (1 .. 100) { last if children() eq ''; sleep 0.1 }
	is(children(), '', 'kill -9 of the server: no program is left');
	# its backends are on their way out
	for (1 .. 100) { last unless kill 0, $pid; sleep 0.1 }
	$node->start;
	nothing_left('start of the server');
}
$node->stop;
done_testing();
