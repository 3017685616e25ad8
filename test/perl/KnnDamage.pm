# Damaging the files of indexes, and trying what then becomes of them.  A test makes
# tables whose indexes are alike, lists mutations of an index's file, and says what is
# done with a damaged index; this applies one mutation to each table at a time, so that
# one restart of the server (which empties its buffers) serves them all.

package KnnDamage;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(damage_node remember_files mutation mutate_bytes try_mutations complain);

my $page_size = 8192;

# Damage, wherever it is found (58P01: the segment of a block beyond the table's
# end); a version of the future.
my $allowed = qr/^(00000|XX001|XX002|58P01|0A000)$/;

# The server reports that one with whatever errno happens to be.
my $far_away = qr/could not open file .* previous segment is only/;

my (@mutations, @complaints);

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
