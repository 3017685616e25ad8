# Damaging the files of indexes, and trying what then becomes of them.  A test makes
# tables whose indexes are alike, lists mutations of an index's file, and says what is
# done with a damaged index; this applies one mutation to each table at a time, so that
# one restart of the server (which empties its buffers) serves them all.

package KnnDamage;

use strict;
use warnings;

use Exporter 'import';
use KnnPages;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(random_mutations damage_node remember_files mutation mutate_metapage
  mutate_shape mutate_pages mutate_file mutate_at_random try_mutations complain);

# Damage, wherever it is found (58P01: the segment of a block beyond the table's
# end); a version of the future.
my $allowed = qr/^(00000|XX001|XX002|58P01|0A000)$/;

# The server reports that one with whatever errno happens to be.
my $far_away = qr/could not open file .* previous segment is only/;

my (@mutations, @complaints);

# How many mutations are to be at random: this many, or what the environment has in
# KNN_TEST_MUTATIONS.  Chance begins with KNN_TEST_SEED.
sub random_mutations
{
	my ($default) = @_;
	my $seed = $ENV{KNN_TEST_SEED} // 20240611;
	my $n = $ENV{KNN_TEST_MUTATIONS} // $default;
	srand($seed);
	note "KNN_TEST_SEED=$seed KNN_TEST_MUTATIONS=$n";
	return $n;
}

# A server that does not restart by itself, and whose pages have no checksums.
sub damage_node
{
	my ($statement_timeout) = @_;
	my $node = PostgreSQL::Test::Cluster->new('main');
	my ($version) = qx(pg_config --version) =~ /(\d+)/;
	$node->init(extra => $version >= 18 ? ['--no-data-checksums'] : []);
	$node->append_conf(
		'postgresql.conf', qq{
autovacuum = off
fsync = off
restart_after_crash = off
max_wal_size = 4GB
statement_timeout = $statement_timeout
});
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION knn');
	return $node;
}

# Of tables { name, kind } with an index NAME_v: its file, the file's contents as
# "image", and the number of "rows".  Stops the server.
sub remember_files
{
	my ($node, @tables) = @_;
	for my $table (@tables)
	{
		my $name = $table->{name};
		($table->{file}, $table->{rows}) = split /\|/, $node->safe_psql('postgres',
			qq{SELECT pg_relation_filepath('${name}_v'), (SELECT count(*) FROM $name)});
		$table->{file} = $node->data_dir . '/' . $table->{file};
	}
	$node->stop;
	$_->{image} = slurp_file($_->{file}) for @tables;
	return;
}

# Adds a mutation: a name, whether it must be found, and code that changes the image
# (a reference) of an index of a kind; it may return 'harmless' when by chance it has
# made an image that is sound.  Of one kind alone, if that is given.
sub mutation
{
	my ($name, $must, $change, $kind) = @_;
	push @mutations, { name => $name, must => $must, change => $change, kind => $kind };
	return;
}

# Changes an image at a byte: a byte, a run of bytes, a bit, or a number that is small
# or nearly wraps.
sub mutate_bytes
{
	my ($image, $start, $how, $n, @bytes) = @_;
	if ($how eq 'bit')
	{
		substr($$image, $start, 1) ^= chr(1 << $n % 8);
	}
	elsif ($how eq 'small')
	{
		$start -= $start % 4;
		substr($$image, $start, 4) = pack 'V', ($bytes[0] % 8 - 4) & 0xFFFFFFFF;
	}
	else
	{
		my $bytes = join '', map { chr } $how eq 'byte' ? $bytes[0] : @bytes;
		$bytes = substr($bytes, 0, length($$image) - $start);
		substr($$image, $start, length $bytes) = $bytes;
	}
	return;
}

# Of each field of the metapage, by its offset in the contents: other values.  may(field,
# value) tells which the check may pass.
sub mutate_metapage
{
	my ($fields, $may) = @_;
	my %fields = %$fields;
	for my $i (0 .. 3)
	{
		@fields{ "extent $i group", "extent $i items", "extent $i block" } =
		  map { 80 + 12 * $i + 4 * $_ } 0 .. 2;
	}
	for my $field (sort keys %fields)
	{
		my $at = $header + $fields{$field};
		for my $value (0, 0x7FFFFFFF, 0xFFFFFFFF, 'more', 'less')
		{
			mutation(
				"metapage $field = $value",
				!$may->($field, $value),
				sub {
					my ($image) = @_;
					my $old = unpack 'V', peek($image, 'meta', $at, 4);
					my $new = $value eq 'more' ? $old + 1 : $value eq 'less' ? $old - 1 : $value;
					poke($image, 'meta', $at, pack('V', $new & 0xFFFFFFFF));
					# ids given out and not written; room at the end of a page
					return 'harmless'
					  if ($field =~ /^used/ && $new > $old) || ($field =~ /items/ && abs($new - $old) == 1);
					# an extent that is not listed
					return 'harmless'
					  if $field =~ /^extent (\d)/ && $1 >= unpack 'V', peek($image, 'meta', $header + $fields{nextents}, 4);
					return;
				});
		}
	}
	return;
}

# The bytes of the metapage's shape, each become greater by a step, but for the mode, which
# changes nothing that is stored.
sub mutate_shape
{
	my ($step) = @_;
	for my $at (map { $header + $_ } 8 .. 11, 28, 30, 31)
	{
		mutation('metapage shape byte ' . ($at - $header), 1,
			sub { poke($_[0], 'meta', $at, chr(($step + ord peek($_[0], 'meta', $at, 1)) % 256)) });
	}
	return;
}

# The first page of each column: values { field => [ offset, values ] } of its header and
# special area, but for those that the check may(column, field, value) pass, and other
# contents.  others are two columns to take a page from.
sub mutate_pages
{
	my ($columns, $values, $may, @others) = @_;
	for my $column (@$columns)
	{
		for my $field (sort keys %$values)
		{
			my ($offset, @values) = @{ $values->{$field} };
			for my $value (@values)
			{
				mutation("$column page $field = $value", !$may->($column, $field, $value),
					sub { poke($_[0], $column, $offset, pack($field eq 'version' ? 'C' : 'v', $value)) });
			}
		}
		mutation("$column page zeroed", 1, sub { poke($_[0], $column, 0, "\0" x $page_size) });
		mutation("$column page of random bytes", 1, sub { poke($_[0], $column, 0, random_bytes($page_size)) });
		my ($other) = grep { $_ ne $column } @others;
		mutation("$column page is another column's", 1,
			sub {
				my ($block) = blocks_of($_[0], $other);
				poke($_[0], $column, 0, substr(${ $_[0] }, $block * $page_size, $page_size));
			});
	}
	return;
}

# The file: of these lengths, and with another end.
sub mutate_file
{
	my (@lengths) = @_;
	for my $length (@lengths)
	{
		mutation("file of $length bytes", 1, sub { substr(${ $_[0] }, $length) = '' });
	}
	mutation('last page lost', 1, sub { substr(${ $_[0] }, -$page_size) = '' });
	mutation('random page at the end', 1, sub { ${ $_[0] } .= random_bytes($page_size) });
	return;
}

sub random_bytes
{
	my ($n) = @_;
	return join '', map { chr int rand 256 } 1 .. $n;
}

# At random, so many times, in pages of these columns or any: bytes, runs of bytes, bits,
# numbers that are small or nearly wrap; for the most part where there is something.
sub mutate_at_random
{
	my ($times, @columns) = @_;
	for my $n (1 .. $times)
	{
		my $how = (qw(byte run bit small))[ $n % 4 ];
		my $column = $n % 3 == 0 ? undef : $columns[ rand @columns ];
		my ($which, $where) = (rand, rand);
		my @bytes = map { int rand 256 } 1 .. 1 + rand 200;
		mutation(
			"random $how $n of " . ($column // 'any'), 0,
			sub {
				my ($image) = @_;
				my @blocks = defined $column ? blocks_of($image, $column) : (0 .. length($$image) / $page_size - 1);
				return unless @blocks;
				my $block = $blocks[ int($which * @blocks) ];
				my $lower = unpack 'v', substr($$image, $block * $page_size + 12, 2);
				my $start = $block * $page_size + int($where * ($n % 5 == 0 ? $page_size : $lower || $page_size));
				mutate_bytes($image, $start, $how, $n, @bytes);
				return;
			});
	}
	return;
}

sub complain
{
	my ($mutation, $table, $what) = @_;
	push @complaints, "$mutation->{name} ($table->{kind}): $what";
	return;
}

sub write_image
{
	my ($table, $image) = @_;
	open my $fh, '>:raw', $table->{file} or die "$table->{file}: $!";
	print $fh $image or die;
	close $fh or die;
	return;
}

# One damaged index: true when the check has passed it, undef when nothing is known.
sub try_mutation
{
	my ($node, $mutation, $table, $script, $look, $answers) = @_;
	my ($stdout, $stderr) = ('', '');
	my $rc = $node->psql('postgres', $script->($table), stdout => \$stdout, stderr => \$stderr,
		on_error_stop => 0, extra_params => ['-q']);
	my ($check) = $stdout =~ /=check (\w+)/;

	if ($rc != 0 || !defined $check || $stdout !~ /=again/)
	{
		complain($mutation, $table, "the session ended: $stderr");
		return;
	}
	while ($stdout =~ /^=(check|infostate|scan|insert|vacuum|again) (\w+)/mg)
	{
		$answers->{$1}{$2}++;
		complain($mutation, $table, "$1 ended with $2: $stderr")
		  if $2 !~ $allowed && !($2 eq 'XX000' && $stderr =~ $far_away);
	}
	my $passed = $check eq '00000';
	$look->($mutation, $table, $stdout, $passed);
	if ($passed)
	{
		complain($mutation, $table, 'passed the check') if $mutation->{must};
		note "passed the check: $mutation->{name} ($table->{kind})";
	}
	return $passed;
}

# Tries them all.  script gives what psql does with a table: lines "=WHAT SQLSTATE", of
# check first and again last; look(mutation, table, output, passed) complains about more.
# At the end the server is stopped, and the indexes must be sound.
sub try_mutations
{
	my ($node, $tables, $script, $look) = @_;
	my ($total, $changed, $unsound, $silent) = (scalar @mutations, 0, 0, 0);
	my %answers;
	while (@mutations)
	{
		my @damaged;
		for my $table (@$tables)
		{
			my ($at) = grep { ($mutations[$_]{kind} // $table->{kind}) eq $table->{kind} } 0 .. $#mutations;
			next unless defined $at;
			my ($mutation) = splice @mutations, $at, 1;
			my $image = $table->{image};
			my $effect = $mutation->{change}->(\$image, $table->{kind}) // '';
			$mutation->{must} = 0 if $effect eq 'harmless';
			next if $image eq $table->{image};
			write_image($table, $image);
			push @damaged, [ $mutation, $table ];
		}
		$node->start;
		for (@damaged)
		{
			my $passed = try_mutation($node, @$_, $script, $look, \%answers);
			next unless defined $passed;
			$passed ? $silent++ : $unsound++;
		}
		$changed += @damaged;
		if ($node->psql('postgres', 'SELECT 1') != 0)
		{
			fail('the server is up');
			last;
		}
		$node->stop;

		# as they were
		write_image($_, $_->{image}) for map { $_->[1] } @damaged;
	}

	diag $_ for @complaints[ 0 .. ($#complaints < 19 ? $#complaints : 19) ];
	is(scalar @complaints, 0, 'damage is survived, and found');
	note "$total mutations, $changed changed a file: $unsound found, $silent not";
	for my $what (sort keys %answers)
	{
		note "$what: " . join ', ', map { "$_ $answers{$what}{$_}" } sort keys %{ $answers{$what} };
	}
	cmp_ok($changed, '>', 300, 'enough was tried');
	unlike(slurp_file($node->logfile), qr/terminated by signal|TRAP:|PANIC/, 'no process died');

	$node->start;
	my $sound = () = $node->safe_psql('postgres', join '',
		map { "SELECT 'sound', knn_index_check('$_->{name}_v', true);" } @$tables) =~ /sound/g;
	is($sound, scalar @$tables, 'the undamaged indexes are sound');
	$node->stop;
	return;
}

1;
