# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The connection into an image on a builder that is reached by ssh, from real plays."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import resource
import shutil
import subprocess
import typing as t

import pytest
import small_root
import sshd
from waiting import until

# The address space that ansible-playbook gets, and a file that does not fit into it.
MEMORY = 400 << 20
LARGE = 416 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[sshd.Server]:
    with sshd.running(tmp_path_factory.mktemp("server") / "sshd") as it:
        yield it


IN_IMAGE = {"connection": "sealedroot.image.chroot"}


class Play:
    """Runs tasks in a small image on a builder."""

    def __init__(self, path: pathlib.Path, builder: dict[str, t.Any]) -> None:
        # A connection of its own: the masters of other tests would be used else.
        self.path, self.builder = (
            path,
            {
                **builder,
                "ansible_control_path_dir": sshd.control_directory(path),
            },
        )
        self.root = small_root.make(path / "root")

    def start(self, *tasks: dict[str, t.Any], memory: int = 0) -> subprocess.Popen[str]:
        image = {
            "image_root": str(self.root),
            "image_run": str(self.path / "run"),
            "image_builder": "builder-2",
            # The image's own name leads nowhere, and its variables are not asked.
            "ansible_host": "192.0.2.1",
        }
        inventory = {
            "all": {
                "hosts": {"builder-2": self.builder},
                "children": {"images": {"hosts": {"web-1": image}}},
            }
        }
        (self.path / "inventory.json").write_text(json.dumps(inventory))
        body = {
            "hosts": "images",
            "gather_facts": False,
            "tasks": [IN_IMAGE | task if "delegate_to" not in task else task for task in tasks],
        }
        (self.path / "play.json").write_text(json.dumps([body]))
        return subprocess.Popen(
            [
                *("ansible-playbook", "--inventory", str(self.path / "inventory.json")),
                str(self.path / "play.json"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            preexec_fn=lambda: (
                resource.setrlimit(resource.RLIMIT_AS, (memory, memory)) if memory else None
            ),
        )

    def run(self, *tasks: dict[str, t.Any], memory: int = 0, timeout: int = 120) -> str:
        process = self.start(*tasks, memory=memory)
        output, _ = process.communicate(timeout=timeout)
        assert process.returncode == 0, output
        return output


@contextlib.contextmanager
def playing(path: pathlib.Path, builder: dict[str, t.Any]) -> t.Iterator[Play]:
    play = Play(path, builder)
    with small_root.sandbox(path / "run", play.root):
        yield play
    shutil.rmtree(sshd.control_directory(path), ignore_errors=True)


@pytest.fixture
def play(tmp_path: pathlib.Path, server: sshd.Server) -> t.Iterator[Play]:
    with playing(tmp_path, server.variables()) as it:
        yield it


def raw(command: str, **more: t.Any) -> dict[str, t.Any]:
    return {"ansible.builtin.raw": command, "register": "seen", **more}


SHOW = {"ansible.builtin.debug": {"msg": "SEEN={{ seen.stdout }}="}}


PYTHON = {
    "ansible_python_interpreter": "/run/sealedroot/python3",
    "ansible_remote_tmp": "/run/sealedroot/tmp",
}


def test_commands_run_in_the_image_on_the_builder(play: Play) -> None:
    output = play.run(
        raw("cat /proc/sys/kernel/hostname; ls / /run; echo $SSH_CONNECTION; echo $0"), SHOW
    )
    assert "SEEN=localhost\\n/:\\nbin\\ndev" in output
    assert "127.0.0.1" not in output.partition("SEEN=")[2].partition("=")[0]


def test_modules_run_and_files_pass_unchanged(play: Play) -> None:
    data = bytes(range(256)) * 4096 + b"\r\n\x00\x04"
    source = play.path / "source"
    source.write_bytes(data)
    back = play.path / "back"
    play.run(
        {
            "ansible.builtin.copy": {"src": str(source), "dest": "/etc/a file", "mode": "0600"},
            "vars": PYTHON,
        },
        {
            "ansible.builtin.fetch": {"src": "/etc/a file", "dest": str(back), "flat": True},
            "vars": PYTHON,
        },
    )
    assert (play.root / "etc" / "a file").read_bytes() == data
    assert back.read_bytes() == data
    # Pipelined: nothing of Ansible's stays in the image.
    assert not list(play.root.rglob(".ansible*"))


@pytest.mark.long
def test_a_file_larger_than_the_memory_of_the_controller_passes(play: Play) -> None:
    source = play.path / "source"
    with source.open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.truncate(LARGE)
        file.seek(LARGE - 4096)
        file.write(os.urandom(4096))
    back = play.path / "back"
    play.run(
        {
            "ansible.builtin.copy": {"src": str(source), "dest": "/etc/large", "mode": "0600"},
            "vars": PYTHON,
        },
        {
            "ansible.builtin.fetch": {"src": "/etc/large", "dest": str(back), "flat": True},
            "vars": PYTHON,
        },
        memory=MEMORY,
        timeout=400,
    )
    assert digest(back) == digest(source)


def digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_the_builder_becomes_root_where_it_says_so(
    tmp_path: pathlib.Path, server: sshd.Server
) -> None:
    """By a program of the test in place of sudo, which needs a user of the system."""
    program, log = tmp_path / "become", tmp_path / "log"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{log}\nshift 4\nexec "$@"\n')
    program.chmod(0o755)
    variables = server.variables(
        ansible_become=True,
        ansible_become_exe=str(program),
        ansible_become_flags="-H -n",
        # Whoever is root already does not become root.
        ansible_become_user="toor",
    )
    with playing(tmp_path, variables) as play:
        output = play.run(raw("echo $((6 * 7))"), SHOW)
    assert "SEEN=42\\n=" in output
    assert log.read_text().startswith("-H -n -u toor /bin/sh -c echo BECOME-SUCCESS-")


def test_through_a_jump_host(tmp_path: pathlib.Path, server: sshd.Server) -> None:
    """The server is its own jump host; a jump has a log line of its own."""
    jump = (
        f"{server.options} -o ProxyCommand='ssh {server.options} -i {server.folder}/id"
        f" -p {server.port} -W %h:%p root@127.0.0.1'"
    )
    variables = server.variables(ansible_ssh_common_args=jump)
    before = (server.folder / "log").read_text().count("Accepted publickey")
    with playing(tmp_path, variables) as play:
        assert "SEEN=42\\n=" in play.run(raw("echo $((6 * 7))"), SHOW)
    assert (server.folder / "log").read_text().count("Accepted publickey") == before + 2


def test_a_builder_that_cannot_be_reached_is_unreachable(
    tmp_path: pathlib.Path, server: sshd.Server
) -> None:
    variables = server.variables(ansible_port=1)
    process = Play(tmp_path, variables).start(raw("true"))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "UNREACHABLE!" in output


def test_a_dropped_connection_fails_the_task_and_takes_the_command_along(
    play: Play, server: sshd.Server
) -> None:
    marker = f"63.{os.getpid()}"
    process = play.start(raw(f"sleep {marker}"))
    try:
        # Not the client's command line, which has it as well.
        line = f"sleep {marker} "
        until(lambda: line in small_root.left_running(line))
        server.drop()
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0
    assert "UNREACHABLE!" in output
    until(lambda: not small_root.left_running(f"sleep {marker}"))
