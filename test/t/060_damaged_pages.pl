# Damages the files of indexes in many ways, each on purpose or at random: the
# server must survive all of them, knn_index_check must tell, and scans, inserts
# and VACUUM must end with success or an error that says what is wrong.
#
# Several tables with equal indexes are damaged at once, each in one way, so that
# one restart of the server (which empties its buffers) serves them all.

use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";

use KnnDamage;
use KnnPages;
use Test::More;

my $random = random_mutations(160);
my $copies = 40;

# ---------------------------------------------------------------------------
# tables: narrow vectors with chains and tombstones, and some that cross pages

my $node = damage_node('60s');

my %kinds = (
	narrow => { dim => 8, rows => 300, tid => 24, links => 136, code => 20, vector => 32,
		upper => 68, chain => 36, centre => 32 },
	wide => { dim => 2500, rows => 60, tid => 24, links => 136, code => 2512, vector => 10000,
		upper => 68, chain => 36, centre => 10000 });

sub create_table
{
	my ($table, $kind) = @_;
	my ($dim, $rows) = @{ $kinds{$kind} }{ 'dim', 'rows' };
	my $vector = "(SELECT array_agg(((i * 7919 + j * 104729 + i * j * 31) % 1009) / 16.0) FROM generate_series(1, $dim) j)::real[]";
	my $half = int($rows / 2);
	return qq{
CREATE TABLE $table (id int, v knn_vector($dim));
INSERT INTO $table SELECT i, $vector FROM generate_series(1, $half) i;
INSERT INTO $table SELECT 10000 + i * 100 + n, $vector FROM generate_series(1, 5) i, generate_series(1, 12) n;
CREATE INDEX ${table}_v ON $table USING knn_hnsw (v);
INSERT INTO $table SELECT i, $vector FROM generate_series($half + 1, $rows) i;
INSERT INTO $table SELECT 20000 + i * 100 + n, $vector FROM generate_series(3, 4) i, generate_series(1, 9) n;
DELETE FROM $table WHERE id % 10 = 7;
VACUUM $table;
SELECT knn_index_check('${table}_v', true);
};
}

my @tables;
for my $n (1 .. $copies)
{
	my $kind = $n % 4 == 0 ? 'wide' : 'narrow';
	push @tables, { name => "t$n", kind => $kind };
	$node->safe_psql('postgres', create_table("t$n", $kind));
}
remember_files($node, @tables);

# ---------------------------------------------------------------------------
# mutations, as KnnDamage has them

my @columns = qw(meta tid links code vector upper chain centre);

# The number of the first item of a column for which the test holds.
sub find_item
{
	my ($image, $column, $width, $test) = @_;
	my $per_page = int(($page_size - $header - $special) / $width);
	for my $n (0 .. $per_page - 1)
	{
		return $n if $test->(peek($image, $column, $header + $n * $width, $width));
	}
	return;
}

# --- every field of the metapage
my %fields = (
	magic => 0, version => 4, dim => 12, m => 16, ef_construction => 20, ef_search => 24,
	storage => 28, seed => 32, pq => 40, entry => 48, entry_level => 52, used_nodes => 56, used_upper => 60,
	used_chain => 64, used_centre => 68, nblocks => 72, nextents => 76);
# values that another index may have as well, and what is told by warnings
mutate_metapage(\%fields,
	sub { $_[0] =~ /^(ef_construction|ef_search|entry)$/ || "$_[0] $_[1]" eq 'pq 0' });
mutate_shape(1);

# --- page header and special area of every column
my %header_fields = (
	flags => [ 10, 1, 0xFFFF ], pd_lower => [ 12, 0, 24, 100, 8184, 0xFFFF ],
	pd_upper => [ 14, 0, 1, 0xFFFF ], pd_special => [ 16, 0, 8192, 0xFFFF ],
	pagesize => [ 18, 0, 0x1004, 0xFFFF ], column => [ $page_size - 8, 0x0109, 0x01FF ],
	version => [ $page_size - 7, 0, 2 ], unused1 => [ $page_size - 6, 5 ],
	unused2 => [ $page_size - 4, 5 ], page_id => [ $page_size - 2, 0, 0xFFA0 ]);
# an end of contents too far away covers zeroes, as unwritten items are
mutate_pages(\@columns, \%header_fields,
	sub { $_[1] eq 'pd_lower' && $_[2] == 8184 && $_[0] ne 'meta' }, 'tid', 'links');

# --- items
sub item_mutation
{
	my ($name, $must, $column, $offset, $bytes, $test) = @_;
	mutation($name, $must, sub {
			my ($image, $kind) = @_;
			my $width = $kinds{$kind}{$column};
			my $n = $width > $page_size ? 0 : find_item($image, $column, $width, $test // sub { 1 });
			return unless defined $n;
			my $value = ref $bytes ? $bytes->($n, $image, $kind) : $bytes;
			poke($image, $column, $header + $n * $width + $offset, $value);
			return;
		});
}

my $written = sub { ord(substr($_[0], 19, 1)) == 1 && ord(substr($_[0], 18, 1)) >= 2 };
my $chained = sub { unpack('V', substr($_[0], 20, 4)) > 0 };
my $tombstone = sub { ord(substr($_[0], 18, 1)) == 0 && ord(substr($_[0], 19, 1)) == 1 };
item_mutation("tid: ntids $_", 1, 'tid', 18, chr $_, $written) for 1, 4, 0xFF;
item_mutation('tid: no rows', 1, 'tid', 18, chr 0, $written);
item_mutation("tid: flags $_", 1, 'tid', 19, chr $_, $written) for 0, 2, 3, 0xFF;
item_mutation("tid: chain $_", 1, 'tid', 20, pack('V', $_), $written)
  for 1, 2, 5, 1000, 0x7FFFFFFF, 0xFFFFFFFF;
item_mutation('tid: chain lost', 1, 'tid', 20, pack('V', 0), $chained);
item_mutation('tid: offset 0', 1, 'tid', 4, pack('v', 0), $written);
item_mutation('tid: offset 9999', 1, 'tid', 4, pack('v', 9999), $written);
item_mutation('tid: no block', 1, 'tid', 0, pack('vvv', 0xFFFF, 0xFFFF, 1), $written);
item_mutation('tid: block beyond the table', 1, 'tid', 0, pack('vvv', 0, 999, 1), $written);
item_mutation('tid: twice', 1, 'tid', 6, sub { substr(peek($_[1], 'tid', $header + 24 * $_[0], 6), 0, 6) }, $written);
item_mutation('tid: of another node', 1, 'tid', 0, sub { peek($_[1], 'tid', $header + 24 * ($_[0] + 1), 6) }, $written);
item_mutation('tid: tombstone with a row', 1, 'tid', 0, pack('vvvx12C', 0, 0, 1, 1), $tombstone);

my $linked = sub { unpack('v', $_[0]) >= 3 && ord(substr($_[0], 2, 1)) == 0 };
my $high = sub { ord(substr($_[0], 2, 1)) > 0 };
item_mutation("links: count $_", 1, 'links', 0, pack('v', $_), $linked) for 33, 0xFFFF;
item_mutation('links: count 1', 0, 'links', 0, pack('v', 1), $linked);
item_mutation("links: level $_", 1, 'links', 2, chr $_, $linked) for 20, 25, 0xFF;
item_mutation('links: level 0', 0, 'links', 2, chr 0, $high);
item_mutation('links: tombstone', 1, 'links', 3, chr 1, $linked);
item_mutation("links: flags $_", 1, 'links', 3, chr $_, $linked) for 2, 0xFF;
item_mutation("links: upper $_", 1, 'links', 4, pack('V', $_), $high)
  for 1000, 0x7FFFFFFF, 0xFFFFFFFF;
item_mutation("links: link $_", 1, 'links', 8, pack('V', $_), $linked)
  for 0, 1000, 0x7FFFFFFF, 0xFFFFFFFF;
item_mutation('links: to itself', 1, 'links', 8, sub { pack 'V', $_[0] + 1 }, $linked);
item_mutation('links: twice', 1, 'links', 8, sub { peek($_[1], 'links', $header + 136 * $_[0] + 12, 4) }, $linked);
item_mutation('links: one to spare', 0, 'links', 132, pack('V', 1), sub { unpack('v', $_[0]) < 32 && unpack('v', $_[0]) > 0 });

my $some = sub { unpack('V', $_[0]) >= 2 };
item_mutation("upper: count $_", $_ > 1, 'upper', 0, pack('V', $_), $some) for 1, 17, 0xFFFFFFFF;
item_mutation("upper: link $_", 1, 'upper', 4, pack('V', $_), $some)
  for 0, 1000, 0x7FFFFFFF, 0xFFFFFFFF;
item_mutation('upper: twice', 1, 'upper', 4, sub { peek($_[1], 'upper', $header + 68 * $_[0] + 8, 4) }, $some);
item_mutation('upper: to a node of level 0', 1, 'upper', 4,
	sub { pack 'V', 1 + find_item($_[1], 'links', 136, $linked) }, $some);

my $held = sub { ord(substr($_[0], 24, 1)) > 0 };
item_mutation("chain: ntids $_", 1, 'chain', 24, chr $_, $held) for 0, 5, 0xFF;
item_mutation('chain: unused', 1, 'chain', 25, chr 1, $held);
item_mutation('chain: cycle', 1, 'chain', 28, sub { pack 'V', $_[0] + 1 }, $held);
item_mutation("chain: next $_", 1, 'chain', 28, pack('V', $_), $held)
  for 1000, 0x7FFFFFFF, 0xFFFFFFFF;
item_mutation("chain: owner $_", 1, 'chain', 32, pack('V', $_), $held)
  for 77, 0x7FFFFFFF, 0xFFFFFFFF;
item_mutation('chain: no block', 1, 'chain', 0, pack('vvv', 0xFFFF, 0xFFFF, 1), $held);

# bytes of NaN, infinity, and numbers that are not the vector's
for my $value ('NaN', 'Inf', '-Inf', 1e30, 1000)
{
	item_mutation("code: factor $_ $value", 1, 'code', 4 * $_, pack('f<', $value)) for 0 .. 2;
	item_mutation("vector: element $value", 1, 'vector', 8, pack('f<', $value));
	item_mutation("centre: element $value", 1, 'centre', 8, pack('f<', $value));
}
item_mutation('code: byte', 1, 'code', 13, sub { chr(255 - ord peek($_[1], 'code', $header + 13, 1)) });

# --- the file
mutate_file(0, 1, 100, $page_size, $page_size + 1, 2 * $page_size);
mutation('zero page at the end', 0, sub { ${ $_[0] } .= "\0" x $page_size });
mutation('a page of another block at the end', 1,
	sub { ${ $_[0] } .= substr(${ $_[0] }, $page_size, $page_size) });
mutate_at_random($random, @columns);

# ---------------------------------------------------------------------------
# what is done with each damaged index

sub script
{
	my ($table) = @_;
	my $name = $table->{name};
	my $dim = $kinds{ $table->{kind} }{dim};
	my $near = "(SELECT array_agg(j % 7) FROM generate_series(1, $dim) j)::int[]::knn_vector";
	return qq{
\\pset format unaligned
\\pset tuples_only on
SET enable_seqscan = off;
SET enable_sort = off;
SELECT knn_index_check('${name}_v', true);
\\echo =check :SQLSTATE
SELECT '=info ' || rows FROM knn_index_info('${name}_v');
\\echo =infostate :SQLSTATE
SELECT '=count ' || count(*) FROM (SELECT FROM $name ORDER BY v <-> $near LIMIT 100000) s;
\\echo =scan :SQLSTATE
SELECT '=count ' || count(*) FROM (SELECT FROM $name ORDER BY v <-> (SELECT v FROM $name WHERE id = 55) LIMIT 5) s;
\\echo =scan :SQLSTATE
BEGIN;
INSERT INTO $name SELECT 90000 + n, $near FROM generate_series(1, 3) n;
\\echo =insert :SQLSTATE
ROLLBACK;
BEGIN;
INSERT INTO $name SELECT 90000 + n, v FROM $name, generate_series(1, 4) n WHERE id IN (1, 2, 3, 4, 5, 15);
\\echo =insert :SQLSTATE
ROLLBACK;
VACUUM (INDEX_CLEANUP on) $name;
\\echo =vacuum :SQLSTATE
SELECT knn_index_check('${name}_v');
\\echo =again :SQLSTATE
};
}

# One item can repeat a few rows.
sub look
{
	my ($mutation, $table, $stdout) = @_;
	while ($stdout =~ /^=count (\d+)/mg)
	{
		complain($mutation, $table, "$1 of $table->{rows} rows found") if $1 > $table->{rows} + 8;
	}
	return;
}

try_mutations($node, \@tables, \&script, \&look);
done_testing();
