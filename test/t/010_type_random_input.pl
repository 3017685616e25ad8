# Feeds random and mutated texts and binary payloads to the type: the server must
# survive all of them, report errors of its own making only, and whatever it
# accepts must come out as it went in.

use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $seed = $ENV{KNN_TEST_SEED} // 20240217;
srand($seed);
note "KNN_TEST_SEED=$seed";

my $node = PostgreSQL::Test::Cluster->new('main');
$node->init;
$node->start;
$node->safe_psql('postgres', 'CREATE EXTENSION knn');

# Errors of the classes "data exception" and "program limit exceeded", "cannot
# coerce", and the protocol's own for a message that is too short are answers;
# anything else is a defect.
$node->safe_psql(
	'postgres', q{
CREATE FUNCTION attempt(statement text, OUT state text, OUT message text)
LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	state := '00000';
EXCEPTION WHEN OTHERS THEN
	state := SQLSTATE;
	message := SQLERRM;
END $$;
});

my $answer = q{(left(state, 2) IN ('00', '22', '54') OR state IN ('42846', '08P01'))};

# ---------------------------------------------------------------------------
# texts

sub random_number
{
	my $n = '';
	$n .= (qw(- +))[ rand 2 ] if rand() < 0.3;
	$n .= join '', map { int rand 10 } 1 .. 1 + rand(rand() < 0.1 ? 60 : 8);
	$n .= '.' . join '', map { int rand 10 } 1 .. rand(rand() < 0.1 ? 60 : 12)
	  if rand() < 0.7;
	$n .= (qw(e E))[ rand 2 ] . int(rand(100) - 60) if rand() < 0.3;
	return $n;
}

sub random_text
{
	my @seeds = (
		'[1,2,3]', '[1,,2]', '[NaN]', '[1,Infinity]', '[1e400]', '[1e-400]',
		'[[1]]', '[]', '[ 1 , 2 ]', '{1,2}', '[0x1p3]', '[1_000]', '[99,-7,3]');
	my $kind = rand();
	my $text;

	if ($kind < 0.4)
	{
		$text = '[' . join(',', map { random_number() } 1 .. 1 + rand 5) . ']';
	}
	elsif ($kind < 0.5)
	{
		$text = '[' . join(',', map { int(rand 300) - 150 } 1 .. 3) . ']';
	}
	elsif ($kind < 0.8)
	{
		$text = $seeds[ rand @seeds ];
	}
	else
	{
		$text = join '', map { chr(1 + rand 255) } 1 .. rand 30;
	}
	if ($kind < 0.8 && rand() < 0.6)
	{
		my @alphabet = (split(//, "0123456789.,-+eE[]() \t\nnaifx"), chr(233));
		foreach (1 .. 1 + rand 3)
		{
			my $at = int rand(1 + length $text);
			my $c = $alphabet[ rand @alphabet ];
			substr($text, $at, (rand() < 0.5 && $at < length $text) ? 1 : 0) = rand() < 0.3 ? '' : $c;
		}
	}
	return $text;
}

my $dir = PostgreSQL::Test::Utils::tempdir;
my $texts = 4000;
open(my $fh, '>', "$dir/texts") or die "could not write texts: $!";
print $fh unpack('H*', random_text()), "\n" foreach 1 .. $texts;
close $fh;

$node->safe_psql(
	'postgres', qq{
CREATE TABLE hex (id serial, h text);
COPY hex (h) FROM '$dir/texts';
CREATE TABLE texts AS
	SELECT id, typ, t, a.state, a.message
	FROM (SELECT id, convert_from(decode(h, 'hex'), 'LATIN1') AS t FROM hex) s,
		unnest(ARRAY['knn_vector', 'knn_vector(3)', 'knn_vector(3,''half'')', 'knn_vector(3,''byte'')', 'knn_vector(24,''binary'')']) typ,
		attempt(format('SELECT %L::%s', t, typ)) a;
});
is($node->safe_psql('postgres', "SELECT state, message, t FROM texts WHERE NOT $answer LIMIT 5"),
	'', 'random texts are read or refused');
foreach my $type ('knn_vector', "knn_vector(3)", "knn_vector(3,'half')", "knn_vector(3,'byte')", "knn_vector(24,'binary')")
{
	(my $quoted = $type) =~ s/'/''/g;
	my $ok = $node->safe_psql('postgres',
		"SELECT count(*) FILTER (WHERE state = '00000'), count(*) FILTER (WHERE state <> '00000') FROM texts WHERE typ = '$quoted'");
	my ($accepted, $refused) = split /\|/, $ok;
	note "$type: $accepted accepted, $refused refused";
	cmp_ok($accepted, '>', 50, "some texts are accepted by $type");
	cmp_ok($refused, '>', 500, "some texts are refused by $type");

	is( $node->safe_psql(
			'postgres', qq{
WITH accepted AS MATERIALIZED (SELECT t FROM texts WHERE typ = '$quoted' AND state = '00000'),
	parsed AS MATERIALIZED (SELECT t, t::$type AS v FROM accepted)
SELECT t, v FROM parsed
WHERE knn_vector_send(v::text::$type) <> knn_vector_send(v) OR v <> v::text::$type
	OR knn_vector_hash(v) <> knn_vector_hash(v::text::$type)
LIMIT 5}),
		'',
		"what $type accepts comes out as it went in");
}

# The numbers are those that the type real reads
is( $node->safe_psql(
		'postgres', q{
WITH accepted AS MATERIALIZED (SELECT t FROM texts WHERE typ = 'knn_vector' AND state = '00000'),
	both_read AS MATERIALIZED (SELECT t, '{' || translate(t, '[]', '') || '}' AS a FROM accepted),
	fit AS MATERIALIZED (SELECT t, a FROM both_read WHERE (attempt(format('SELECT %L::real[]', a))).state = '00000')
SELECT t FROM fit WHERE t::knn_vector::real[] <> a::real[] LIMIT 5}),
	'', 'numbers are read as real reads them');

# ---------------------------------------------------------------------------
# binary payloads

sub random_payload
{
	my $type = int rand 4;
	my $dim = 1 + int rand 6;
	my @size = (4, 2, 1, 1);
	my $bytes = $size[$type] * $dim;

	$dim *= 8 if $type == 3;
	($dim, $bytes) = ($type == 3 ? 24 : 3, 3 * $size[$type]) if rand() < 0.4;

	my $data;
	if ($type == 0 && rand() < 0.5)
	{
		$data = join '', map { pack 'f>', int(rand 256) - 128 } 1 .. $bytes / 4;
	}
	elsif ($type == 1 && rand() < 0.5)
	{
		$data = join '', map { pack 'n', 0x3C00 + int rand 0x800 } 1 .. $bytes / 2;
	}
	else
	{
		$data = join '', map { chr rand 256 } 1 .. $bytes;
	}
	my $payload = pack('nn', $dim, $type) . $data;

	if (rand() < 0.5)
	{
		my $kind = int rand 6;
		substr($payload, 0, 2) = pack('n', rand 65536) if $kind == 0;
		substr($payload, 2, 2) = pack('n', rand(rand() < 0.5 ? 8 : 65536)) if $kind == 1;
		$payload = substr($payload, 0, rand length $payload) if $kind == 2;
		$payload .= join '', map { chr rand 256 } 0 .. rand 9 if $kind == 3;
		substr($payload, 4 + 4 * int(rand $bytes / 4), 4) =
		  pack('N', (0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0x80000000, 1, 0x7F7FFFFF)[ rand 7 ])
		  if $kind == 4 && $type == 0;
		substr($payload, rand length $payload, 1) = chr rand 256 if $kind == 5;
	}
	return $payload;
}

# A binary COPY file of one row: an id and one vector
sub copy_file
{
	my ($name, $id, $payload) = @_;
	open(my $out, '>:raw', $name) or die "could not write $name: $!";
	print $out "PGCOPY\n\xff\r\n\0", pack('NN', 0, 0), pack('n', 2), pack('NN', 4, $id),
	  pack('N', length $payload), $payload, pack('n', 0xFFFF);
	close $out;
	return;
}

my $payloads = 3000;
open($fh, '>', "$dir/payloads") or die "could not write payloads: $!";
foreach my $id (1 .. $payloads)
{
	my $payload = random_payload();
	copy_file("$dir/$id.bin", $id, $payload);
	print $fh "$id\t", unpack('H*', $payload), "\n";
}
close $fh;

$node->safe_psql('postgres', qq{
CREATE TABLE payloads (id int, h text);
COPY payloads FROM '$dir/payloads';
CREATE TABLE any_vector (id int, v knn_vector);
CREATE TABLE float_vector (id int, v knn_vector(3));
CREATE TABLE half_vector (id int, v knn_vector(3, 'half'));
CREATE TABLE byte_vector (id int, v knn_vector(3, 'byte'));
CREATE TABLE binary_vector (id int, v knn_vector(24, 'binary'));
});
foreach my $table (qw(any_vector float_vector half_vector byte_vector binary_vector))
{
	$node->safe_psql('postgres', qq{
CREATE TABLE outcome AS
	SELECT id, a.state, a.message
	FROM payloads, attempt(format('COPY $table FROM %L WITH (FORMAT binary)', '$dir/' || id || '.bin')) a});
	is($node->safe_psql('postgres', "SELECT id, state, message FROM outcome WHERE NOT $answer LIMIT 5"),
		'', "binary payloads are read or refused by $table");
	my $accepted = $node->safe_psql('postgres', "SELECT count(*) FROM $table");
	note "$table: $accepted accepted";
	cmp_ok($accepted, '>', 50, "some payloads are accepted by $table");
	is($node->safe_psql('postgres', "SELECT count(*) FROM $table t JOIN outcome o USING (id) WHERE o.state = '00000'"),
		$accepted, "only what was accepted is in $table");
	$node->safe_psql('postgres', 'DROP TABLE outcome');
}
is( $node->safe_psql('postgres',
		q{SELECT id, h, v FROM any_vector JOIN payloads USING (id) WHERE encode(knn_vector_send(v), 'hex') <> h LIMIT 5}),
	'', 'accepted payloads are sent as they came');
is( $node->safe_psql('postgres',
		q{SELECT count(*) FROM any_vector WHERE NOT v = v OR v::text IS NULL OR knn_dims(v) < 1 OR v::text ~* 'nan|inf'}),
	'0', 'accepted payloads are sound values');

# ---------------------------------------------------------------------------
# dump and restore

$node->safe_psql('postgres', q{
DROP TABLE hex, texts, payloads, any_vector;
CREATE TABLE defaults (v knn_vector(2) DEFAULT '[1,2]', b knn_vector(16, 'binary') DEFAULT '[99,-7]', CHECK (v <-> '[0,0]' < 10));
CREATE VIEW scored AS SELECT id, knn_score('l2', v <-> '[1,2,3]') AS score FROM byte_vector;
});
my $dump = "$dir/dump.sql";
$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('postgres') ], 'dump');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('restored') ], 'restore');
my $contents = join ' UNION ALL ',
  map { "SELECT '$_', id, encode(knn_vector_send(v), 'hex') FROM $_" } qw(float_vector half_vector byte_vector binary_vector);
is( $node->safe_psql('restored', "$contents ORDER BY 1, 2"),
	$node->safe_psql('postgres', "$contents ORDER BY 1, 2"),
	'restored values are the dumped ones');
is( $node->safe_psql('restored', q{SELECT string_agg(format_type(atttypid, atttypmod), ' ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'defaults'::regclass AND attnum > 0}),
	q{knn_vector(2) knn_vector(16,'binary')}, 'type modifiers are restored');

# ---------------------------------------------------------------------------
# casts to and from pgvector, where it is installed

SKIP:
{
	skip 'pgvector is not installed', 8
	  if $node->safe_psql('postgres', "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'") eq '0';

	$node->safe_psql('restored', 'CREATE SCHEMA "their schema"; CREATE EXTENSION vector SCHEMA "their schema"');
	is($node->safe_psql('restored', 'SELECT knn_create_pgvector_casts()'), '4', 'casts are created');
	is($node->safe_psql('restored', 'SELECT knn_create_pgvector_casts()'), '0', 'and only once');
	is( $node->safe_psql('restored', q{SELECT '[1,2.5]'::"their schema".vector::knn_vector(2), '[1,2.5]'::knn_vector::"their schema".vector(2), '[1,-7]'::"their schema".halfvec::knn_vector(16,'binary')}),
		'[1,2.5]|[1,2.5]|[1,-7]', 'casts work');
	$node->safe_psql('restored', 'DROP EXTENSION knn CASCADE; CREATE EXTENSION knn');
	is($node->safe_psql('restored', 'SELECT knn_create_pgvector_casts()'), '0', 'CREATE EXTENSION creates the casts');
	$node->command_ok([ 'pg_dump', '-f', $dump, $node->connstr('restored') ], 'dump with casts');
	$node->safe_psql('postgres', 'CREATE DATABASE again');
	$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, $node->connstr('again') ], 'restore with casts');
	is($node->safe_psql('again', q{SELECT '[1,2.5]'::"their schema".vector::knn_vector(2)}), '[1,2.5]', 'casts are restored');
	$node->safe_psql('restored', 'DROP EXTENSION vector CASCADE');
	is($node->safe_psql('restored', q{SELECT '[1]'::knn_vector}), '[1]', 'knn does not go with pgvector');
}

$node->stop;
done_testing();
