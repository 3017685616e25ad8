# Trainings by a program that does wrong whatever a program may: the model is failed
# and says why, in time; nothing is left of program and files; and the next training
# goes on.  The program is a fake one (fake_builder.pl), so that faiss is not needed;
# 080 has the same for builds, and in more detail what src/job makes of it.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use FakeBuilder;
use KnnTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $files = "$FindBin::RealBin/../faiss/files";
my $node = PostgreSQL::Test::Cluster->new('main');
my $dir = fake_builders($node);
$node->init;
# for knn_progress, the cache in any case
$node->append_conf('postgresql.conf', new_settings(cache_apart => 1) . cache_settings('16MB'));
$node->append_conf('postgresql.conf', 'fsync = off');
$node->start;
$node->safe_psql('postgres', q{
	CREATE EXTENSION knn;
	CREATE TABLE train AS SELECT i, ARRAY[i % 7, i % 5, i % 3, i % 2]::real[]::knn_vector(4) AS v FROM generate_series(1, 200) i});

sub sql { return $node->safe_psql('postgres', @_) }

# Trains a model with a program, as others train theirs: the path is the server's.
my $models = 0;

sub start_training
{
	my ($program, $settings) = @_;
	my $id = 'm' . ++$models;
	sql("ALTER SYSTEM SET knn.builder_path = '$program'");
	# a worker that starts later than this reads it
	sql('SELECT pg_reload_conf()');
	$node->poll_query_until('postgres', "SELECT setting = '$program' FROM pg_settings WHERE name = 'knn.builder_path'")
	  or die 'the setting is not there';
	my ($rc, undef, $said) = $node->psql('postgres', ($settings // '') .
		"; SELECT knn_train_model('$id', 'train', 'v', 4, '{\"name\": \"ivf\"}')");
	die $said if $rc != 0;
	return $id;
}

sub outcome
{
	my ($id) = @_;
	$node->poll_query_until('postgres', "SELECT state <> 'training' FROM knn_models WHERE model_id = '$id'")
	  or die "model $id is not finished";
	return sql("SELECT state || ': ' || error FROM knn_models WHERE model_id = '$id'");
}

sub train { return outcome(start_training(@_)) }

# ---------------------------------------------------------------------------
# a program that does what it should

is(train(program("train:$files/ivf_empty.faiss:$dir/job"),
		"SET maintenance_work_mem = '5MB'; SET knn.algo_param_index_thread_qty = 3"),
	'created: ', 'a training by a program');
my $job = slurp_file("$dir/job");
like($job, qr{^\{"job":"train","version":1,"vectors":"/[^"]+/pgsql_tmp_knn_\d+\.1/vectors\.knnvec","result":"/[^"]+/model\.faiss",}, 'the job');
like($job, qr/"dimension":4,"count":200,"data_type":"float","space":"l2","method":\{"name": ?"ivf", ?"parameters"/, 'what is to be trained');
like($job, qr/"threads":3,"memory_limit":5242880\}$/, 'the settings of the session');
nothing_left('a good program');

# ---------------------------------------------------------------------------
# programs that cannot be run, die, or tell nonsense

open my $elf, '>', "$dir/fake_elf" or die;
print $elf "\x7fELF and so on";
close $elf;
chmod 0755, "$dir/fake_elf";

my $program = qr/^failed: Failed to execute training\. knn-builder did not train the model\. Program "\S+"/;
my $no_model = qr/^failed: Failed to execute training\. knn-builder did not train the model\. The result of program "\S+" is no model:/;
foreach my $case (
	[ 'of no format', "$dir/fake_elf", qr/$program could not be run: Exec format error/ ],
	[ 'false', '/bin/false', qr/$program ended with exit status 1 and without a result\.$/ ],
	[ 'echo', '/bin/echo', qr/$program printed what is no message: "train"\.$/ ],
	[ 'error', 'error', qr/^failed: Failed to execute training\. not enough memory\. It needs 7 bytes\. Give it 8 "bytes"\.$/ ],
	[ 'full disk', 'io', qr/^failed: Failed to execute training\. could not write the graph: No space left on device$/ ],
	[ 'error without a word', 'quiet_error', qr/$program ended with exit status 3 and without a result\. The last of its standard error is: first line something went wrong$/ ],
	[ 'no result', 'exit_zero', qr/$program ended with exit status 0 and without a result\.$/ ],
	[ 'status after result', 'exit_after_result', qr/$program ended with exit status 5, after its result\.$/ ],
	[ 'kill -9', 'signal:KILL', qr/$program was killed by signal 9: Killed and without a result\. The system may have been out of memory\.$/ ],
	[ 'segmentation fault', 'signal:SEGV', qr/$program was killed by signal 11/ ],
	[ 'dies and leaves a child', 'orphan', qr/$program was killed by signal 9/ ],
	[ 'nonsense', 'nonsense', qr/$program printed what is no message: "Segmentation fault \?\? \(core dumped\)/ ],
	[ 'giant line', 'giant_line', qr/$program printed a line of more than 16384 bytes/ ],
	[ 'endless output', 'endless', qr/$program printed more than it can have to say, \d+ bytes\.$/ ],
	[ 'no file', 'result', qr/$no_model there is no file "model\.faiss"\.$/ ],
	[ 'link', 'link', qr/$no_model file "model\.faiss" could not be opened/ ],
	[ 'fifo', 'fifo', qr/$no_model "model\.faiss" is no file\.$/ ],
	[ 'directory', 'directory', qr/$no_model "model\.faiss" is no file\.$/ ],
	[ 'empty', 'train:/dev/null', qr/^failed: .*the trained model is not sound: .*At byte 0 of 0\.$/ ],
	[ 'text', "train:$FindBin::RealBin/$FindBin::RealScript", qr/^failed: .*the trained model is not sound: / ],
	[ 'with vectors', "train:$files/ivf_flat.faiss", qr/^failed: .*the trained model is not the one asked for$/ ],
	[ 'binary', "train:$files/binary_ivf_empty.faiss", qr/^failed: .*the trained model is not the one asked for$/ ])
{
	my ($name, $path, $expected) = @$case;
	$path = program($path) unless $path =~ m{^/};
	my $begun = time;
	like(train($path), $expected, "$name: what the model says");
	cmp_ok(time - $begun, '<', 20, "$name: in time");
	nothing_left($name);
}

# one that is not there is told at once, and there is no model
my ($rc, undef, $said) = $node->psql('postgres',
	"SET knn.builder_path = '$dir/nowhere'; SELECT knn_train_model('none', 'train', 'v', 4, '{\"name\": \"ivf\"}')");
like($said, qr/ERROR:  could not find the program "\S+nowhere": No such file or directory\nHINT:  Where json-c and faiss/, 'missing');
is(sql("SELECT count(*) FROM knn_models WHERE model_id = 'none'"), '0', 'missing: no model');

# ---------------------------------------------------------------------------
# programs that hang

foreach my $mode ('hang', 'stubborn', 'closed')
{
	my $begun = time;
	like(train(program($mode), "SET knn.builder_timeout = '300ms'"),
		qr/$program printed nothing for 300 ms\. knn\.builder_timeout tells how long it may be silent\.$/, "$mode: silent for too long");
	cmp_ok(time - $begun, '<', 20, "$mode: in time");
	nothing_left($mode);
}
foreach my $case ([ 'pg_cancel_backend', 'Training was cancelled' ],
	[ 'pg_terminate_backend', 'Training was terminated by administrator command' ])
{
	my ($function, $message) = @$case;
	my $id = start_training(program('hang:cluster'));
	$node->poll_query_until('postgres', q{
		SELECT concat_ws(' ', command, phase, relname, usename = current_user, done, total) = 'train learning centroids train t 1 200'
		FROM knn_models JOIN knn_progress ON pid = trainer_pid})
	  or die 'progress was not seen';
	is(sql("SELECT query FROM pg_stat_activity JOIN knn_models ON pid = trainer_pid"),
		"training: learning centroids, step 1 of 200; model \"$id\"", "$function: it is at it");
	isnt(children(), '', "$function: the program runs");
	like(spools(), qr/^pgsql_tmp_knn_\d+\.1$/, "$function: its files are there");
	my $begun = time;
	sql("SELECT $function(trainer_pid) FROM knn_models WHERE model_id = '$id'");
	is(outcome($id), "failed: $message", "$function: what the model says");
	cmp_ok(time - $begun, '<', 20, "$function: at once");
	is(sql('SELECT count(*) FROM knn_progress'), '0', "$function: no progress is left");
	nothing_left($function);
}

# a limit of temporary files
like(train(program('hang'), "ALTER SYSTEM SET temp_file_limit = '1kB'; SELECT pg_reload_conf(), pg_sleep(0.5)"),
	qr/^failed: Failed to execute training\. temporary file size exceeds temp_file_limit/, 'temp_file_limit');
nothing_left('temp_file_limit');
sql('ALTER SYSTEM RESET temp_file_limit');

# the server goes away
start_training(program('hang:cluster'));
$node->poll_query_until('postgres', q{SELECT count(*) = 1 FROM knn_progress WHERE phase = 'learning centroids'}) or die;
$node->stop('immediate');
for (1 .. 100) { last if children() eq ''; Time::HiRes::sleep(0.05) }
is(children(), '', 'no program outlives the server');
$node->start;
is(outcome("m$models"), 'failed: Training failed to complete as cluster crashed', 'a crash');
nothing_left('a crash');

$node->stop;
done_testing();
