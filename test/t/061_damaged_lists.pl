# Damages the files of knn_ivf indexes, as 060_damaged_pages.pl does those of knn_hnsw:
# the server must survive it, knn_index_check must tell, and scans, inserts and VACUUM
# must end with success or an error that says what is wrong.  An index that passes the
# check has every row of its table.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnDamage;
use KnnPages;
use Test::More;

my $random = random_mutations(90);
my $copies = 48;

# ---------------------------------------------------------------------------
# tables: codes in blocks with vectors elsewhere; both elsewhere, across pages; codes
# that codebooks are needed for; and codes that are the vectors.  Lists have several blocks, and places emptied by VACUUM.

my $node = damage_node('20s');

# bytes of the arrays of a block: entries, and what each has
my %kinds = (
	narrow => { dim => 64, rows => 360, type => 'knn_vector(64)', lists => 3,
		with => "nlist = 3, compression_level = '4x'", code => 64, factors => 12, id => 4,
		coarse => 80, centroid => 256, vector => 256 },
	wide => { dim => 2500, rows => 50, type => 'knn_vector(2500)', lists => 3,
		with => "nlist = 3, compression_level = '4x'", code => 0, factors => 0, id => 4,
		coarse => 2516, centroid => 10000, vector => 10000 },
	pq => { dim => 64, rows => 360, type => 'knn_vector(64)', lists => 3,
		with => 'nlist = 3, encoder = pq, pq_m = 16, code_size = 6', code => 12, factors => 12, id => 4,
		coarse => 80, centroid => 256, vector => 256 },
	byte => { dim => 200, rows => 300, type => "knn_vector(200, 'byte')", lists => 4,
		with => 'nlist = 4', code => 200, factors => 0, id => 0, coarse => 216 });

for my $kind (values %kinds)
{
	my $bytes = 6 + $kind->{id} + $kind->{factors} + $kind->{code};
	$kind->{per_block} = int(($page_size - $header - $special - 16 - 4) / $bytes);
	$kind->{ids} = 4 * int((16 + 6 * $kind->{per_block} + 3) / 4);
	$kind->{codes} = $kind->{ids} + ($kind->{id} + $kind->{factors}) * $kind->{per_block};
}

# An expression for the vector of row i.
sub vector_of
{
	my ($kind) = @_;
	return "(SELECT array_agg((i * 7919 + j * 104729 + i * j * 31) % 101 - 50) FROM generate_series(1, $kind->{dim}) j)::int[]::knn_vector";
}

sub create_table
{
	my ($table, $kind) = @_;
	my $half = int($kind->{rows} / 2);
	my $vector = vector_of($kind);
	return qq{
CREATE TABLE $table (id int, v $kind->{type});
INSERT INTO $table SELECT i, $vector FROM generate_series(1, $half) i;
CREATE INDEX ${table}_v ON $table USING knn_ivf (v) WITH ($kind->{with});
INSERT INTO $table SELECT i, $vector FROM generate_series($half + 1, $kind->{rows}) i;
DELETE FROM $table WHERE id % 10 = 7;
VACUUM $table;
SELECT knn_index_check('${table}_v', true);
};
}

my @tables;
for my $n (1 .. $copies)
{
	my $kind = (qw(narrow wide narrow byte pq))[ $n % 5 ];
	push @tables, { name => "t$n", kind => $kind };
}
$node->safe_psql('postgres', join '', map { create_table($_->{name}, $kinds{ $_->{kind} }) } @tables);
remember_files($node, @tables);

# ---------------------------------------------------------------------------
# mutations, as KnnDamage has them

my @used = qw(meta code vector centre block head coarse centroid);

# Has VACUUM emptied the place that has this vector id?
sub is_emptied
{
	my ($image, $kind, $id) = @_;
	for my $block (blocks_of($image, 'block'))
	{
		my $contents = substr($$image, $block * $page_size + $header, $page_size - $header);
		for my $i (0 .. unpack('v', substr($contents, 8, 2)) - 1)
		{
			return 1
			  if unpack('V', substr($contents, $kinds{$kind}{ids} + 4 * $i, 4)) == $id
			  && unpack('v', substr($contents, 16 + 6 * $i + 4, 2)) == 0;
		}
	}
	return 0;
}

# --- every field of the metapage
my %fields = (
	magic => 0, version => 4, shape => 8, dim => 12, nlist => 16, ef_construction => 20,
	nprobes => 24, storage => 28, seed => 32, pq => 40, entry => 48, lists => 52, used_nodes => 56,
	used_blocks => 60, used_lists => 64, used_centre => 68, nblocks => 72, nextents => 76);
# values that another index may have as well; byte vectors are not rotated
mutate_metapage(\%fields,
	sub { $_[0] =~ /^(nlist|ef_construction|nprobes|seed)$/ || "$_[0] $_[1]" eq 'pq 0' });
# a level of compression among them that there is not
mutate_shape(64);

# --- page header and special area of every column
my %header_fields = (
	pd_lower => [ 12, 0, 24, 0xFFFF ], pd_upper => [ 14, 0 ], pd_special => [ 16, 0, 0xFFFF ],
	pagesize => [ 18, 0 ], column => [ $page_size - 8, 0x0101, 0x01FF ]);
mutate_pages(\@used, \%header_fields, sub { 0 }, 'block', 'coarse');

# --- lists
mutation("head: block $_", 1, do { my $n = $_; sub { poke($_[0], 'head', $header, pack('V', $n)) } })
  for 0, 1000, 0x7FFFFFFF, 0xFFFFFFFF;
mutation('head: of the next list', 1, sub { poke($_[0], 'head', $header, peek($_[0], 'head', $header + 4, 4)) });
mutation("coarse: block $_", 1, do { my $n = $_; sub { poke($_[0], 'coarse', $header, pack('V', $n)) } })
  for 0, 1000, 0x7FFFFFFF, 0xFFFFFFFF;
mutation('coarse: of the next list', 1,
	sub { poke($_[0], 'coarse', $header, peek($_[0], 'coarse', $header + $kinds{ $_[1] }{coarse}, 4)) });
for my $value ('NaN', 'Inf', '-Inf', 1e30)
{
	# byte vectors make no use of them
	mutation("coarse: factor $_ $value", 1,
		do { my $n = $_; sub { poke($_[0], 'coarse', $header + 4 + 4 * $n, pack('f<', $value)) } }, 'narrow')
	  for 0 .. 2;
	mutation("centroid: element $value", 1, sub { poke($_[0], 'centroid', $header + 8, pack('f<', $value)) });
	mutation("centre: element $value", 1, sub { poke($_[0], 'centre', $header + 8, pack('f<', $value)) });
	mutation("vector: element $value", 1,
		sub {
			poke($_[0], 'vector', $header + 8, pack('f<', $value));
			return is_emptied(@_, 0) ? 'harmless' : undef;
		});
}

# --- codebooks, which follow the centre: one codeword of all parts after the other, on three pages
for my $page (0 .. 2)
{
	my $at = $header + ($page == 0 ? $kinds{pq}{vector} : 0) + 12;

	mutation("codebooks, page $page: element $_", 1,
		do { my $value = $_; sub { poke($_[0], 'centre', $at, pack('f<', $value), $page) } }, 'pq')
	  for 'NaN', 'Inf', '-Inf', 1e30;
	# what rows are returned by then is another matter
	mutation("codebooks, page $page: of others", 0,
		sub { poke($_[0], 'centre', $at, peek($_[0], 'centre', $header, 3000), $page) }, 'pq');
	mutation("codebooks, page $page: zeros", 0,
		sub { poke($_[0], 'centre', $at, "\0" x 4000, $page) }, 'pq');
	mutation("codebooks, page $page: large", 0,
		sub { poke($_[0], 'centre', $at, pack('f<', 3e38) x 900, $page) }, 'pq');
	mutation("codebooks, page $page: random", 0,
		sub { poke($_[0], 'centre', $at, join('', map { chr int rand 256 } 1 .. 4000), $page) }, 'pq');
	mutation("codebooks, page $page: lost", 1,
		sub { poke($_[0], 'centre', 0, "\0" x $page_size, $page) }, 'pq');
}
for my $code ("\0", "\xff")
{
	# codes of other vectors: they are estimates
	mutation('codes of pq', 0,
		sub { poke($_[0], 'block', $header + $kinds{pq}{codes}, $code x (12 * 50)) }, 'pq');
}

# --- blocks
my %block_fields = (next => [ 0, 4 ], list => [ 4, 4 ], entries => [ 8, 2 ], free => [ 10, 2 ]);
for my $field (sort keys %block_fields)
{
	my ($offset, $length) = @{ $block_fields{$field} };
	for my $value (0, 1, 2, 200, 0x7FFF, 0xFFFF, 0xFFFFFFFF, 'more', 'less')
	{
		for my $kind (qw(narrow wide byte))
		{
			mutation("block: $field = $value", 1,
				sub {
					my $format = $length == 4 ? 'V' : 'v';
					my $old = unpack $format, peek($_[0], 'block', $header + $offset, $length);
					my $new = $value eq 'more' ? $old + 1 : $value eq 'less' ? $old - 1 : $value;
					poke($_[0], 'block', $header + $offset, pack($format, $new & ($length == 4 ? 0xFFFFFFFF : 0xFFFF)));
				}, $kind);
		}
	}
}

# An entry of the first block that has a row, or has none.
sub entry
{
	my ($image, $live) = @_;
	my $n = unpack 'v', peek($image, 'block', $header + 8, 2);
	for my $i (0 .. $n - 1)
	{
		return $i if $live == (unpack('v', peek($image, 'block', $header + 16 + 6 * $i + 4, 2)) > 0);
	}
	return;
}

sub entry_mutation
{
	my ($name, $must, $live, $array, $width, $bytes) = @_;
	for my $kind (qw(narrow wide byte))
	{
		next if $array =~ /^(ids|codes|factors)$/ && !$kinds{$kind}{ $array eq 'ids' ? 'id' : $array eq 'codes' ? 'code' : $array };
		mutation("entry: $name", $must, sub {
				my ($image) = @_;
				my $k = $kinds{$kind};
				my $i = entry($image, $live);
				return unless defined $i;
				my $start = $array eq 'tids' ? 16 : $array eq 'ids' ? $k->{ids}
				  : $array eq 'factors' ? $k->{ids} + 4 * $k->{per_block} : $k->{codes};
				my $at = $header + $start + $i * ($width // $k->{code});
				poke($image, 'block', $at, ref $bytes ? $bytes->($image, $at) : $bytes);
			}, $kind);
	}
}
entry_mutation('no row', 1, 1, 'tids', 6, pack('vvv', 0xFFFF, 0xFFFF, 0));
entry_mutation('offset 0', 1, 1, 'tids', 6, pack('vvv', 0, 0, 0));
entry_mutation('offset 9999', 1, 1, 'tids', 6, pack('vvv', 0, 0, 9999));
entry_mutation('no block', 1, 1, 'tids', 6, pack('vvv', 0xFFFF, 0xFFFF, 1));
entry_mutation('block beyond the table', 1, 1, 'tids', 6, pack('vvv', 0, 999, 1));
entry_mutation('row of another entry', 1, 1, 'tids', 6, sub { peek($_[0], 'block', $_[1] + 6, 6) });
entry_mutation('emptied place with a row', 1, 0, 'tids', 6, pack('vvv', 0, 0, 1));
for my $live (0, 1)
{
	entry_mutation("vector $_, " . ($live ? 'row' : 'emptied'), 1, $live, 'ids', 4, pack('V', $_))
	  for 1000000, 0x7FFFFFFF, 0xFFFFFFFF;
	entry_mutation('vector of another, ' . ($live ? 'row' : 'emptied'), 1, $live, 'ids', 4,
		sub { peek($_[0], 'block', $_[1] + 4, 4) });
}
for my $value ('NaN', 'Inf', '-Inf', 1e30)
{
	entry_mutation("factors $value", 1, 1, 'factors', 12, pack('f<3', ($value) x 3));
}
# the codes of byte vectors are all there is of them
entry_mutation('code', 0, 1, 'codes', undef, sub { ~peek($_[0], 'block', $_[1], 8) });

# --- the file
mutate_file(0, 100, $page_size, 2 * $page_size + 1);
mutate_at_random($random, @used);

# ---------------------------------------------------------------------------
# what is done with each damaged index

sub script
{
	my ($table) = @_;
	my $name = $table->{name};
	my $kind = $kinds{ $table->{kind} };
	my $near = "(SELECT array_agg(j % 7) FROM generate_series(1, $kind->{dim}) j)::int[]::knn_vector";
	return qq{
\\pset format unaligned
\\pset tuples_only on
SET enable_seqscan = off;
SET enable_sort = off;
SET knn.nprobes = $kind->{lists};
SELECT knn_index_check('${name}_v', true);
\\echo =check :SQLSTATE
SELECT '=info ' || rows FROM knn_index_info('${name}_v');
\\echo =infostate :SQLSTATE
SELECT '=count ' || count(*) || ' ' || count(DISTINCT id) FROM (SELECT id FROM $name ORDER BY v <-> $near LIMIT 100000) s;
\\echo =scan :SQLSTATE
BEGIN;
SET LOCAL knn.nprobes = 1;
SET LOCAL knn.rescore = on;
SELECT '=first ' || count(*) FROM (SELECT FROM $name ORDER BY v <-> $near LIMIT 100000) s;
\\echo =scan :SQLSTATE
ROLLBACK;
BEGIN;
INSERT INTO $name SELECT 90000 + i, @{[ vector_of($kind) ]} FROM generate_series(1, 30) i;
\\echo =insert :SQLSTATE
ROLLBACK;
VACUUM (INDEX_CLEANUP on) $name;
\\echo =vacuum :SQLSTATE
SELECT knn_index_check('${name}_v');
\\echo =again :SQLSTATE
};
}

# What passes the check has all rows.
sub look
{
	my ($mutation, $table, $stdout, $passed) = @_;
	my ($count, $ids) = $stdout =~ /^=count (\d+) (\d+)/m;
	complain($mutation, $table, 'passed the check, but has other rows')
	  if $passed && (!defined $count || $count != $table->{rows} || $ids != $table->{rows});
	return;
}

try_mutations($node, \@tables, \&script, \&look);
done_testing();
