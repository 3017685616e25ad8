# Looking into and changing the image of an index's file, by column; the layout is in
# docs/internals.md.

package KnnPages;

use strict;
use warnings;

use Exporter 'import';

our @EXPORT = qw($page_size $header $special blocks_of peek poke);

# Bytes of a page, its header, and its special area at the end.
our $page_size = 8192;
our $header = 24;
our $special = 8;

# as numbered in pages (src/store/page.h)
my @columns = qw(meta tid links code vector upper chain centre block head coarse centroid);

# Blocks of a column.
sub blocks_of
{
	my ($image, $column) = @_;
	my @blocks;
	for my $block (0 .. length($$image) / $page_size - 1)
	{
		my $page = substr($$image, $block * $page_size, $page_size);
		push @blocks, $block
		  if unpack('v', substr($page, $page_size - 2)) == 0xFFA1
		  && $columns[ ord substr($page, $page_size - 8, 1) ] eq $column;
	}
	return @blocks;
}

# Bytes at an offset of the first page of a column; an index may have no such page.
sub peek
{
	my ($image, $column, $offset, $length) = @_;
	my ($block) = blocks_of($image, $column);
	return defined $block ? substr($$image, $block * $page_size + $offset, $length) : "\0" x $length;
}

# Write bytes at an offset of the first (or nth) page of a column.
sub poke
{
	my ($image, $column, $offset, $bytes, $nth) = @_;
	my @blocks = blocks_of($image, $column) or return;
	my $block = $blocks[ ($nth // 0) % @blocks ];
	substr($$image, $block * $page_size + $offset, length $bytes) = $bytes;
	return;
}

1;
