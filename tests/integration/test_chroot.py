# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection for real: a small root, commands through bwrap."""

from __future__ import annotations

import os
import pathlib
import shlex
import stat
import subprocess
import sys
import time
import typing as t

import pytest
import small_root
from ansible.errors import AnsibleError
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import become_loader, connection_loader
from ansible_collections.sealedroot.image.plugins.plugin_utils._chroot_env import (
    PYTHON,
    Sandbox,
    command_line,
)
from waiting import until


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    return small_root.make(tmp_path / "root", "grep", "stat")


@pytest.fixture
def connect(root: pathlib.Path, tmp_path: pathlib.Path):
    """Connect to the image, with variables of a task."""
    paths = {"image_root": str(root), "image_run": str(tmp_path / "run")}

    def connect(**variables: t.Any):
        connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
        connection.set_options(var_options={**paths, **variables})
        return connection

    with small_root.sandbox(tmp_path / "run", root):
        yield connect


@pytest.fixture
def connection(connect):
    return connect()


def run(connection, command: str) -> tuple[int, str, str]:
    status, stdout, stderr = connection.exec_command(command)
    return status, stdout.decode(), stderr.decode()


def test_the_environment_is_the_images(connection, monkeypatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_BUILDER", "leaked")
    status, stdout, _ = run(connection, "env")
    assert status == 0
    assert "SECRET_OF_THE_BUILDER" not in stdout
    assert "HOME=/root" in stdout.splitlines()


def test_the_umask_is_not_the_builders(connection, root: pathlib.Path) -> None:
    before = os.umask(0o077)
    try:
        assert run(connection, "mkdir /etc/made; echo x >/etc/made/file")[0] == 0
        connection.put_file(__file__, "/etc/put")
    finally:
        os.umask(before)
    modes = [
        stat.S_IMODE((root / "etc" / it).stat().st_mode) for it in ("made", "made/file", "put")
    ]
    assert modes == [0o755, 0o644, 0o644]


def test_processes_and_command_line_of_the_builder_are_hidden(connection) -> None:
    _, stdout, _ = run(connection, "ls /proc | tr '\\n' ' '; cat /proc/cmdline")
    pids = [word for word in stdout.split() if word.isdigit()]
    assert len(pids) <= 5
    assert pathlib.Path("/proc/cmdline").read_text().strip() not in stdout


def test_the_command_line_is_there_but_empty(connection) -> None:
    """Scripts of packages read it, and complain or stop when they cannot."""
    assert run(connection, "cat /proc/cmdline") == (0, "", "")


def test_become_user_is_a_user_of_the_image(connect, root: pathlib.Path) -> None:
    (root / "etc/passwd").write_text(
        "root:x:0:0::/root:/bin/sh\nweb:x:1234:1235::/srv/web:/bin/sh\n"
    )
    (root / "etc/group").write_text("web:x:1235:\nlogs:x:77:web\n")
    connection = connect(ansible_become_user="web")
    connection.set_become_plugin(become_loader.get("ansible.builtin.sudo"))
    said = run(connection, 'id -u; id -G; echo "$HOME $USER"; grep CapEff /proc/self/status')
    assert said == (0, "1234\n1235 77\n/srv/web web\nCapEff:\t0000000000000000\n", "")
    # Modules and transfers, too.
    code = "import os; print(os.getuid(), os.getgroups())"
    _, stdout, _ = run(connection, f"/bin/sh -c {shlex.quote(f'{PYTHON} -c {shlex.quote(code)}')}")
    assert stdout == "1234 [77, 1235]\n"
    connection.put_file(__file__, "/run/sealedroot/tmp/of-web")
    assert run(connection, "stat -c %u /run/sealedroot/tmp/of-web")[1] == "1234\n"


def test_a_user_that_the_image_lacks_is_named(connect) -> None:
    connection = connect(ansible_become_user="nobody-such")
    connection.set_become_plugin(become_loader.get("ansible.builtin.sudo"))
    with pytest.raises(AnsibleError, match="the image has no user 'nobody-such'"):
        run(connection, "id")


def test_links_resolve_in_the_image(connection, root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (root / "etc" / "link").symlink_to("/etc/passwd")
    with pytest.raises(AnsibleError):
        connection.fetch_file("/etc/link", str(tmp_path / "stolen"))
    (tmp_path / "source").write_bytes(b"inside")
    connection.put_file(str(tmp_path / "source"), "/etc/link")
    assert (root / "etc" / "passwd").read_bytes() == b"inside"


def test_dangerous_capabilities_are_gone(connection) -> None:
    for command in ("mknod /tmp/disk b 8 0", "mount -t tmpfs none /etc"):
        assert run(connection, command)[0] != 0


def test_files_pass_unchanged(connection, tmp_path: pathlib.Path) -> None:
    data = os.urandom(3 << 20) + b"\n\x00\xff"
    (tmp_path / "there").write_bytes(data)
    connection.put_file(str(tmp_path / "there"), "/etc/a file")
    connection.fetch_file("/etc/a file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == data


def test_run_lasts_and_tmp_does_not(connection, tmp_path: pathlib.Path) -> None:
    assert run(connection, ": >/run/kept; : >/tmp/gone")[0] == 0
    assert run(connection, "ls /run /tmp")[1].split() == ["/run:", "kept", "sealedroot", "/tmp:"]
    assert (tmp_path / "run" / "own" / "run" / "kept").exists()


def test_nothing_stays_mounted(connection, root: pathlib.Path) -> None:
    assert run(connection, "id")[0] == 0
    assert str(root) not in pathlib.Path("/proc/self/mountinfo").read_text()


def test_settings_of_the_builders_kernel_cannot_be_changed(connection) -> None:
    """kernel.core_pattern names a program that the builder's kernel starts. Only asked, never written."""
    settings = ("kernel/core_pattern", "kernel/sysrq", "vm/drop_caches", "net/ipv4/ip_forward")
    paths = [f"/proc/sys/{name}" for name in settings]
    there = [path for path in (*paths, "/proc/sysrq-trigger") if os.access(path, os.W_OK)]
    assert "/proc/sys/kernel/core_pattern" in there  # or the test shows nothing
    command = f"for path in {' '.join(there)}; do [ ! -w $path ] || echo $path; done"
    assert run(connection, command) == (0, "", "")


def test_standard_streams_can_be_opened_by_name(connection) -> None:
    """Many a script writes to /dev/stderr, which is a link into /proc."""
    command = "echo a | cat >/proc/self/fd/1; echo b >/dev/stderr"
    assert run(connection, command) == (0, "a\n", "b\n")


def test_no_setuid_program_and_no_device_of_the_image_works(connection, root: pathlib.Path) -> None:
    os.mknod(root / "etc" / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    status, _, stderr = run(connection, "cat /etc/null")
    assert status != 0
    assert "Permission denied" in stderr
    _, stdout, _ = run(connection, "cat /proc/self/status")
    assert "NoNewPrivs:\t1" in stdout


@pytest.fixture
def device(tmp_path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """A loop device with a name of its own, as a mapping has one."""
    (tmp_path / "disk.raw").write_bytes(b"disk" * (256 << 10))
    losetup = ["losetup", "--find", "--show", str(tmp_path / "disk.raw")]
    loop = subprocess.run(losetup, capture_output=True, text=True, check=True).stdout.strip()
    node = pathlib.Path(f"/dev/mapper/sealedroot-test-{os.getpid()}")
    node.parent.mkdir(exist_ok=True)
    os.mknod(node, stat.S_IFBLK | 0o600, os.stat(loop).st_rdev)
    yield node
    node.unlink()
    subprocess.run(["losetup", "--detach", loop], check=True)


def test_the_image_sees_its_own_device_only(connect, device: pathlib.Path) -> None:
    connection = connect(image_device=str(device), image_root_device="/dev/mapper/cr_root")
    status, stdout, stderr = run(
        connection, f"[ -b {device} ] && readlink /dev/mapper/cr_root; ls /dev/mapper; ls /dev"
    )
    assert (status, stderr) == (0, "")
    link, *names = stdout.split()
    # Under its name in the machine, too, and under no name that a disk of the host could have.
    assert link == str(device)
    assert names[:2] == ["cr_root", device.name]
    assert not {"kvm", "loop0", "disk", "fuse", "vda", "sda", "mem"} & set(names)


def test_the_image_reads_its_device_and_cannot_write_it(
    connect, device: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    connection = connect(image_device=str(device))
    before = (tmp_path / "disk.raw").read_bytes()
    assert run(connection, f"dd if={device} bs=4 count=2 2>/dev/null") == (0, "diskdisk", "")
    for command in (f"echo x >{device}", f"dd if=/dev/zero of={device} count=8"):
        assert run(connection, command)[0] != 0
    assert (tmp_path / "disk.raw").read_bytes() == before


def test_no_loop_device_stays(connect, device: pathlib.Path) -> None:
    connection = connect(image_device=str(device))
    assert run(connection, "true")[0] == 0
    backing = [
        path.read_text() for path in pathlib.Path("/sys/block").glob("loop*/loop/backing_file")
    ]
    assert str(device) not in "".join(backing)


def test_host_name_is_not_the_builders(connection) -> None:
    _, stdout, _ = run(connection, "cat /proc/sys/kernel/hostname")
    assert stdout == "localhost\n"


def test_nothing_that_a_command_starts_outlives_it(connection) -> None:
    marker = f"60.{os.getpid()}"
    begun = time.monotonic()
    assert run(connection, f"sleep {marker} & echo done")[1] == "done\n"
    assert time.monotonic() - begun < 5
    assert not small_root.left_running(f"sleep {marker}")


def test_a_killed_task_takes_its_command_along(
    connect, root: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Started as the local connection does it, from a process that then dies without a word."""
    marker = f"61.{os.getpid()}"
    line = command_line(Sandbox(str(root), str(tmp_path / "run")), f"sleep {marker}; true")
    start = "import subprocess, sys; subprocess.Popen(sys.argv[1], shell=True, stdin=-1).wait()"
    task = subprocess.Popen([sys.executable, "-c", start, line])
    try:
        until(lambda: f"sleep {marker} " in small_root.left_running(f"sleep {marker}"))
    finally:
        task.kill()
        task.wait()
    until(lambda: not small_root.left_running(f"sleep {marker}"))


def test_a_detached_command_goes_on_and_tells_how_it_ended(connect, tmp_path: pathlib.Path) -> None:
    log = tmp_path / "it's.log"
    connection = connect(image_detach=str(log))
    marker = f"2.{os.getpid()}"
    status, stdout, stderr = run(connection, f"echo begun; sleep {marker}; echo ended >&2; exit 5")
    assert (status, stdout, stderr) == (0, "", "")
    until(lambda: small_root.left_running(f"sleep {marker}"))
    subprocess.run(["timeout", "10", "flock", log, "true"], check=True)
    assert log.read_text() == "begun\nended\n\nexit status 5\n"
    until(lambda: not small_root.left_running(f"sleep {marker}"))


def test_the_image_cannot_say_how_a_detached_command_ended(connect, tmp_path: pathlib.Path) -> None:
    """What it prints is followed by the truth, and of the builder's files it has only its output."""
    log = tmp_path / "log"
    connection = connect(image_detach=str(log))
    run(connection, "echo exit status 0; ls /proc/self/fd | tr '\\n' ' '; echo; exit 1")
    subprocess.run(["timeout", "10", "flock", log, "true"], check=True)
    lines = log.read_text().splitlines()
    assert lines[0] == "exit status 0"
    assert lines[-1] == "exit status 1"
    assert "8" not in lines[1].split()


def test_exit_status_and_quoting_pass(connection) -> None:
    assert run(connection, "echo \"it's\" '$HOME' $HOME; exit 7") == (7, "it's $HOME /root\n", "")


def test_standard_input_passes_as_it_is(connection, root: pathlib.Path) -> None:
    data = bytes(range(256)) * 5000
    assert connection.exec_command("cat >/etc/data", in_data=data)[0] == 0
    assert (root / "etc" / "data").read_bytes() == data


def test_a_file_larger_than_a_piece_passes(connection, tmp_path: pathlib.Path, monkeypatch) -> None:
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _transfer

    monkeypatch.setattr(_transfer, "CHUNK", 1 << 20)
    for size in ((2 << 20) - 1, 2 << 20, (2 << 20) + 1):
        data = os.urandom(size)
        (tmp_path / "there").write_bytes(data)
        connection.put_file(str(tmp_path / "there"), "/etc/file")
        connection.fetch_file("/etc/file", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == data


def test_a_root_without_a_shell_is_said(connect, root: pathlib.Path) -> None:
    (root / "bin" / "sh").unlink()
    with pytest.raises(AnsibleError, match="no command can run in"):
        run(connect(), "true")


def test_a_directory_without_a_sandbox_is_said(root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    paths = {"image_root": str(root), "image_run": str(tmp_path / "run")}
    connection.set_options(var_options=paths)
    with pytest.raises(AnsibleError, match="run the module image_runtime for it first"):
        run(connection, "true")
