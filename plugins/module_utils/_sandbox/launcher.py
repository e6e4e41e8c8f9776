# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Run one command of an image in its sandbox on the builder.

The module image_runtime puts this file on the builder, so it imports the standard library only, and of that what loads
quickly: it runs for every command. bwrap(1) makes the sandbox. What bwrap has no options for is done here first: a
session keyring, ids that are nobody's on the builder, a network without the builder's loopback, limits, and an end.

docs/sandbox.md says what a command in an image can reach, and which test shows it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import select
import stat
import struct
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import typing as t

# The exit status of a command that was stopped here, or never began; the last line of standard error begins with SAYS.
STOPPED = 125
SAYS = "sandbox: "

IN_IMAGE = "/run/sealedroot"
PYTHON = f"{IN_IMAGE}/python"
# What is there for a command that asks for it, and else an empty file or directory.
SECRETS = ("boot.key", "luks.header")
OUTPUT = "esp"
DISK = "disk.raw"
# Where the image is while Python starts: see python_argv.
OUTSIDE = "/image"

# What package managers and account tools need. Everything else is dropped: an image's script must not
# mount, load modules, make device nodes, set the clock, trace or reboot (capabilities(7)). Not
# CAP_DAC_READ_SEARCH: CAP_DAC_OVERRIDE reads as much, and open_by_handle_at(2) would with it open every file
# of a mounted file system.
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
)

# Nothing of the controller's or builder's environment is passed on.
ENVIRONMENT = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "LOGNAME": "root",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SHELL": "/bin/sh",
    "TERM": "dumb",
    "USER": "root",
}
# Of the C library and OpenSSL of our own Python: both would load libraries of the image where its files say so.
PYTHON_ENVIRONMENT = {"LC_ALL": "C", "OPENSSL_CONF": "/dev/null"}

# Of the builder, and readable for root in any namespace (proc(5)).
HIDDEN = ("cmdline", "kallsyms", "kcore", "key-users", "keys", "kmsg", "sched_debug", "timer_list")
# A link in one of these places would lead a mount elsewhere.
MOUNT_POINTS = ("dev", "proc", "run", "sys", "tmp")

# What bwrap needs of the builder, with its libraries, wherever file systems are mounted.
NEEDED = (
    "/",
    "/dev",
    "/proc",
    "/bin",
    "/lib",
    "/lib64",
    "/sbin",
    "/usr",
    "/usr/lib",
    "/usr/lib64",
    "/usr/bin",
)

# Root of the image is this user on the builder, and so on for all others: nobody, where the kernel can map ids of
# mounts. User namespaces of systemd and others stay below (https://systemd.io/UIDS-GIDS).
FIRST_ID = 1 << 31
IDS = FIRST_ID - 2

MIB = 1 << 20
MOST_OUTPUT = 64 * MIB
MOST_PROCESSES = 4096
SHARED_MEMORY = 64 * MIB
SLIRP_SECONDS = 20
# Link-local addresses, which are most clouds', and those of Alibaba's, Oracle's and Azure's that are not.
METADATA = (
    ("169.254.0.0", "255.255.0.0"),
    ("100.100.100.200", "255.255.255.255"),
    ("192.0.0.192", "255.255.255.255"),
    ("168.63.129.16", "255.255.255.255"),
)

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_CLONE_NEWPID, _CLONE_NEWNET = 0x20000000, 0x40000000
_MS_RDONLY, _MS_NOSUID, _MS_REMOUNT = 1, 2, 0x20
_MS_BIND, _MS_PRIVATE, _MS_REC = 0x1000, 1 << 18, 0x4000
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH, _MOUNT_ATTR_IDMAP = 1, 4, 0x00100000
# The same for every architecture.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_KEYCTL_JOIN_SESSION_KEYRING = 1
_PR_SET_PDEATHSIG = 1
_SIGKILL, _SIGTERM, _SIG_IGN = 9, 15, 1
_MNT_DETACH = 2
_LOOP_CTL_GET_FREE, _LOOP_SET_FD, _LOOP_SET_STATUS64 = 0x4C82, 0x4C00, 0x4C04
_LO_FLAGS_AUTOCLEAR = 4
_SIOCADDRT, _RTF_UP, _RTF_REJECT = 0x890B, 1, 0x200

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class SandboxError(Exception):
    """The sandbox cannot be made, for a reason that the message says."""


class Options:
    """What one command asks for; the connection's options say what each is."""

    root = ""
    device = ""
    root_device = ""
    disk = ""
    network = ""
    secrets = ""
    output = ""
    # Only to see whether the ids of the root can be mapped; nothing is made in it.
    probe = ""
    deadline = "3600"

    def __init__(self, words: t.Sequence[str]) -> None:
        """Read ``NAME=VALUE ... [env:NAME=VALUE ...] shell COMMAND``, or ``python ARGUMENT ...`` in the end."""
        self.environment: t.Dict[str, str] = {}
        self.is_python = False
        self.arguments: t.List[str] = []
        for index, word in enumerate(words):
            if word in ("shell", "python"):
                self.is_python = word == "python"
                self.arguments = list(words[index + 1 :])
                return
            name, _equals, value = word.partition("=")
            if name.startswith("env:"):
                self.environment[name[len("env:") :]] = value
            elif hasattr(Options, name):
                setattr(self, name, value)
        raise SandboxError("neither shell nor python is asked for")


class Settings:
    """What image_runtime found out about the builder, from lines ``NAME=VALUE``."""

    def __init__(self, text: str) -> None:
        values = dict(line.partition("=")[::2] for line in text.splitlines())
        self.bwrap = values["bwrap"]
        self.loader = values["loader"]
        self.keyctl = int(values["keyctl"])
        self.slirp4netns = values["slirp4netns"]
        self.maps_ids = values["maps_ids"] == "True"


class Places:
    """Where on the builder the parts of the sandbox are for bwrap."""

    DIRECTORIES = ("root", "given", "secrets", "own")

    def __init__(self, runtime: str, options: Options) -> None:
        self.root = options.root
        self.given = f"{runtime}/given"
        self.secrets = f"{runtime}/secrets"
        self.own = f"{runtime}/own"
        self.empty = f"{runtime}/sandbox/empty"
        # A copy: /proc/1/exe leads to it, and where root is root it could be given another mode or capabilities.
        self.bwrap = f"{runtime}/sandbox/bwrap"
        self.disk = options.disk
        self.device = ""


def bwrap_argv(options: Options, settings: Settings, at: Places, *, seccomp: int) -> t.List[str]:
    """Return the argv of bwrap(1), which reads the system call filter from the descriptor *seccomp*.

    Every mount is made in a namespace of the command's own, so none is left on the builder, and the root
    is changed by pivot_root(2), which, other than chroot(2), has no way back. bwrap makes the image's root
    nosuid and nodev.
    """
    image = OUTSIDE if options.is_python else ""
    argv = [at.bwrap, "--die-with-parent", "--new-session", "--hostname", "localhost"]
    argv += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    argv += [] if options.network else ["--unshare-net"]
    # A module is process 1, which keeps its streams from all others. Else that is bwrap, whose streams are everybody's.
    argv += ["--as-pid-1"] if options.is_python else []
    argv += ["--seccomp", str(seccomp)]
    argv += ["--bind", at.root, image or "/", "--dev", f"{image}/dev"]
    argv += ["--size", str(SHARED_MEMORY), "--perms", "1777", "--tmpfs", f"{image}/dev/shm"]
    if at.device:
        # Under the name that it was mounted by, which grub-probe looks for, and under the one that it will have in the
        # machine, which GRUB's configuration names.
        argv += ["--dev-bind", at.device, f"{image}{options.device}"]
        if options.root_device:
            argv += ["--symlink", options.device, f"{image}{options.root_device}"]
    argv += ["--remount-ro", f"{image}/dev", *proc_options(at.empty, f"{image}/proc")]
    # An empty /sys: it is the builder's.
    argv += ["--size", str(MIB), "--tmpfs", f"{image}/sys", "--remount-ro", f"{image}/sys"]
    argv += ["--bind", f"{at.own}/run", f"{image}/run"]
    argv += [*_given(options, at, image), "--size", str(_memory() // 2), "--perms", "1777"]
    argv += ["--tmpfs", f"{image}/tmp", "--cap-drop", "ALL"]
    for capability in CAPABILITIES:
        argv += ["--cap-add", capability]
    environment = {**ENVIRONMENT, **options.environment}
    if not options.is_python:
        program = ["/bin/sh", "-c", *options.arguments]
    else:
        argv += ["--ro-bind", at.given, IN_IMAGE, "--remount-ro", "/"]
        program = python_argv(settings.loader, options.arguments)
        for name in PYTHON_ENVIRONMENT:
            if name in environment:
                environment[f"SEALEDROOT_{name}"] = environment[name]
        environment.update(PYTHON_ENVIRONMENT, SEALEDROOT_IMAGE=OUTSIDE)
    return [*argv, *_environment(environment), "--chdir", "/", "--", *program]


def proc_options(empty: str, path: str) -> t.List[str]:
    """Return the options for a /proc of the command's own processes, with the file *empty* in the place of some.

    bwrap leaves the builder's settings in it writable for root.
    """
    argv = ["--proc", path]
    for name in HIDDEN:
        if os.path.exists(f"/proc/{name}"):
            argv += ["--ro-bind", empty, f"{path}/{name}"]
    return [*argv, "--remount-ro", path]


def _environment(values: t.Mapping[str, str]) -> t.List[str]:
    return [word for name, value in values.items() for word in ("--setenv", name, value)]


def _given(options: Options, at: Places, image: str) -> t.List[str]:
    """What the builder gives, read-only, and what it may take in exchange."""
    argv = ["--ro-bind", at.given, f"{image}{IN_IMAGE}"]
    argv += ["--bind", f"{at.own}/tmp", f"{image}{IN_IMAGE}/tmp"]
    for name in SECRETS if options.secrets else ():
        argv += ["--ro-bind", f"{at.secrets}/{name}", f"{image}{IN_IMAGE}/{name}"]
    if options.output:
        argv += ["--bind", f"{at.own}/{OUTPUT}", f"{image}{IN_IMAGE}/{OUTPUT}"]
    if at.disk:
        argv += ["--ro-bind", at.disk, f"{image}{IN_IMAGE}/{DISK}"]
    return argv


def python_argv(loader: str, arguments: t.Sequence[str]) -> t.List[str]:
    """Return the argv of the builder's Python, which begins outside of the image.

    There is no /etc there: a loader in the image would obey its /etc/ld.so.preload. sitecustomize then changes
    the root, before anything else runs. -I: without it, Python would take modules from the current directory.
    """
    libraries = f"{PYTHON}/libs"
    argv = [f"{libraries}/{loader}", "--inhibit-cache", "--library-path", libraries]
    return [*argv, f"{PYTHON}/bin/python3", "-I", "-B", "-X", "utf8", *arguments]


def check_root(options: Options, at: Places) -> None:
    """Refuse a root in which a mount would go elsewhere, or could not be made."""
    if not os.path.isdir(options.root):
        raise SandboxError(
            f"{options.root} is not a directory: set image_root to the root of the image"
        )
    for name in MOUNT_POINTS:
        path = os.path.join(options.root, name)
        if os.path.lexists(path) and not stat.S_ISDIR(os.lstat(path).st_mode):
            raise SandboxError(f"/{name} of the image is not a directory: make it one in the root")
    gate = f"{at.own}/run{IN_IMAGE[len('/run') :]}"
    if not os.path.isdir(gate) or os.path.islink(gate):
        raise SandboxError(
            f"{gate} is not there: run the module image_runtime for this directory first"
        )


def _call(result: int, what: str) -> int:
    """Return the result of a system call, or raise what the kernel said."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _unshare(flags: int) -> None:
    _call(_libc.unshare(flags), "unshare")


def join_session_keyring(number: int) -> None:
    """Leave the keyring of who is logged in; *number* is keyctl(2)'s on this architecture."""
    try:
        _call(_libc.syscall(number, _KEYCTL_JOIN_SESSION_KEYRING, None), "keyctl")
    except OSError as exc:
        # A kernel without keyrings, or a container whose filter forbids them.
        if exc.errno not in (errno.ENOSYS, errno.EPERM):
            raise


def user_namespace() -> int:
    """Return a descriptor of a new user namespace whose root is FIRST_ID."""
    ready, go = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _unshare(_CLONE_NEWUSER)
            _quarter_watches()
            os.write(ready[1], b"+")
            os.close(go[1])
            os.read(go[0], 1)
        finally:
            os._exit(0)
    os.close(ready[1])
    try:
        if not os.read(ready[0], 1):
            raise OSError(errno.EPERM, "no user namespace can be made")
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:
                file.write(f"0 {FIRST_ID} {IDS}\n")
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for handle in (ready[0], *go):
            os.close(handle)
        os.waitpid(pid, 0)


def _quarter_watches() -> None:
    """Take a quarter of what one user may watch (inotify(7)): the builder's root pays for this user namespace.

    Two commands can run at once, one of them in the background.
    """
    for name in ("instances", "watches"):
        try:
            with open(f"/proc/sys/fs/inotify/max_user_{name}", encoding="ascii") as file:
                quarter = int(file.read()) // 4
            _write(f"/proc/sys/user/max_inotify_{name}", str(quarter))
        except (OSError, ValueError):
            continue  # a kernel without it


def _clone(path: str, namespace: int = -1) -> int:
    """Return a descriptor of a new mount of *path*, with the ids of *namespace* (mount_setattr(2))."""
    flags = ctypes.c_uint(_OPEN_TREE_CLONE | os.O_CLOEXEC)
    tree = _call(_libc.syscall(_OPEN_TREE, _AT_FDCWD, path.encode(), flags), f"mount {path}")
    if namespace >= 0:
        attributes = struct.pack("QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, namespace)
        size = ctypes.c_size_t(len(attributes))
        call = (_MOUNT_SETATTR, tree, b"", ctypes.c_uint(_AT_EMPTY_PATH), attributes, size)
        _call(_libc.syscall(*call), f"map the ids of {path}")
    return tree


def _place(tree: int, target: str) -> None:
    """Mount what :func:`_clone` returned at *target*."""
    empty = ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH)
    call = (_MOVE_MOUNT, tree, b"", _AT_FDCWD, target.encode(), empty)
    _call(_libc.syscall(*call), f"mount {target}")
    os.close(tree)


def let_go(*wanted: str) -> None:
    """Leave the builder's mounts that neither bwrap needs nor the paths *wanted*, in this process's mount namespace.

    The process that waits for bwrap stays in it, and would hold the disks of other builds.
    """
    for path in reversed(mount_points()):
        if path in NEEDED or path.startswith("/dev/"):
            continue
        if not any(it == path or is_below(it, path) for it in wanted):
            # Those in one that is gone are gone with it.
            _libc.umount2(os.fsencode(path), _MNT_DETACH)


def is_below(path: str, directory: str) -> bool:
    """Say whether *path* is in *directory*."""
    return path.startswith(f"{directory.rstrip('/')}/")


def mount_points() -> t.List[str]:
    """Return where this process sees file systems, in the order in which they were mounted."""
    with open("/proc/self/mountinfo", "rb") as file:
        names = [line.split(b" ")[4] for line in file]
    # Blanks and the like are octal numbers there (proc(5)).
    return [
        os.fsdecode(it.decode("unicode_escape").encode("latin-1") if b"\\" in it else it)
        for it in names
    ]


def map_ids(at: Places, settings: Settings, namespace: int, *, probe: bool) -> None:
    """Become root of a user *namespace*, and say where it finds the parts of the sandbox.

    The parts lie below directories that only the builder's root may enter, so they are mounted on a tmpfs first.
    All of it is in a mount namespace of this process.
    """
    trees = {name: _clone(getattr(at, name)) for name in Places.DIRECTORIES[1:]}
    trees["root"] = _clone(at.root, namespace)
    if at.disk:
        trees["disk"] = _clone(at.disk)
    number = os.stat(at.device).st_rdev if at.device else 0
    # The copy is in a directory that nobody may enter, and this one is not the image's to change.
    at.bwrap = settings.bwrap
    let_go(at.bwrap)
    stage = "/tmp"
    options = b"mode=0755,size=1m"
    _call(_libc.mount(b"sealedroot", stage.encode(), b"tmpfs", ctypes.c_ulong(0), options), "mount")
    for name, tree in trees.items():
        path = f"{stage}/{name}"
        if name in Places.DIRECTORIES:
            os.mkdir(path, 0o755)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_RDONLY, 0o444))
        _place(tree, path)
        setattr(at, name, path)
    at.empty = f"{stage}/empty"
    os.close(os.open(at.empty, os.O_CREAT | os.O_RDONLY, 0o444))
    if at.device:
        at.device = f"{stage}/device"
        os.mknod(at.device, stat.S_IFBLK | 0o400, number)
        os.chown(at.device, FIRST_ID, FIRST_ID)
    if probe:
        at.root = f"{stage}/probe"
        os.mkdir(at.root)
        os.chown(at.root, FIRST_ID, FIRST_ID)
    _call(_libc.setns(namespace, _CLONE_NEWUSER), "setns")
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def keep_as_it_is(*paths: str) -> None:
    """Let nobody change content, modes, owners and times of what bwrap shows of the builder in the image.

    That is itself, as /proc/1/exe, and the device nodes: on a read-only mount, a node is written to as ever. bwrap has
    no such mount with nodes that work.
    """
    for path in paths:
        for flags in (_MS_BIND | _MS_REC, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID):
            name = os.fsencode(path)
            _call(_libc.mount(name, name, None, ctypes.c_ulong(flags), None), f"mount {path}")


def read_only_loop(device: str) -> t.Tuple[str, int]:
    """Return a second loop device over *device* that cannot be written, and the descriptor that holds it.

    The kernel releases it when the last descriptor is closed, whatever closed it (loop(4), LO_FLAGS_AUTOCLEAR).
    """
    backing = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while True:
            control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
            try:
                path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            finally:
                os.close(control)
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                # It is read-only since the file behind it is.
                fcntl.ioctl(handle, _LOOP_SET_FD, backing)
                # struct loop_info64, with its flags at 52.
                info = bytearray(232)
                struct.pack_into("I", info, 52, _LO_FLAGS_AUTOCLEAR)
                fcntl.ioctl(handle, _LOOP_SET_STATUS64, info)
                return path, handle
            except OSError as exc:
                os.close(handle)
                # Another process was faster.
                if exc.errno != errno.EBUSY:
                    raise
    finally:
        os.close(backing)


def _memory() -> int:
    """The builder's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class ControlGroup:
    """Limits of memory, processes and processor time, where control groups are mounted (cgroups(7))."""

    BASE = "/sys/fs/cgroup"
    NAME = "sealedroot"

    def __init__(self, name: str = "") -> None:
        """Take a *name* of its own for each group of a process that makes several: the last one goes a moment later."""
        self._name = name or str(os.getpid())
        self._directories: t.List[str] = []
        self._held = -1
        self._wanted: t.Dict[str, t.Mapping[str, str]] = {}
        self._controllers = ""
        memory, processes = str(_memory() * 3 // 4), str(MOST_PROCESSES)
        # Half of what every other process has: who shares the builder goes first.
        if os.path.exists(f"{self.BASE}/cgroup.controllers"):
            self._controllers = "+cpu +memory +pids"
            self._want("", {"memory.max": memory, "pids.max": processes, "cpu.weight": "50"})
            return
        self._want("/memory", {"memory.limit_in_bytes": memory})
        self._want("/pids", {"pids.max": processes})
        self._want("/cpu", {"cpu.shares": "512"})

    def _want(self, hierarchy: str, limits: t.Mapping[str, str]) -> None:
        if os.path.exists(f"{self.BASE}{hierarchy}/cgroup.procs"):
            self._wanted[f"{self.BASE}{hierarchy}/{self.NAME}/{self._name}"] = limits

    def make(self) -> None:
        """Make the group in every hierarchy where that can be done."""
        for path, limits in self._wanted.items():
            above = os.path.dirname(path)
            try:
                self._make_directory(path)
                if self._controllers:
                    for folder in (os.path.dirname(above), above):
                        _write(f"{folder}/cgroup.subtree_control", self._controllers)
                for name, value in limits.items():
                    _write(f"{path}/{name}", value)
                # All commands together have no more memory than one, but a process of one is not another's.
                for name in limits:
                    if name.startswith("memory."):
                        _write(f"{above}/{name}", limits[name])
                self._directories.append(path)
            except OSError:
                # Not there, or not ours to make: in a container. The limits of each process hold.
                self._remove(path)

    @staticmethod
    def _make_directory(path: str) -> None:
        for _attempt in range(10):
            try:
                os.makedirs(path, exist_ok=True)
                return
            except FileNotFoundError:
                # Another launcher removed the directory above between two steps.
                continue

    def enter(self) -> None:
        """Move this process into the group."""
        for name in self.lists:
            _write(name, str(os.getpid()))

    def remove_later(self) -> None:
        """Have the group removed at :meth:`close` or when this process has ended, whatever ended it.

        By one that holds nothing else. To be called before the group is made, or it might be left.
        """
        if not self._wanted:
            return
        # The other end is open until this process ends; what it starts has no such descriptor.
        reading, self._held = os.pipe()
        child = os.fork()
        if child:
            os.close(reading)
            os.waitpid(child, 0)
            return
        try:
            os.setsid()
            # By its command line it is a launcher, which a teardown ends; what it does is over then.
            _libc.signal(_SIGTERM, ctypes.c_void_p(_SIG_IGN))
            # No child of the launcher, which waits for all that it has.
            if os.fork():
                return
            os.chdir("/")
            for name in os.listdir("/proc/self/fd"):
                if int(name) not in (0, 1, 2, reading):
                    try:
                        os.close(int(name))
                    except OSError:
                        continue  # the one that listed them
            silent = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(silent, number)
            os.read(reading, 1)
            self.remove()
        finally:
            os._exit(0)

    @property
    def lists(self) -> t.List[str]:
        """The files that a process writes its number to, to enter the group."""
        return [f"{directory}/cgroup.procs" for directory in self._directories]

    def close(self) -> None:
        """Have the group removed as soon as nothing is in it."""
        if self._held >= 0:
            os.close(self._held)

    def remove(self) -> None:
        """Remove the group, which its last process leaves a moment after the launcher."""
        for path in self._wanted:
            self._remove(path)

    @staticmethod
    def _remove(path: str) -> None:
        for _attempt in range(5000):
            try:
                os.rmdir(path)
                os.rmdir(os.path.dirname(path))
            except OSError as exc:
                if exc.errno == errno.EBUSY and os.path.isdir(path):
                    time.sleep(0.001)
                    continue
            return


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def _limits() -> None:
    """Limit what holds for each process (setrlimit(2))."""
    # One byte: of a program that has no more, the kernel writes no file, and starts no handler either (core(5)).
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, files), files))


def _die_with_parent(parent: int = -1) -> None:
    """End when the parent does; *parent* is a pipe whose other end it alone holds.

    The kernel forgets this when a process changes its user, so it is asked for again after that.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if parent >= 0 and select.select([parent], [], [], 0)[0]:
        os._exit(STOPPED)  # it has ended before


def _keep_descriptors() -> None:
    """Pass on no descriptor that this process was started with, but for the three standard streams."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2:
                os.set_inheritable(int(name), False)
        except OSError:
            continue  # the one that listed them


def name_servers() -> t.List[str]:
    """Return the builder's name servers, those that others can reach.

    Whatever slirp4netns takes for the server of names is reached by the image at 10.0.2.3, at every port.
    """
    found: t.List[str] = []
    # The second has what is behind systemd-resolved's own address.
    for path in ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"):
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = [line.split() for line in file]
        except OSError:
            continue
        found += [it[1] for it in lines if len(it) > 1 and it[0] == "nameserver"]
    return [it for it in found if ":" not in it and not it.startswith(("127.", "0."))]


def network(settings: Settings, pid: int, resolv_conf: str) -> None:
    """Give the network namespace of *pid* a way out, which ends with it.

    slirp4netns(1) leads nowhere on the builder's own loopback, if its server of names is not there.
    """
    servers = name_servers()
    if not servers:
        raise SandboxError(
            "the builder's name server is on its loopback, which an image must not reach: name another one, with"
            " an IPv4 address, in /etc/resolv.conf or /run/systemd/resolve/resolv.conf"
        )
    with open(resolv_conf, "w", encoding="ascii") as file:
        file.write("".join(f"nameserver {it}\n" for it in servers))
    os.chmod(resolv_conf, 0o644)
    if not settings.slirp4netns:
        raise SandboxError(
            "slirp4netns is not installed on the builder, and this command needs a network"
        )
    ready, told = os.pipe()
    argv = [settings.slirp4netns, "--configure", "--mtu=65520", "--disable-host-loopback"]
    argv += ["--enable-sandbox", f"--ready-fd={told}", "--netns-type=path"]
    process = os.fork()
    if process == 0:
        try:
            _die_with_parent()
            os.set_inheritable(told, True)
            silent = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(silent, number)
            _unshare(_CLONE_NEWNS)
            _make_private()
            source = resolv_conf.encode()
            bind = ctypes.c_ulong(_MS_BIND)
            _call(_libc.mount(source, b"/etc/resolv.conf", None, bind, None), "mount")
            os.execve(settings.slirp4netns, [*argv, f"/proc/{pid}/ns/net", "tap0"], {})  # noqa: S606
        finally:
            os._exit(STOPPED)
    os.close(told)
    try:
        if not select.select([ready], [], [], SLIRP_SECONDS)[0] or not os.read(ready, 1):
            raise SandboxError(
                "slirp4netns gives no network: see whether it runs by itself on the builder"
            )
    finally:
        os.close(ready)


def refuse_metadata() -> None:
    """Lead nothing to where clouds answer a machine with its credentials.

    An image cannot change routes: it lacks CAP_NET_ADMIN. The entry is struct rtentry of linux/route.h.
    """
    # Not at the top: few commands have a network, and it takes milliseconds to load.
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        for network, mask in METADATA:
            addresses = [
                struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(it))
                for it in (network, "0.0.0.0", mask)  # noqa: S104 - no gateway
            ]
            entry = struct.pack("L16s16s16sH", 0, *addresses, _RTF_UP | _RTF_REJECT)
            fcntl.ioctl(handle, _SIOCADDRT, entry.ljust(120, b"\0"))


def wait_for(pid: int) -> int:
    """Wait for all children, and return the status of *pid*, with which the kernel ends the others.

    An init cannot end before somebody has waited for every other process of its namespace.
    """
    found = 0
    while True:
        try:
            ended, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return found
        found = status if ended == pid else found


def _make_private() -> None:
    """Let no mount of this process's namespace reach the builder's."""
    private = ctypes.c_ulong(_MS_REC | _MS_PRIVATE)
    _call(_libc.mount(None, b"/", None, private, None), "mount")


def _begin(
    options: Options,
    settings: Settings,
    at: Places,
    *,
    seccomp: int,
    namespace: int,
    ready: int,
    go: int,
    alive: int,
) -> None:
    """Become bwrap, in the child of :func:`run`; a network is asked for by *ready* and there after *go*."""
    _die_with_parent(alive)
    _unshare(_CLONE_NEWNS | (_CLONE_NEWNET if options.network else 0))
    if options.network:
        os.write(ready, b"+")
        if not os.read(go, 1):
            os._exit(STOPPED)
        refuse_metadata()
    _make_private()
    if not settings.maps_ids:
        let_go(at.bwrap, at.root, at.given, at.own, at.disk)
        keep_as_it_is(at.bwrap, "/dev")
    else:
        # Who may write to a node may say that it was written now.
        keep_as_it_is("/dev")
        map_ids(at, settings, namespace, probe=bool(options.probe))
        _die_with_parent(alive)
        resource.setrlimit(resource.RLIMIT_NPROC, (MOST_PROCESSES, MOST_PROCESSES))
    _limits()
    os.umask(0o022)
    os.set_inheritable(seccomp, True)
    argv = bwrap_argv(options, settings, at, seccomp=seccomp)
    os.execve(at.bwrap, argv, {})  # noqa: S606 - a shell is what this is to be without


def run(options: Options, settings: Settings, runtime: str) -> int:
    """Run the command and return its status; what it prints goes to our own standard output and error."""
    at = Places(runtime, options)
    check_root(options, at)
    join_session_keyring(settings.keyctl)
    if os.isatty(0):
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    # The second is open until this process ends.
    at.device, _held = read_only_loop(options.device) if options.device else ("", -1)
    group = ControlGroup()
    group.remove_later()
    group.make()
    seccomp = os.open(f"{runtime}/sandbox/filter.bpf", os.O_RDONLY)
    outputs = [os.pipe(), os.pipe()]
    if settings.maps_ids:
        # Many a script opens /dev/stderr and its like by name.
        for handle in (0, outputs[0][1], outputs[1][1]):
            # A pipe without a name; one with a name is somebody's file.
            if os.readlink(f"/proc/self/fd/{handle}").startswith("pipe:"):
                os.fchown(handle, FIRST_ID, FIRST_ID)
    ready, go, alive = os.pipe(), os.pipe(), os.pipe()
    namespace = user_namespace() if settings.maps_ids else -1
    # All children are in a process namespace that the first one is the init of: when that ends, for it has to end with
    # this process, the kernel ends whatever bwrap and the image have started by then.
    _unshare(_CLONE_NEWPID)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(alive[1])
            for number, (_reading, writing) in enumerate(outputs, start=1):
                os.dup2(writing, number)
            os.close(go[1])
            group.enter()
            ends = {"ready": ready[1], "go": go[0], "alive": alive[0]}
            _begin(options, settings, at, seccomp=seccomp, namespace=namespace, **ends)
        except BaseException as exc:
            os.write(2, f"{SAYS}{exc}\n".encode())
        finally:
            os._exit(STOPPED)
    for handle in (outputs[0][1], outputs[1][1], ready[1], go[0], seccomp):
        os.close(handle)
    stopped = "it was interrupted"
    try:
        if options.network and os.read(ready[0], 1):
            resolv_conf = f"{runtime}/sandbox/resolv.conf"
            network(settings, pid, resolv_conf)
            os.write(go[1], b"+")
        stopped = _pass_on([outputs[0][0], outputs[1][0]], int(options.deadline))
    finally:
        if stopped:
            os.kill(pid, _SIGKILL)
        status = wait_for(pid)
    if stopped:
        raise SandboxError(stopped)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _pass_on(sources: t.List[int], deadline: int) -> str:
    """Copy two streams to our standard output and error until both end; return why that was stopped, if it was."""
    targets = dict(zip(sources, (1, 2)))
    left = dict.fromkeys(sources, MOST_OUTPUT)
    poll = select.poll()
    for source in sources:
        poll.register(source, select.POLLIN)
    until = time.monotonic() + deadline
    while targets:
        wait = until - time.monotonic()
        events = poll.poll(max(0, wait * 1000)) if wait > 0 else []
        if not events:
            return f"the command did not end within {deadline} seconds and was stopped"
        for source, _event in events:
            data = os.read(source, 65536)
            left[source] -= len(data)
            if left[source] < 0:
                return f"the command printed more than {MOST_OUTPUT // MIB} MiB and was stopped"
            if not data:
                poll.unregister(source)
                del targets[source]
            while data:
                # As much as a pipe takes at once: who reads it can stop.
                wait = max(0, until - time.monotonic())
                if not select.select([], [targets[source]], [], wait)[1]:
                    return f"what the command printed was not read for {deadline} seconds"
                data = data[os.write(targets[source], data[: select.PIPE_BUF]) :]
    return ""


def main() -> int:
    """Run what the arguments ask for."""
    _die_with_parent()
    _keep_descriptors()
    runtime = os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0])))
    try:
        with open(f"{runtime}/sandbox/settings", encoding="utf-8") as file:
            settings = Settings(file.read())
        return run(Options(sys.argv[1:]), settings, runtime)
    except (OSError, SandboxError) as exc:
        # A line of its own, wherever the command's output ends.
        os.write(2, f"\n{SAYS}{exc}\n".encode())
        return STOPPED


if __name__ == "__main__":
    raise SystemExit(main())
