# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection for real: a small root of busybox, commands through bwrap."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess

import pytest
from ansible.errors import AnsibleConnectionFailure
from ansible.playbook.play_context import PlayContext
from ansible.plugins.loader import connection_loader


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    """A root with a shell and a few tools of this machine, and nothing else."""
    root = tmp_path / "root"
    for folder in ("bin", "etc", "root", "run", "proc", "dev", "sys", "tmp"):
        (root / folder).mkdir(parents=True)
    for tool in ("sh", "cat", "id", "dd", "ls", "mknod", "readlink", "env", "mount", "tr"):
        program = pathlib.Path(shutil.which(tool) or "").resolve()
        shutil.copy(program, root / "bin" / tool)
        listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for word in listed.split():
            if word.startswith("/"):
                target = root / word.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.exists():
                    shutil.copy(pathlib.Path(word).resolve(), target)
    return root


@pytest.fixture
def connection(root: pathlib.Path, tmp_path: pathlib.Path):
    (tmp_path / "run").mkdir()
    connection = connection_loader.get("sealedroot.image.chroot", PlayContext())
    variables = {"image_root": str(root), "image_run": str(tmp_path / "run")}
    connection.set_options(var_options=variables)
    yield connection
    connection.close()


def run(connection, command: str) -> tuple[int, str, str]:
    status, stdout, stderr = connection.exec_command(command)
    return status, stdout.decode(), stderr.decode()


def test_the_environment_is_the_images(connection, monkeypatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_BUILDER", "leaked")
    status, stdout, _ = run(connection, "env")
    assert status == 0
    assert "SECRET_OF_THE_BUILDER" not in stdout
    assert "HOME=/root" in stdout.splitlines()


def test_processes_and_command_line_of_the_builder_are_hidden(connection) -> None:
    _, stdout, _ = run(connection, "ls /proc | tr '\\n' ' '; cat /proc/cmdline")
    pids = [word for word in stdout.split() if word.isdigit()]
    assert len(pids) <= 5
    assert pathlib.Path("/proc/cmdline").read_text().strip() not in stdout


def test_links_resolve_in_the_image(connection, root: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (root / "etc" / "link").symlink_to("/etc/passwd")
    with pytest.raises(AnsibleConnectionFailure):
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
    assert run(connection, "ls /run /tmp")[1].split() == ["/run:", "kept", "/tmp:"]
    assert (tmp_path / "run" / "kept").exists()


def test_nothing_stays_mounted(connection, root: pathlib.Path) -> None:
    assert run(connection, "id")[0] == 0
    assert str(root) not in pathlib.Path("/proc/self/mountinfo").read_text()
