# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a hostile program of an image reaches: each attack is played without the sandbox, where it wins, and in it."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
import typing as t

import processes
import pytest
import small_root
from ansible.errors import AnsibleError
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader
from ansible_collections.sealedroot.image.plugins.module_utils._launcher import bwrap, ids, limits
from ansible_collections.sealedroot.image.plugins.module_utils._launcher.request import STOPPED

PYTHON = "/run/sealedroot/python3"
CANARY = f"canary-{os.getpid()}"
# What every attack begins with. call() is a system call, whose error ends the attack.
PRELUDE = """
import ctypes, errno, fcntl, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *words):
    function = getattr(libc, name)
    result = function(*words)
    if result < 0:
        sys.exit(f"{name}: {errno.errorcode[ctypes.get_errno()]}")
    return result
"""


class Place(t.NamedTuple):
    """A root, its sandbox, and what is on the builder beside it."""

    path: pathlib.Path
    root: pathlib.Path
    device: str
    port: int
    key: int


@pytest.fixture(scope="module")
def listener() -> t.Iterator[int]:
    """A service on the builder's loopback, and another one on an abstract socket."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.socket(socket.AF_UNIX) as other:
        other.bind(f"\0{CANARY}")
        other.listen()
        yield one.getsockname()[1]


@pytest.fixture(scope="module")
def key() -> t.Iterator[int]:
    """A key in the keyring of the builder's root (add_key(2), KEY_SPEC_USER_KEYRING)."""
    import ctypes

    libc = ctypes.CDLL("libkeyutils.so.1", use_errno=True)
    number = libc.add_key(b"user", CANARY.encode(), b"secret", 6, -4)
    assert number > 0
    yield number
    libc.keyctl_unlink(number, -4)


@pytest.fixture(scope="module", params=["mapped ids", "plain ids"])
def place(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    listener: int,
    key: int,
) -> t.Iterator[Place]:
    path = tmp_path_factory.mktemp("place")
    with file_system(path) as device:
        root = small_root.make(path / "root")
        with small_root.sandbox(path / "run", root) as done:
            assert done["maps_ids"], done
            if request.param == "plain ids":
                use_plain_ids(path / "run")
            before = mounted(path)
            yield Place(path, root, device, listener, key)
            assert mounted(path) == before


def mounted(path: pathlib.Path) -> list[str]:
    """Return the lines of the builder's mount table that are about *path* or a root."""
    lines = pathlib.Path("/proc/self/mounts").read_text().splitlines()
    return [line for line in lines if str(path) in line or "sealedroot /tmp" in line]


def file_system(path: pathlib.Path) -> t.Any:
    """Mount an ext4 of its own as ``root``, and give its device."""
    import contextlib

    @contextlib.contextmanager
    def on_loop() -> t.Iterator[str]:
        disk, root = path / "disk.raw", path / "root"
        with disk.open("wb") as file:
            file.truncate(256 << 20)
        sh("mkfs.ext4", "-q", disk)
        loop = sh("losetup", "--find", "--show", disk)
        root.mkdir()
        sh("mount", loop, root)
        try:
            yield loop
        finally:
            sh("umount", root)
            sh("losetup", "--detach", loop)

    return on_loop()


def use_plain_ids(run: pathlib.Path) -> None:
    """Prepare the sandbox as on a builder whose kernel cannot map the ids of mounts."""
    settings = run / "sandbox" / "settings"
    settings.chmod(0o600)
    settings.write_text(settings.read_text().replace("maps_ids=True", "maps_ids=False"))
    for folder in ("own/run", "own/tmp", "own/esp", "secrets"):
        for it in (run / folder, *(run / folder).iterdir()):
            os.chown(it, 0, 0)


def sh(*argv: str | os.PathLike[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def connect(place: Place, **variables: t.Any) -> t.Any:
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    paths = {"image_root": str(place.root), "image_run": str(place.path / "run")}
    device = {"image_device": place.device}
    connection.set_options(var_options={**paths, **device, **variables})
    return connection


def in_image(place: Place, command: str, **variables: t.Any) -> tuple[int, str]:
    """Run a command in the image and return its status and all that it printed."""
    status, stdout, stderr = connect(place, **variables).exec_command(command)
    return status, (stdout + stderr).decode()


def attack(place: Place, code: str, **variables: t.Any) -> str:
    """Run an attack in the image; return what it printed."""
    script = place.path / "run" / "own" / "run" / "attack.py"
    script.write_text(PRELUDE + textwrap.dedent(code))
    script.chmod(0o644)
    return in_image(place, f"{PYTHON} /run/attack.py", **variables)[1].strip()


def on_builder(code: str, **environment: str) -> str:
    """Run an attack without a sandbox."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    return (done.stdout + done.stderr).strip()


# Each prints "reached" in the end, where it wins. {port}, {key}, {canary} and {device} are the builder's.
ATTACKS = {
    "a key in root's keyring": """
        libkeys = None
        number = {keyctl}
        buffer = ctypes.create_string_buffer(64)
        call("syscall", number, 11, {key}, buffer, 64)
        print("reached" if buffer.value == b"secret" else buffer.value)
        """,
    "a new key": """
        call("syscall", {add_key}, b"user", b"{canary}-new", b"x", 1, -4)
        call("syscall", {keyctl}, 9, call("syscall", {request_key}, b"user", b"{canary}-new", None, 0), -4)
        print("reached")
        """,
    "names of keys": """
        print("reached" if "{canary}" in open("/proc/keys").read() else "nothing")
        """,
    "a service on loopback": """
        for address in ("127.0.0.1", "10.0.2.2"):
            try:
                socket.create_connection((address, {port}), timeout=3)
                print("reached")
            except OSError as exc:
                print(exc)
        """,
    "an abstract socket": """
        it = socket.socket(socket.AF_UNIX)
        it.connect("\\0{canary}")
        print("reached")
        """,
    "a user namespace": 'call("unshare", 0x10000000); print("reached")',
    "a network namespace": 'call("unshare", 0x40000000); print("reached")',
    "a mount namespace": 'call("unshare", 0x20000); print("reached")',
    "a control group namespace": 'call("unshare", 0x2000000); print("reached")',
    "a namespace by clone": """
        pid = call("syscall", {clone}, 0x10000000 | 17, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        print("reached")
        """,
    "a namespace by clone3": """
        arguments = struct.pack("11Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)
        pid = call("syscall", 435, arguments, len(arguments))
        if pid == 0:
            os._exit(0)
        print("reached")
        """,
    "a loop device that it unbinds": """
        handle = os.open("{device}", os.O_RDONLY)
        # LOOP_GET_STATUS64, which does no harm; LOOP_CLR_FD is the same door.
        fcntl.ioctl(handle, 0x4C05, bytearray(232))
        print("reached")
        """,
    "a loop device, by a request with a high bit set": """
        handle = os.open("{device}", os.O_RDONLY)
        call("syscall", {ioctl}, handle, ctypes.c_ulong(0x100004C05), ctypes.create_string_buffer(232))
        print("reached")
        """,
    "a socket to the host of a virtual builder": """
        socket.socket(40, socket.SOCK_STREAM)
        print("reached")
        """,
    "frames of the network": """
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        print("reached")
        """,
    "the log of the kernel": """
        call("syscall", {syslog}, 3, ctypes.create_string_buffer(4096), 4096)
        print("reached")
        """,
    "a process of the same sandbox": """
        pid = os.fork()
        if pid == 0:
            os.pause()
        call("ptrace", 16, pid, 0, 0)
        os.kill(pid, 9)
        print("reached")
        """,
    "a descriptor of another process": """
        pid = os.fork()
        if pid == 0:
            os.pause()
        handle = call("syscall", {pidfd_open}, pid, 0)
        call("syscall", {pidfd_getfd}, handle, 0, 0)
        os.kill(pid, 9)
        print("reached")
        """,
    "what the whole builder has for asynchronous reads": """
        call("syscall", {io_setup}, 1, ctypes.byref(ctypes.c_ulong(0)))
        print("reached")
        """,
    "the builder's audit log": """
        socket.socket(16, socket.SOCK_RAW, 9)
        print("reached")
        """,
    "events of the builder's devices": """
        socket.socket(16, socket.SOCK_RAW, 15)
        print("reached")
        """,
    "a module of the kernel": 'call("syscall", {finit_module}, -1, b"", 0)',
    "a perf event": 'call("syscall", {perf_event_open}, b"\\0" * 128, 0, -1, -1, 0)',
}
# Whose call fails here on the builder, too, but for another reason.
NO_CONTROL = {
    "a module of the kernel",
    "a perf event",
    "a socket to the host of a virtual builder",
}
CALLS = (
    "add_key",
    "clone",
    "finit_module",
    "io_setup",
    "ioctl",
    "keyctl",
    "perf_event_open",
    "pidfd_getfd",
    "pidfd_open",
    "request_key",
    "syslog",
)


def filled(code: str, place: Place) -> str:
    from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import seccomp

    library = seccomp.load()
    words: dict[str, object] = {name: seccomp.number(library, name) for name in CALLS}
    words.update(port=place.port, key=place.key, canary=CANARY, device=place.device)
    for name, value in words.items():
        code = code.replace("{" + name + "}", str(value))
    return code


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_reaches_nothing(place: Place, name: str) -> None:
    code = filled(ATTACKS[name], place)
    printed = attack(place, code)
    assert "reached" not in printed
    # It was stopped, and did not break down before.
    assert not any(word in printed for word in ("SyntaxError", "NameError", "not found")), printed
    without = on_builder(code)
    if name in NO_CONTROL:
        assert without != printed
    else:
        assert "reached" in without, without


@pytest.mark.parametrize("name", ["a service on loopback", "an abstract socket"])
def test_a_network_does_not_lead_to_the_builder(place: Place, name: str) -> None:
    code = filled(ATTACKS[name], place)
    assert "reached" not in attack(place, code, image_network=True)


def test_a_network_leads_out(place: Place) -> None:
    """And only where a task asks for it."""
    code = 'print(sorted(it.split(":")[0].strip() for it in list(open("/proc/net/dev"))[2:]))'
    assert attack(place, code) == "['lo']"
    assert attack(place, code, image_network=True) == "['lo', 'tap0']"


def test_the_environment_of_every_process_is_empty_or_the_images(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_BUILDER", CANARY)
    status, printed = in_image(place, "cat /proc/*/environ | tr '\\0' '\\n'")
    assert status == 0 or "No such file" in printed
    assert "HOME=/root" in printed
    assert CANARY not in printed
    assert in_image(place, "cat /proc/1/environ") == (0, "")


def test_nodes_and_programs_of_the_builder_stay_as_they_are(place: Place) -> None:
    """A command of a shell has bwrap for its first process; a node has an owner, whom root may stand for."""
    paths = ("/usr/bin/bwrap", "/dev/full", "/dev/null", place.device)

    def state() -> list[tuple[int, ...]]:
        found = map(os.stat, paths)
        return [(it.st_mode, it.st_uid, it.st_mtime_ns, it.st_ctime_ns) for it in found]

    before = state()
    # To what it is, so that nothing is lost where it works.
    code = """
        for path in ("/proc/1/exe", "/dev/full", "/dev/null", "{device}"):
            try:
                os.chmod(path, os.stat(path).st_mode & 0o7777)
                print("reached", path)
            except OSError as exc:
                print(path, exc.strerror)
            try:
                os.utime(path)
                print("reached", path)
            except OSError as exc:
                print(path, exc.strerror)
        """
    printed = attack(place, filled(code, place))
    # Where ids are mapped, the node of the root's device is the sandbox's own.
    for path in ("/proc/1/exe", "/dev/full", "/dev/null"):
        assert f"reached {path}" not in printed
    assert state() == before


def test_where_clouds_answer_their_machines_leads_nowhere(place: Place) -> None:
    """With a machine's credentials, among other things."""
    code = """
        for address in ("169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16"):
            try:
                socket.create_connection((address, 80), timeout=5)
                print("reached")
            except OSError as exc:
                print(exc.strerror)
        """
    assert set(attack(place, code, image_network=True).splitlines()) == {"No route to host"}


def test_the_builder_keeps_most_of_what_may_be_watched(place: Place) -> None:
    code = """
        count = 0
        while libc.inotify_init() >= 0:
            count += 1
        print(count)
        """
    limit = int(pathlib.Path("/proc/sys/fs/inotify/max_user_instances").read_text())
    count = int(attack(place, code))
    # Where ids are not mapped, all of it is the image's to use up, and the page says so.
    assert count > 0
    assert (count <= limit // 4) is launcher_maps_ids(place)


def test_no_program_says_that_it_may_write_less_than_one_byte_of_a_crash(place: Place) -> None:
    """core(5): none is started for a program that may write one byte, and no program may say that it may less."""
    code = """
        import resource
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        print(resource.getrlimit(resource.RLIMIT_CORE))
        """
    assert attack(place, code) == "(1, 1)"


def launcher_maps_ids(place: Place) -> bool:
    return "maps_ids=True" in (place.path / "run/sandbox/settings").read_text()


def test_the_device_of_the_root_cannot_be_written(place: Place) -> None:
    before = pathlib.Path(place.path / "disk.raw").read_bytes()[:4096]
    # Its superblock, which was overwritten once.
    command = f"dd if=/dev/zero of={place.device} bs=4096 count=1"
    status, printed = in_image(place, command)
    assert status != 0
    assert "records out" not in printed or "0+0 records out" in printed
    sh("sync", "--file-system", place.root)
    assert (place.path / "disk.raw").read_bytes()[1080:1082] == before[1080:1082] == b"\x53\xef"


def test_root_of_the_image_is_nobody_on_the_builder(
    place: Place, request: pytest.FixtureRequest
) -> None:
    marker = f"77.{os.getpid()}"
    process = started(place, f"touch /etc/made; sleep {marker}")
    try:
        uid = wait_for(lambda: uid_of(f"sleep {marker} "))
    finally:
        process.kill()
        process.wait()
    mapped = "mapped" in request.node.name
    assert uid == (ids.FIRST_ID if mapped else 0)
    # In the image's own file system it is root all the same.
    assert (place.root / "etc/made").stat().st_uid == 0


def test_a_sandbox_holds_no_mount_of_another_build(place: Place, tmp_path: pathlib.Path) -> None:
    """A disk that was mounted when a sandbox began is free when it is unmounted."""
    other = tmp_path / "another build"
    other.mkdir()
    sh("mount", "-t", "tmpfs", "tmpfs", other)
    marker = f"76.{os.getpid()}"
    process = started(place, f"sleep {marker}")
    try:
        wait_for(lambda: uid_of(f"sleep {marker} "))
        sh("umount", other)
        name = str(other).replace(" ", "\\040")
        tables = map(table, pathlib.Path("/proc").glob("[0-9]*/mountinfo"))
        assert not [it for it in tables if name in it]
    finally:
        process.kill()
        process.wait()


def table(path: pathlib.Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""  # ended meanwhile


def wait_for(look: t.Callable[[], t.Any]) -> t.Any:
    deadline = time.monotonic() + 20
    while True:
        found = look()
        if found is not None:
            return found
        assert time.monotonic() < deadline, "it did not happen within 20 seconds"
        time.sleep(0.05)


def started(place: Place, command: str) -> subprocess.Popen[bytes]:
    """Start a launcher with a command of the image's shell."""
    argv = [str(place.path / "run/sandbox/launch"), f"root={place.root}", "shell", command]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL)


def uid_of(command: str) -> int | None:
    for pid, line in processes.command_lines().items():
        if line == command:
            with contextlib.suppress(OSError):
                return pathlib.Path(f"/proc/{pid}").stat().st_uid
    return None


@pytest.mark.parametrize("directory", ["/dev", "/sys", "/run/sealedroot", "/proc/sys"])
def test_what_the_builder_gives_cannot_be_written(place: Place, directory: str) -> None:
    assert in_image(place, f": >{directory}/x")[0] != 0


def test_the_directory_of_what_is_given_cannot_be_replaced(place: Place) -> None:
    for command in (
        "mv /run/sealedroot /run/other",
        "rm -rf /run/sealedroot; rmdir /run/sealedroot",
    ):
        in_image(place, command)
    assert in_image(place, f"{PYTHON} -c 'print(42)'") == (0, "42\n")


@pytest.mark.parametrize(("path", "limit"), [("/dev/shm", bwrap.SHARED_MEMORY)])
def test_what_is_in_memory_has_a_size(place: Place, path: str, limit: int) -> None:
    command = f"dd if=/dev/zero of={path}/x bs=1048576 count={(limit >> 20) + 8}"
    status, printed = in_image(place, command)
    assert status != 0
    assert "No space left" in printed


def test_run_of_the_image_is_not_where_the_keys_are(place: Place) -> None:
    run = place.path / "run"
    assert (run / "own").stat().st_dev not in {(run / "secrets").stat().st_dev, run.stat().st_dev}
    assert os.statvfs(run / "own").f_blocks > 0


def test_a_flood_of_output_is_stopped(place: Place) -> None:
    with pytest.raises(AnsibleError, match="printed more than 64 MiB and was stopped"):
        in_image(place, "cat /dev/zero")
    with pytest.raises(AnsibleError, match="printed more than 64 MiB and was stopped"):
        in_image(place, "cat /dev/zero >&2")


def test_a_command_that_hangs_is_stopped_with_all_that_it_started(place: Place) -> None:
    marker = f"78.{os.getpid()}"
    begun = time.monotonic()
    with pytest.raises(AnsibleError, match="did not end within 2 seconds"):
        in_image(place, f"sleep {marker} & sleep {marker}", image_command_timeout=2)
    assert time.monotonic() - begun < 15
    assert not small_root.left_running(f"sleep {marker}")


@pytest.mark.parametrize("network", ["", "network=1"])
def test_a_killed_launcher_leaves_nothing_whenever_it_is_killed(place: Place, network: str) -> None:
    marker = f"75.{os.getpid()}"
    words = [network] if network else []
    for attempt in range(40):
        process = subprocess.Popen(
            [
                *(str(place.path / "run/sandbox/launch"), f"root={place.root}", *words),
                *("shell", f"sleep {marker}; : {marker}"),
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.01 * attempt)
        process.kill()
        process.wait()
    deadline = time.monotonic() + 10
    while left := small_root.left_running(marker):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_no_descriptor_of_the_builder_is_passed_on(place: Place, tmp_path: pathlib.Path) -> None:
    handles = [os.open(tmp_path, os.O_RDONLY), os.open(__file__, os.O_RDONLY)]
    command = "for it in /proc/*/fd/*; do readlink $it; done"
    done = subprocess.run(
        [place.path / "run/sandbox/launch", f"root={place.root}", "shell", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        pass_fds=handles,
    )
    for handle in handles:
        os.close(handle)
    assert "pipe:" in done.stdout
    kinds = ("/dev/null", "pipe:", "anon_inode:[eventfd]", "anon_inode:[signalfd]", "/proc")
    assert [it for it in done.stdout.splitlines() if not it.startswith(kinds)] == []


def test_a_reader_that_stops_does_not_stop_the_clock(place: Place) -> None:
    process = subprocess.Popen(
        [
            place.path / "run/sandbox/launch",
            f"root={place.root}",
            "deadline=3",
            "shell",
            "cat /dev/zero",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.wait(timeout=30) == STOPPED
    finally:
        process.kill()


SERVERS = """
import sys
sys.path.append(PATH)
from _launcher import network
print(network.name_servers())
"""


@pytest.mark.parametrize(
    ("resolv_conf", "servers"),
    [
        ("nameserver 127.0.0.53\n", []),
        ("nameserver 127.0.0.1\nnameserver 192.0.2.53\n", ["192.0.2.53"]),
        ("# nameserver 192.0.2.1\nsearch example.org\nnameserver ::1\nnameserver 0.0.0.0\n", []),
    ],
)
def test_a_name_server_on_the_loopback_is_not_used(
    tmp_path: pathlib.Path, resolv_conf: str, servers: list[str]
) -> None:
    """slirp4netns leads every port of 10.0.2.3 to what it takes for the name server."""
    (tmp_path / "resolv.conf").write_text(resolv_conf)
    code = tmp_path / "servers.py"
    code.write_text(SERVERS.replace("PATH", repr(str(pathlib.Path(limits.__file__).parents[1]))))
    command = (
        f"mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && exec {sys.executable} {code}"
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command], capture_output=True, text=True, check=False
    )
    # What systemd-resolved asks counts, too, where there is one.
    assert done.stdout.startswith(repr(servers)[:-1]), done.stderr


def test_a_fork_bomb_has_an_end(place: Place) -> None:
    code = """
        import time
        count = 0
        try:
            while count < 20000:
                if os.fork() == 0:
                    time.sleep(60)
                    os._exit(0)
                count += 1
        except OSError as exc:
            print("stopped", count, exc.errno)
        """
    words = attack(place, code).split()
    assert words[0] == "stopped"
    assert int(words[1]) <= limits.MOST_PROCESSES


def groups_of(pid: int) -> list[pathlib.Path]:
    base = pathlib.Path("/sys/fs/cgroup")
    found = [base / name / "sealedroot" / str(pid) for name in ("", "cpu", "memory", "pids")]
    return [it for it in found if it.exists()]


@pytest.mark.parametrize(
    ("first", "others"),
    [
        (signal.SIGTERM, signal.SIGTERM),
        (signal.SIGKILL, signal.SIGTERM),
        (signal.SIGKILL, signal.SIGKILL),
    ],
)
def test_no_control_group_is_left_by_a_launcher_that_is_ended(
    place: Place, first: signal.Signals, others: signal.Signals
) -> None:
    """As a teardown ends it: all whose command line is the launcher's, with SIGKILL if they take long."""
    marker = f"80.{os.getpid()}"
    process = started(place, f"sleep {marker}")
    wait_for(lambda: uid_of(f"sleep {marker} "))
    lines = processes.command_lines().items()
    found = [pid for pid, line in lines if f"sleep {marker} " in line]
    assert process.pid in found
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, first if pid == process.pid else others)
    process.wait()
    wait_for(lambda: None if groups_of(process.pid) else True)


def test_what_removes_a_control_group_says_so(place: Place) -> None:
    marker = f"81.{os.getpid()}"
    process = started(place, f"sleep {marker}")
    try:
        wait_for(lambda: uid_of(f"sleep {marker} "))
        lines = {line.strip() for line in processes.command_lines().values()}
        assert f"sealedroot: remove control group {process.pid}" in lines
    finally:
        process.kill()
        process.wait()


def test_no_control_group_is_left_by_a_launcher_that_is_killed_while_it_makes_them(
    place: Place,
) -> None:
    base = pathlib.Path("/sys/fs/cgroup")
    if not (base / "memory/cgroup.procs").exists() and not (base / "cgroup.controllers").exists():
        pytest.skip("no control groups are mounted here")
    killed = []
    for _ in range(5):
        process = started(place, "sleep 60")
        deadline = time.monotonic() + 10
        while not groups_of(process.pid):
            assert time.monotonic() < deadline
        process.kill()
        process.wait()
        killed.append(process.pid)
    wait_for(lambda: None if any(map(groups_of, killed)) else True)


def test_memory_and_processes_are_limited_where_control_groups_are(place: Place) -> None:
    base = pathlib.Path("/sys/fs/cgroup")
    if not (base / "pids/cgroup.procs").exists() and not (base / "cgroup.controllers").exists():
        pytest.skip("no control groups are mounted here")
    marker = f"79.{os.getpid()}"
    process = started(place, f"sleep {marker}")
    try:
        wait_for(lambda: uid_of(f"sleep {marker} "))
        found = groups_of(process.pid)
        limited = {
            it.name: it.read_text().strip()
            for folder in found
            for it in folder.iterdir()
            if it.name in ("pids.max", "memory.max", "memory.limit_in_bytes")
        }
        inside = [(it / "cgroup.procs").read_text() for it in found]
    finally:
        process.kill()
        process.wait()
    assert limited["pids.max"] == str(limits.MOST_PROCESSES)
    assert {"memory.max", "memory.limit_in_bytes"} & set(limited)
    assert all(inside)
    # Whatever ended it.
    wait_for(lambda: None if groups_of(process.pid) else True)


# --- Nothing of the image interprets what the collection runs in it.

MODULE = f"/bin/sh -c '{PYTHON} && sleep 0'"


def module(place: Place, code: str) -> tuple[int, str]:
    """Run *code* as core runs a module: from standard input of our Python."""
    status, stdout, stderr = connect(place).exec_command(
        MODULE, in_data=textwrap.dedent(code).encode()
    )
    return status, (stdout + stderr).decode()


EVERYTHING = """
import grp, hashlib, json, locale, os, pwd, ssl, sys
locale.setlocale(locale.LC_ALL, "")
try:
    pwd.getpwnam("nobody-of-that-name")
except KeyError:
    pass
hashlib.new("sha256", b"x").hexdigest()
print(json.dumps([os.getcwd(), sorted(os.listdir("/"))[:1], os.environ.get("LANG")]))
"""


@pytest.fixture
def trap(place: Place) -> t.Iterator[t.Callable[[str], pathlib.Path]]:
    """Put a FIFO where a file would be obeyed: who opens it waits for ever."""
    made: list[pathlib.Path] = []

    def trap(name: str) -> pathlib.Path:
        path = place.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)
        made.append(path)
        return path

    yield trap
    for path in made:
        path.unlink()


@pytest.mark.parametrize(
    "names",
    [
        ["etc/ld.so.preload"],
        ["etc/ld.so.cache"],
        ["lib/libnss_evil.so.2", "usr/lib/libnss_evil.so.2", "lib64/libnss_evil.so.2"],
        ["usr/lib/locale/locale-archive", "usr/lib/locale/C.utf8/LC_CTYPE"],
        ["usr/lib/ssl/openssl.cnf", "etc/ssl/openssl.cnf", "usr/local/ssl/openssl.cnf"],
        ["json.py", "os.py", "sitecustomize.py", "root/json.py", "run/sealedroot/json.py"],
        ["usr/bin/python3", "bin/python3"],
    ],
    ids=lambda names: names[0],
)
def test_a_module_obeys_no_file_of_the_image(
    place: Place, trap: t.Callable[[str], pathlib.Path], names: list[str]
) -> None:
    nsswitch = place.root / "etc/nsswitch.conf"
    nsswitch.write_text("passwd: evil files\ngroup: evil files\n")
    for name in names:
        trap(name)
    try:
        status, printed = module(place, EVERYTHING)
    finally:
        nsswitch.unlink()
    assert (status, printed) == (0, '["/", ["bin"], "C.UTF-8"]\n')


def test_a_module_needs_no_shell_and_no_sleep_of_the_image(place: Place) -> None:
    for name in ("sh", "sleep", "env"):
        (place.root / "bin" / name).rename(place.root / "bin" / f"{name}.away")
    try:
        assert module(place, "print(42)") == (0, "42\n")
    finally:
        for name in ("sh", "sleep", "env"):
            (place.root / "bin" / f"{name}.away").rename(place.root / "bin" / name)


def test_what_a_module_starts_cannot_reach_into_it(place: Place) -> None:
    """Neither its memory, which may hold a secret of its arguments, nor what it tells the control node."""
    code = """
        import os, subprocess
        for command in ("cat /proc/$PPID/maps", "echo evil >/proc/$PPID/fd/1", "cat /proc/$PPID/environ",
                        "readlink /proc/$PPID/fd/1", "echo evil >/proc/1/fd/1", "readlink /proc/1/fd/1"):
            done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
            print(done.returncode != 0, done.stdout)
        """
    status, printed = module(place, code)
    assert (status, printed) == (0, "True \n" * 6)


def test_what_a_module_starts_cannot_change_what_it_imports_later(place: Place) -> None:
    """Core's own modules import from their archive when they answer."""
    code = """
        import subprocess, sys, zipfile
        with zipfile.ZipFile("/tmp/archive.zip", "w") as archive:
            for name in ("first", "later"):
                archive.writestr(name + ".py", "who = 'module'")
        sys.path.insert(0, "/tmp/archive.zip")
        import first
        with open("/tmp/archive.zip", "rb") as file:
            changed = file.read().replace(b"'module'", b"'nobody'")
        subprocess.run(["sh", "-c", "cat >/tmp/archive.zip"], input=changed, check=True)
        import later
        print(first.who, later.who)
        """
    assert module(place, code) == (0, "module module\n")


def test_a_way_out_of_the_root_of_a_module_leads_nowhere(place: Place) -> None:
    """chroot(2) has a way back: what is there is the directory of what is given, and the image."""
    escape = """
        import os
        os.mkdir("/tmp/inner")
        os.chroot("/tmp/inner")
        for _ in range(9):
            os.chdir("..")
        os.chroot(".")
        names = {name: sorted(os.listdir(name)) for name in (".", "run", "run/sealedroot")}
        try:
            open("/file", "w")
        except OSError as exc:
            print(exc.strerror)
        print(names)
        """
    status, printed = module(place, escape)
    assert status == 0, printed
    said, names = printed.splitlines()
    assert said == "Read-only file system"
    assert names.startswith("{'.': ['image', 'run'], 'run': ['sealedroot'], 'run/sealedroot': [")


def test_a_transfer_takes_and_makes_regular_files_only(
    place: Place, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "source").write_bytes(b"x")
    os.mkfifo(place.root / "etc/fifo")
    os.mknod(place.root / "etc/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    connection = connect(place)
    begun = time.monotonic()
    for name in ("/etc/fifo", "/etc/null", "/etc", "/dev/null", "/etc/absent/x"):
        with pytest.raises(AnsibleError, match="cannot be transferred"):
            connection.put_file(str(tmp_path / "source"), name)
        with pytest.raises(AnsibleError, match="cannot be transferred"):
            connection.fetch_file(name, str(tmp_path / "target"))
    assert time.monotonic() - begun < 30
    for name in ("fifo", "null"):
        (place.root / "etc" / name).unlink()
