# A knn-builder for tests of the server: it follows the contract, or breaks it in
# one of many ways.  A script sets $main::mode and runs this file; options follow
# the mode after colons.
#
# Trained is what a file says.  Of builds, its graph links each vector to the nearest by brute force (of floats and bytes;
# of others to the next ones), and all in a ring, on one level: good enough for
# some hundred vectors.  Its lists are around the first vectors, in turn: bad ones, but
# each vector is in one.

use strict;
use warnings;

our $mode;
# "one;other": one for remote builds, the other for local ones
if ($mode =~ /;/)
{
	my ($remote, $local) = split /;/, $mode;
	$mode = $ARGV[0] eq 'remote' ? $remote : $local;
}
my ($what, @options) = split /:/, $mode;
$| = 1;

my $text = do { local $/; <STDIN> };
my %job = $text =~ /"(\w+)":\s*("(?:[^"\\]|\\.)*"|\d+)/g;
s/^"|"$//g foreach values %job;
my ($n, $dim, $m) = @job{qw(count dimension m)};

sub say_line { print "$_[0]\n" }
# seconds of waiting have no end that is known
sub progress { my $total = $_[0] eq 'remote' ? 0 : $n; say_line(qq({"progress":{"phase":"$_[0]","done":$_[1],"total":$total}})) }
sub result { say_line(qq({"result":{"nodes":$n,"seconds":0.5,"threads":$job{threads},"memory":1000,"partitions":1}})) }

sub crc32c
{
	my ($bytes) = @_;
	my @table = map {
		my $c = $_;
		$c = $c & 1 ? ($c >> 1) ^ 0x82F63B78 : $c >> 1 for 1 .. 8;
		$c
	} 0 .. 255;
	my $crc = 0xFFFFFFFF;
	$crc = ($crc >> 8) ^ $table[ ($crc ^ $_) & 0xFF ] foreach unpack 'C*', $bytes;
	return $crc ^ 0xFFFFFFFF;
}

sub vectors
{
	open my $in, '<:raw', $job{vectors} or die "$job{vectors}: $!";
	my $bytes = do { local $/; <$in> };
	my %width = (float => 4 * $dim, byte => $dim, binary => $dim / 8);
	my $width = $width{ $job{data_type} };
	die "wrong size of vectors" if length $bytes != $n * $width;
	die "wrong size of ids" if -s $job{ids} != 4 * $n;
	my %format = (float => "f<$dim", byte => "c$dim", binary => "b$dim");
	return map { [ $job{data_type} eq 'binary' ? split //, unpack("x" . $_ * $width . "b$dim", $bytes)
		  : unpack('x' . $_ * $width . $format{ $job{data_type} }, $bytes) ] } 0 .. $n - 1;
}

# The file, with what is to be wrong about it.
sub graph_file
{
	my (%wrong) = @_;
	my @vectors = vectors();
	my $nodes = $wrong{nodes} // $n;
	# numbered backwards, so that the order matters
	my @old = reverse 0 .. $nodes - 1;
	my $width = $wrong{m} // $m;
	my @rows;
	foreach my $new (0 .. $nodes - 1)
	{
		my $v = $vectors[ $old[$new] % $n ];
		my %distance;
		foreach my $other (0 .. $nodes - 1)
		{
			my $w = $vectors[ $old[$other] % $n ];
			my $sum = 0;
			$sum += ($v->[$_] - $w->[$_])**2 foreach 0 .. $dim - 1;
			$distance{$other} = $sum;
		}
		delete $distance{$new};
		my $next = ($new + 1) % $nodes;
		my @near = sort { $distance{$a} <=> $distance{$b} || $a <=> $b } keys %distance;
		my @links = ($next != $new ? $next : ());
		foreach (@near) { push @links, $_ if @links < 2 * $width && $_ != $next }
		push @rows, [@links];
	}
	$rows[3][0] = $nodes if $wrong{range};
	$rows[3][0] = 3 if $wrong{self};
	$old[0] = $old[1] if $wrong{permutation};
	@rows = map { [] } @rows if $wrong{islands};
	my $pad = sub { $_[0] . "\0" x (-length($_[0]) % 8) };
	my $body = $pad->("\0" x $nodes) . $pad->(pack 'V*', @old) . $pad->(pack 'V*', (0) x $nodes)
	  . $pad->(join '', map { pack 'V*', ($wrong{degree} && $_ == $rows[3] ? 2 * $width + 1 : scalar @$_), @$_, (0) x (2 * $width - @$_) } @rows);
	my $crc = crc32c($body) ^ ($wrong{crc} ? 1 : 0);
	my $file = 'KNNGRAPH' . pack('VVQ<Q<VVV', $wrong{version} // 1, $width, $nodes, 0, $wrong{entry} // 0, 0, $crc) . "\0" x 20 . $body;
	$file = substr $file, 0, length($file) / 2 if $wrong{truncated};
	$file = '' if $wrong{empty};
	$file .= "\0" x 8 if $wrong{longer};
	return $file;
}

# The file of a job "cluster", likewise.
sub list_file
{
	my (%wrong) = @_;
	my $floats = $job{data_type} eq 'float';
	my $unit = { float => 4 * $dim, byte => $dim, binary => $dim / 8 }->{ $job{data_type} };
	my $nlist = $wrong{nlist} // $job{nlist};
	my $count = $wrong{count} // $n;
	open my $in, '<:raw', $job{vectors} or die "$job{vectors}: $!";
	read $in, my $centroids, $unit * $nlist;
	$centroids .= "\0" x ($unit * $nlist - length $centroids);
	substr($centroids, $unit, 4) = pack 'f<', 9**9**9 if $wrong{infinite};
	my @lists = map { $_ % $nlist } 0 .. $count - 1;
	$lists[7] = $nlist if $wrong{range};
	my $pad = sub { $_[0] . "\0" x (-length($_[0]) % 8) };
	my $body = $pad->($centroids) . $pad->(pack 'V*', @lists);
	my $crc = crc32c($body) ^ ($wrong{crc} ? 1 : 0);
	my $file = 'KNNLISTS' . pack('VVVVQ<V', $wrong{version} // 1, $unit, $floats ? 1 : 0, $nlist, $count, $crc) . "\0" x 12 . $body;
	$file = substr $file, 0, length($file) / 2 if $wrong{truncated};
	$file = '' if $wrong{empty};
	$file .= "\0" x 8 if $wrong{longer};
	return $file;
}

sub write_result
{
	my ($bytes) = @_;
	open my $out, '>:raw', "$job{result}.part" or die "$job{result}.part: $!";
	print $out $bytes;
	close $out or die "$!";
	rename "$job{result}.part", $job{result} or die "$!";
	return;
}

# Codes that are not those of the vectors, and more that is wrong about their file.
sub write_codes
{
	my ($wrong) = @_;
	my $width = 12 + $dim;
	my $item = pack('f<3', ($wrong eq 'nan' ? 'NaN' + 0 : 1), 1, 1) . "\x80" x $dim;
	my $body = $item x $n;
	my $file = ($wrong eq 'magic' ? 'KNNGRAPH' : 'KNNCODES')
	  . pack('VVQ<VV', $wrong eq 'version' ? 2 : 1, $wrong eq 'width' ? $width + 4 : $width, $n,
		crc32c($body) ^ ($wrong eq 'crc' ? 1 : 0), 0) . $body;
	$file = '' if $wrong eq 'empty';
	$file = substr $file, 0, -1 if $wrong eq 'short';
	$file .= "\0" if $wrong eq 'long';
	return symlink '/etc/passwd', $job{codes} if $wrong eq 'link';
	open my $out, '>:raw', $job{codes} or die "$job{codes}: $!";
	print $out $file;
	close $out or die "$!";
	return;
}

# What the larger part of the work is called.
sub work_phase { return $job{job} eq 'cluster' ? 'train' : 'graph' }

sub whole_build
{
	progress('read', $n);
	progress(work_phase(), int($n / 2));
	write_result($job{job} eq 'cluster' ? list_file(@_) : graph_file(@_));
	progress('write', $n);
	return;
}

# "Learns" a file, and keeps the job in another.
sub train
{
	my ($file, $job) = @_;
	my $size = -s $job{vectors};
	die "wrong size of vectors" if $size != 4 * $n * $dim;
	if ($job)
	{
		open my $out, '>', $job or die "$job: $!";
		print $out $text =~ s/\s+$//r;
	}
	progress('cluster', 1);
	open my $in, '<:raw', $file or die "$file: $!";
	my $bytes = do { local $/; <$in> } // '';
	write_result($bytes);
	say_line(sprintf '{"result":{"bytes":%d,"seconds":0.5,"threads":%d}}', length $bytes, $job{threads});
	return;
}

# What a remote build has counted, from its first n stages on.
sub counters
{
	my ($stages, %further) = @_;
	my @stages = (
		{ write_success_count => 1, successful_write_time_in_millis => 11 },
		{ build_request_success_count => 1 },
		{ status_request_success_count => 3, waiting_time_in_ms => 70 },
		{ read_success_count => 1, successful_read_time_in_millis => 13 },
		{ index_build_success_count => 1 });
	my %all = ((map { %$_ } @stages[ 0 .. $stages - 1 ]), %further);
	say_line('{"counters":{' . join(',', map { qq("$_":$all{$_}) } sort keys %all) . '}}');
	return;
}

sub remote_build
{
	my $stage = 0;
	foreach my $phase (qw(upload remote download import))
	{
		progress($phase, $n);
		counters(++$stage);
	}
	counters(5);
	whole_build(@_);
	return;
}

my %modes = (
	remote => sub { remote_build(); result(); exit 0 },
	remote_wrong => sub { remote_build($options[0] => $options[1] // 1); result(); exit 0 },
	remote_hang => sub { progress('upload', 1); counters(1); progress($options[0] // 'remote', 1); sleep 1 while 1 },
	# objects that stay, so many times
	remote_warning => sub {
		remote_build();
		say_line(qq({"warning":{"code":"repository","message":"it was left","detail":"as $job{password} says","hint":"Remove it."}}))
		  foreach 1 .. $options[0] // 1;
		result();
		exit 0;
	},
	# stages done, what failed then, and as what
	remote_error => sub {
		my ($stages, $counter, $code, $terminal) = @options;
		counters($stages, $counter => 1);
		say_line(qq({"error":{"code":"$code","message":"it is said to be $code","detail":"by a test","hint":"Do something.")
			  . ($terminal ? qq(,"terminal":$terminal) : '') . '}}');
		exit 1;
	},
	# what the program can see, and anybody through it
	remote_job => sub {
		open my $out, '>', $options[0];
		print $out $text, "\n";
		print $out "arguments: $_\n" foreach $0, @ARGV;
		print $out "environment: $_=$ENV{$_}\n" foreach sort keys %ENV;
		printf $out "mode: %o\n", (stat STDIN)[2] & 07777;
		close $out;
		remote_build();
		result();
		exit 0;
	},
	# says all it knows
	remote_gossip => sub {
		print STDERR "stderr $text\n";
		sleep 1 unless $options[0];
		say_line(qq({"error":{"code":"remote","message":"login with $job{password} failed","detail":"$job{secret_key}","hint":"or $job{session_token}"}})) if $options[0];
		print $text;
		exit 1;
	},
	good => sub { whole_build(); result(); exit 0 },
	wrong => sub { whole_build($options[0] => $options[1] // 1); result(); exit 0 },
	codes => sub { whole_build(); write_codes($options[0]); result(); exit 0 },
	# it may not touch the vectors, which the server needs
	vandal => sub {
		my $touched = truncate($job{vectors}, 0) || open(my $out, '+<', $job{vectors});
		print STDERR $touched ? "touched\n" : "refused: $!\n";
		exit 3;
	},
	result => sub { result(); exit 0 },
	train => sub { train(@options); exit 0 },
	link => sub { symlink '/etc/passwd', $job{result}; result(); exit 0 },
	fifo => sub { system 'mkfifo', $job{result}; result(); exit 0 },
	directory => sub { mkdir $job{result}; result(); exit 0 },
	wrong_count => sub { whole_build(); $n++; result(); exit 0 },
	error => sub { say_line(q({"error":{"code":"out_of_memory","message":"not enough memory","detail":"It needs 7 bytes.","hint":"Give it 8 \"bytes\"."}})); exit 1 },
	quiet_error => sub { print STDERR "first line\nsomething went wrong\n"; exit 3 },
	exit_zero => sub { progress('graph', 1); exit 0 },
	exit_after_result => sub { whole_build() if $job{job} eq 'build'; result(); exit 5 },
	more_after_result => sub { whole_build(); result(); progress('graph', 1); sleep 100 },
	stays => sub { whole_build(); result(); sleep 100 },
	signal => sub { progress('graph', 1); kill $options[0], $$; sleep 100 },
	# its own child keeps the pipes
	orphan => sub { if (fork == 0) { sleep 1000; exit } kill 'KILL', $$; sleep 100 },
	hang => sub { progress($options[0] // work_phase(), 1); sleep 1 while 1 },
	stubborn => sub { $SIG{TERM} = 'IGNORE'; progress('graph', 1); sleep 1 while 1 },
	family => sub { $SIG{TERM} = 'IGNORE'; fork; fork; progress('graph', 1) ; sleep 1 while 1 },
	closed => sub { close STDOUT; close STDERR; sleep 1 while 1 },
	nonsense => sub { print "Segmentation fault \x01\xff (core dumped)\n"; sleep 100 },
	binary => sub { binmode STDOUT; print map { chr int rand 256 } 1 .. 5000; print "\n"; sleep 100 },
	nested => sub { print '{"progress":' x 1000, "\n"; sleep 100 },
	unknown => sub { say_line('{"advice":{"message":"go home"}}'); sleep 100 },
	bad_number => sub { say_line('{"progress":{"phase":"graph","done":-1e99,"total":1}}'); sleep 100 },
	giant_line => sub { print 'x' x 4096 while 1 },
	endless => sub { progress('graph', 1) while 1 },
	no_newline => sub { whole_build(); print qq({"result":{"nodes":$n,"seconds":0,"threads":1,"memory":0,"partitions":1}}); exit 0 },
	noise => sub { print STDERR 'complaint ', 'y' x 1000, "\n" for 1 .. 3000; whole_build(); result(); exit 0 },
	words => sub { say_line(qq({"error":{"code":"internal","message":"Gr\xc3\xb6\xc3\x9fe \\u00fc \\ud83d\\ude00 \xff\xc3 \\u0007","detail":") . 'long ' x 1000 . q("}})); exit 1 },
	surrogate => sub { say_line(q({"error":{"code":"internal","message":"\ud83d alone"}})); exit 1 },
	io => sub { say_line(q({"error":{"code":"io","message":"could not write the graph: No space left on device"}})); exit 1 },
	job => sub { open my $out, '>', $options[0]; print $out $text; whole_build(); result(); exit 0 },
	descriptors => sub {
		opendir my $dir, "/proc/$$/fd" or die;
		my $self = fileno $dir;
		open my $out, '>', $options[0];
		print $out join ' ', sort { $a <=> $b } grep { /^\d+$/ && readlink("/proc/$$/fd/$_") !~ m{^/proc|\.pl$|fake|\Q$options[0]\E} } readdir $dir;
		close $out;
		whole_build(); result(); exit 0;
	},
);
my $act = $modes{$what} or die "no mode \"$what\"";
$act->();
die "mode \"$what\" came to its end";
