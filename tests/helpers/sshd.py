# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An ssh server on the loopback, which makes another machine of this one: a remote builder without a VM."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import typing as t

CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/id.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
AllowTcpForwarding yes
Subsystem sftp internal-sftp
"""


def control_directory(folder: pathlib.Path) -> str:
    """Return where the masters of a test have their sockets, by a short name: one may have 107 bytes (unix(7))."""
    digest = hashlib.sha256(bytes(folder)).hexdigest()
    return f"/tmp/cp-{digest[:12]}"


class Server:
    """A running server, and how Ansible reaches it."""

    def __init__(self, folder: pathlib.Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self.folder = folder
        self.port = port
        self.process = process

    @property
    def options(self) -> str:
        return "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"

    def variables(self, **more: t.Any) -> dict[str, t.Any]:
        """The variables of the host that this server makes of this machine."""
        return {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_user": "root",
            "ansible_ssh_private_key_file": str(self.folder / "id"),
            "ansible_ssh_common_args": self.options,
            # Masters of their own, which go with the server.
            "ansible_control_path_dir": control_directory(self.folder),
            "ansible_python_interpreter": "/usr/bin/python3",
            **more,
        }

    def drop(self) -> None:
        """Cut every connection, as a network that fails does in the end."""
        for pid in _sessions(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _sessions(parent: int) -> list[int]:
    """The server's own processes that serve a connection, not what runs there."""
    found = []
    names = ("--parent", str(parent), "sshd")
    listed = subprocess.run(["pgrep", *names], capture_output=True, text=True, check=False)
    for pid in map(int, listed.stdout.split()):
        found += [pid, *_sessions(pid)]
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int, process: subprocess.Popen[bytes], log: pathlib.Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, "sshd does not listen"
        time.sleep(0.05)


@contextlib.contextmanager
def running(folder: pathlib.Path) -> t.Iterator[Server]:
    """Start a server with keys of its own in *folder*, and end it, its connections and its masters."""
    folder.mkdir(mode=0o700)
    for name in ("host_key", "id"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    port = _free_port()
    (folder / "config").write_text(CONFIG.format(port=port, folder=folder))
    # Privilege separation wants it, and only the service makes it.
    pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    program = shutil.which("sshd") or "/usr/sbin/sshd"
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", folder / "config"], stdin=subprocess.DEVNULL, stderr=file
        )
    server = Server(folder, port, process)
    try:
        _wait(port, process, log)
        yield server
    finally:
        server.drop()
        process.terminate()
        process.wait(20)
        shutil.rmtree(control_directory(folder), ignore_errors=True)
