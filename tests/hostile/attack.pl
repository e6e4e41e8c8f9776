# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# usage: attack.pl HOOK
# What a hostile program of an image tries, wherever it is started. It prints REACHED where it wins, and writes the
# same to the files that it was given. What it knows of the builder is in builder.pl beside it.
use strict;
use warnings;
use Errno qw(EACCES ENOSYS EPERM);
use Fcntl;
use POSIX ();
use Socket;

$| = 1;
my ($home) = $0 =~ m{\A(.*)/};
our $builder = do "$home/builder.pl" or die "no builder.pl: $! $@";
my $hook = $ARGV[0] // 'none';
my $machine = (POSIX::uname())[4];
# System calls of x86_64 and of arm64.
my %NUMBERS = (
    add_key => [248, 217], keyctl => [250, 219], mount => [165, 40], umount2 => [166, 39], unshare => [272, 97],
    setns => [308, 268], clone => [56, 220], clone3 => [435, 435], open_tree => [428, 428], fsopen => [430, 430],
    ptrace => [101, 117], syslog => [103, 116], bpf => [321, 280], perf_event_open => [298, 241],
    io_uring_setup => [425, 425], userfaultfd => [323, 282], finit_module => [313, 273], mknodat => [259, 33],
    open_by_handle_at => [304, 265], process_vm_readv => [310, 270], pivot_root => [155, 41],
);
my $AT_FDCWD = -100;

sub number { return $NUMBERS{$_[0]}[$machine eq 'aarch64' ? 1 : 0]; }

sub report {
    my ($line) = @_;
    print STDERR "$line\n";
    for my $path (@{ $builder->{logs} }) {
        sysopen(my $file, $path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK, 0666) or next;
        syswrite($file, "$line\n");
    }
    return;
}

sub reached { report("REACHED $_[0] in $hook"); return; }

# Whether a call did something, or would have with better arguments.
sub allowed {
    my ($name, @words) = @_;
    my $result = syscall(number($name), @words);
    return $result >= 0 || !($! == EPERM || $! == ENOSYS || $! == EACCES);
}

# What a file holds, but no more than a MiB.
sub content {
    my ($path) = @_;
    sysopen(my $file, $path, O_RDONLY | O_NONBLOCK) or return '';
    sysread($file, my $data, 1 << 20);
    return $data // '';
}

sub names {
    my ($path) = @_;
    opendir(my $folder, $path) or return ();
    return grep { !/\A\.\.?\z/ } readdir($folder);
}

sub processes { return grep { /\A\d+\z/ } names('/proc'); }

my %ATTACKS = (
    env => sub {
        for my $pid (processes()) {
            next if content("/proc/$pid/environ") !~ /\Q$builder->{variable}\E=([^\0]*)/;
            report("SECRET $1");
            reached('env');
            return;
        }
    },
    keys => sub {
        # KEY_SPEC_USER_KEYRING, _SESSION_ and _USER_SESSION_ (keyctl(2)): search, read, add.
        for my $ring (-4, -3, -5) {
            my ($type, $description, $buffer) = ('user', $builder->{key}, "\0" x 256);
            my $key = syscall(number('keyctl'), 10, $ring, $type, $description, 0);
            if ($key > 0 && syscall(number('keyctl'), 11, $key, $buffer, 256) > 0) {
                $buffer =~ s/\0.*//s;
                report("SECRET $buffer");
                reached('key');
            }
            my ($new, $payload) = ("$builder->{key}-new", 'x');
            reached('new key') if syscall(number('add_key'), $type, $new, $payload, 1, $ring) > 0;
        }
        reached('names of keys') if content('/proc/keys') =~ /\Q$builder->{key}\E/;
    },
    network => sub {
        for my $address ('127.0.0.1', '10.0.2.2') {
            socket(my $it, PF_INET, SOCK_STREAM, 0) or next;
            reached('tcp') if connect($it, pack_sockaddr_in($builder->{port}, inet_aton($address)));
        }
    },
    sockets => sub {
        socket(my $it, PF_UNIX, SOCK_STREAM, 0) or return;
        reached('abstract socket') if connect($it, pack_sockaddr_un("\0$builder->{socket}"));
    },
    families => sub {
        # AF_PACKET, AF_ALG, AF_VSOCK.
        for my $family (17, 38, 40) {
            for my $type (SOCK_RAW, SOCK_STREAM, 5) {
                reached("socket family $family") if socket(my $it, $family, $type, 0);
            }
        }
    },
    files => sub {
        my @above = ('', map { ("/proc/$_/root", "/proc/$_/cwd" . '/..' x 20) } 'self', processes());
        push @above, map { "/proc/self/fd/$_" . '/..' x 20 } names('/proc/self/fd');
        for my $above (@above) {
            my $path = "$above$builder->{file}";
            next if !-e $path;
            reached('file');
            report('SECRET ' . content($path));
            if (sysopen(my $file, $path, O_WRONLY | O_APPEND)) {
                reached('file for writing');
                syswrite($file, 'hostile');
            }
            reached('mode of a file') if chmod 0777, $path;
            reached('directory') if sysopen(my $new, "$path.new", O_WRONLY | O_CREAT | O_EXCL);
            return;
        }
    },
    chroot => sub {
        # The way back that chroot(2) has.
        my $inner = "$builder->{scratch}/inner.$$";
        mkdir $inner;
        chroot($inner) or return;
        chdir '..' for 1 .. 40;
        chroot('.');
        reached('root of the builder') if -e $builder->{file};
    },
    namespaces => sub {
        # CLONE_NEWUSER, NEWNS, NEWNET, NEWPID, NEWIPC, NEWUTS, NEWCGROUP.
        my @flags = (0x10000000, 0x20000, 0x40000000, 0x20000000, 0x8000000, 0x4000000, 0x2000000);
        for my $flag (@flags) {
            my $pid = fork() // next;
            POSIX::_exit(syscall(number('unshare'), $flag) == 0 ? 7 : 0) if !$pid;
            waitpid($pid, 0);
            reached(sprintf('namespace %x by unshare', $flag)) if $? >> 8 == 7;
            my $child = syscall(number('clone'), $flag | POSIX::SIGCHLD(), 0, 0, 0, 0);
            POSIX::_exit(0) if $child == 0;
            reached(sprintf('namespace %x by clone', $flag)) if $child > 0;
        }
        my $arguments = pack('Q11', 0x10000000, 0, 0, 0, POSIX::SIGCHLD(), (0) x 6);
        my $child = syscall(number('clone3'), $arguments, length $arguments);
        POSIX::_exit(0) if $child == 0;
        reached('namespace by clone3') if $child > 0;
        for my $name (names('/proc/1/ns')) {
            open(my $file, '<', "/proc/1/ns/$name") or next;
            reached("namespace $name of process 1") if syscall(number('setns'), fileno($file), 0) == 0;
        }
    },
    mounts => sub {
        my ($source, $type, $root, $there) = ('hostile', 'tmpfs', '/', '/proc');
        my @places = ($builder->{folder}, '/mnt');
        for my $place (@places) {
            syscall(number('mount'), $source, $place, $type, 0, 0) == 0 or next;
            reached('mount');
            $there = $place;
        }
        # MNT_DETACH, OPEN_TREE_CLONE.
        reached('unmount') if syscall(number('umount2'), $there, 2) == 0;
        reached('open_tree') if syscall(number('open_tree'), $AT_FDCWD, $root, 1) >= 0;
        reached('fsopen') if syscall(number('fsopen'), $type, 0) >= 0;
    },
    devices => sub {
        my ($number, @kinds) = (0, [b => 7, 0], [b => 254, 0], [c => 1, 1], [c => 1, 5], [c => 10, 237]);
        for my $kind (@kinds) {
            my ($letter, $major, $minor) = @{$kind};
            my $path = "$builder->{scratch}/node.$$." . ++$number;
            my $mode = 0666 | ($letter eq 'b' ? 060000 : 020000);
            syscall(number('mknodat'), $AT_FDCWD, $path, $mode, ($major << 8) | $minor) == 0 or next;
            reached("device $letter $major $minor") if sysopen(my $file, $path, O_RDONLY);
            unlink $path;
        }
        # Those that the root brought with it.
        for my $path (glob("$home/nodes/*")) {
            reached("device $path") if sysopen(my $file, $path, O_RDONLY | O_NONBLOCK);
        }
    },
    disks => sub {
        for my $name (names('/dev')) {
            next if !-b "/dev/$name";
            reached("disk $name for writing") if sysopen(my $file, "/dev/$name", O_RDWR);
            sysopen(my $disk, "/dev/$name", O_RDONLY) or next;
            # LOOP_GET_STATUS64, which does no harm.
            my $status = "\0" x 512;
            reached("loop device $name") if ioctl($disk, 0x4C05, $status);
        }
    },
    kernel => sub {
        for my $path (map { "/proc/$_" } qw(sys/kernel/core_pattern sys/kernel/modprobe sys/kernel/hostname sysrq-trigger)) {
            reached($path) if sysopen(my $file, $path, O_WRONLY);
        }
        for my $name (qw(cmdline kcore kallsyms kmsg)) {
            reached("/proc/$name") if length content("/proc/$name");
        }
        reached('/sys') if names('/sys');
        my $buffer = "\0" x 4096;
        reached('the log of the kernel') if syscall(number('syslog'), 3, $buffer, 4096) >= 0;
        my $zeros = "\0" x 128;
        reached('bpf') if allowed('bpf', 0, $zeros, 128);
        reached('io_uring') if allowed('io_uring_setup', 4, $zeros);
        reached('userfaultfd') if allowed('userfaultfd', 0);
        reached('open_by_handle_at') if allowed('open_by_handle_at', -1, $zeros, 0);
        my $nothing = '';
        reached('finit_module') if allowed('finit_module', -1, $nothing, 0);
    },
    processes => sub {
        my $pid = $builder->{pid};
        if (content("/proc/$pid/cmdline") =~ /\Q$builder->{marker}\E/) {
            reached('process');
            reached('end of a process') if kill 'KILL', $pid;
        }
        # PTRACE_ATTACH to process 1, which is the builder's bwrap.
        reached('ptrace') if allowed('ptrace', 16, 1, 0, 0);
        for my $other (processes()) {
            next if ((stat "/proc/$other/exe")[0] // 0) == (stat '/')[0];
            reached("program of process $other") if sysopen(my $file, "/proc/$other/exe", O_WRONLY);
        }
    },
    terminal => sub {
        my $key = "\n";
        for my $path ('/dev/tty', '/dev/console', '/proc/1/fd/0') {
            sysopen(my $file, $path, O_RDWR | O_NONBLOCK | O_NOCTTY) or next;
            reached("terminal $path") if ioctl($file, 0x5412, $key);
        }
    },
    given => sub {
        my $given = '/run/sealedroot';
        symlink($builder->{file}, "$given/link.$$") and reached('what the builder gives');
        for my $name ('disk.raw', 'boot.key', 'python3', 'python') {
            unlink "$given/$name" and reached("$given/$name");
            rename("$given/$name", "$given/away.$$") and reached("$given/$name");
            symlink($builder->{file}, "$given/$name") and reached("$given/$name");
            sysopen(my $file, "$given/$name", O_WRONLY) and reached("$given/$name");
        }
    },
    stay => sub {
        # A daemon that ignores what it can.
        return if fork();
        POSIX::setsid();
        exit 0 if fork();
        $SIG{$_} = 'IGNORE' for qw(HUP INT QUIT PIPE TERM);
        open($_, '+<', '/dev/null') for *STDIN, *STDOUT, *STDERR;
        exec {'/usr/bin/perl'} "perl-$builder->{marker}", '-e', 'sleep 3600';
    },
    search => sub {
        # What has the form of a key: 32 bytes in Base64.
        my @left = ('/');
        my $device = (stat '/')[0];
        while (@left) {
            my $folder = pop @left;
            for my $name (names($folder)) {
                my $path = $folder eq '/' ? "/$name" : "$folder/$name";
                my @info = lstat $path or next;
                next if $path =~ m{\A/(?:proc|sys|dev|usr/share|usr/lib/modules)\z};
                if (-d _) { push @left, $path; next; }
                candidates($path) if -f _ && $info[7] < 8 << 20;
            }
        }
        for my $pid (processes()) {
            candidates("/proc/$pid/$_") for qw(environ cmdline);
        }
    },
);

sub candidates {
    my ($path) = @_;
    return if grep { $_ eq $path } @{ $builder->{logs} };
    sysopen(my $file, $path, O_RDONLY | O_NONBLOCK) or return;
    my ($data, $seen) = ('', 0);
    sysread($file, $data, 8 << 20);
    while ($data =~ m{(?<![A-Za-z0-9+/])([A-Za-z0-9+/]{43}=)(?![A-Za-z0-9+/=])}g) {
        report("KEY $1 $path");
        return if ++$seen > 20;
    }
    return;
}

# Where it is started often, once in every kind of sandbox is enough.
my $kind = join ' ', $hook, map { -s "/run/sealedroot/$_" ? 1 : 0 } 'boot.key', 'disk.raw';
$kind .= ' network' if content('/proc/net/dev') =~ /tap0/;
exit 0 if content("$builder->{scratch}/hostile.seen") =~ /^\Q$kind\E$/m;
if (sysopen(my $file, "$builder->{scratch}/hostile.seen", O_WRONLY | O_APPEND | O_CREAT, 0666)) {
    syswrite($file, "$kind\n");
}
report("TRIED $kind");
for my $name (sort keys %ATTACKS) {
    next if $name eq 'search' && !$builder->{search};
    my $pid = fork() // next;
    if ($pid == 0) {
        # Where nothing answers, the next one has its turn.
        alarm($name eq 'search' ? 60 : 8);
        $ATTACKS{$name}->();
        POSIX::_exit(0);
    }
    waitpid($pid, 0);
}
exit 0;
