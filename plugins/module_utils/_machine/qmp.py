# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Talk to the monitor of a running QEMU (QMP): one command after the other, until a deadline.

The monitor belongs to the host, which is not trusted: it may say anything, at any length, or nothing. QEMU's library
is not used: it is another package to install, for five commands, and sets no limit of time (docs/facts.md: qmp).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import untrusted_json
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# Bytes of one message. The longest of ours has 8 KiB.
LONGEST = 1 << 20
_CHUNK = 1 << 16
# Between two attempts to connect.
PAUSE = 0.2
# unix(7)
_LONGEST_PATH = 107
# Characters of a text of the host in an error.
_MOST_QUOTED = 200
# What connect(2) says while QEMU does not listen yet.
_NOT_YET = (FileNotFoundError, ConnectionRefusedError)

Answer = t.Dict[str, t.Any]


class CommandRefusedError(SealedRootError):
    """QEMU did not carry out a command; *reason* is its own."""

    def __init__(self, command: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"QEMU refused the command {command}: {reason}")


def parse(text: bytes, name: str) -> Answer:
    """Parse a message of the monitor *name*."""
    try:
        message = untrusted_json.loads(text)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise SealedRootError(
            f"what listens on {name} is no monitor of QEMU: give the socket of -qmp, not that of another program"
        )
    return message


class Monitor:
    """A connection to a monitor. Its commands end by the same deadline as the connecting."""

    def __init__(self, path: str, seconds: float) -> None:
        self.path = path
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds
        self._buffer = b""
        self._sent = 0
        self._link = self._socket()

    def connect(self) -> None:
        """Wait for the monitor, and leave its mode of negotiation."""
        if not self.path:
            raise SealedRootError(
                "socket is empty: give the path of the monitor, as QEMU has it with -qmp"
            )
        if len(os.fsencode(self.path)) > _LONGEST_PATH:
            raise SealedRootError(
                f"{self.path} is too long for a socket: use a shorter path, such as a relative one or a symbolic link"
            )
        missing = "did not accept a connection"
        while True:
            self._link.settimeout(self.left(missing))
            try:
                self._link.connect(self.path)
                break
            except _NOT_YET:
                self._check_kind()
                # After a failed connect(2), the state of a socket is unspecified.
                self._link.close()
                self._link = self._socket()
                missing = "was not there"
                self.pause(missing)
            except socket.timeout:
                self.left(missing)
        greeting = self._read("did not greet; perhaps another program is connected to it already")
        if not isinstance(greeting.get("QMP"), dict):
            parse(b"", self.path)
        self.execute("qmp_capabilities")

    def close(self) -> None:
        """End the connection."""
        self._link.close()

    def left(self, what: str, least: float = 0) -> float:
        """Return the seconds that are left; raise an error that says *what* did not happen if there are too few."""
        found = self._deadline - time.monotonic()
        if found <= least:
            raise SealedRootError(
                f"the monitor {self.path} {what} within {self._seconds:g} seconds: see whether the guest was started,"
                " or raise timeout"
            )
        return found

    def pause(self, what: str) -> None:
        """Wait a little; raise an error if there would be no time for an answer afterwards."""
        self.left(what, 2 * PAUSE)
        time.sleep(PAUSE)

    def execute(self, command: str, arguments: t.Optional[t.Mapping[str, str]] = None) -> t.Any:
        """Run a command and return its answer. Events that come before it are skipped."""
        self._sent += 1
        request: t.Dict[str, t.Any] = {"execute": command, "id": self._sent}
        if arguments:
            request["arguments"] = arguments
        no_answer = f"did not answer to {command}"
        self._link.settimeout(self.left(no_answer))
        try:
            self._link.sendall(json.dumps(request).encode() + b"\n")
        except socket.timeout:
            self.left(no_answer)
            raise
        except (BrokenPipeError, ConnectionResetError):
            raise self._gone() from None
        while True:
            message = self._read(no_answer)
            if "event" in message:
                continue
            if message.get("id") != self._sent or not {"return", "error"} & set(message):
                raise SealedRootError(
                    f"the monitor {self.path} answered something else than what {command} asked for: do not trust it,"
                    " or see whether it is one of QEMU"
                )
            if "error" in message:
                raise CommandRefusedError(command, _reason(message["error"]))
            return message["return"]

    def _read(self, missing: str) -> Answer:
        """Return the next message; *missing* says what is missing if there is none in time."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > LONGEST:
                raise SealedRootError(
                    f"the monitor {self.path} sends a message without end: do not trust it, or see whether it is one"
                    " of QEMU"
                )
            self._link.settimeout(self.left(missing))
            try:
                chunk = self._link.recv(_CHUNK)
            except socket.timeout:
                continue
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise self._gone()
            self._buffer += chunk
        line, _newline, self._buffer = self._buffer.partition(b"\n")
        return parse(line, self.path)

    @staticmethod
    def _socket() -> socket.socket:
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def _gone(self) -> SealedRootError:
        return SealedRootError(
            f"the monitor {self.path} ended the connection: see in the output of QEMU why it ended, and start the guest"
            " again"
        )

    def _check_kind(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.stat(self.path).st_mode):
                raise SealedRootError(
                    f"{self.path} is no socket: give that of the monitor, as QEMU has it with -qmp"
                )


def _reason(error: t.Any) -> str:
    """Return what QEMU says of an error."""
    said = error.get("desc") if isinstance(error, dict) else None
    # In one line: a host could write others that look like those of Ansible.
    words = " ".join(said.split()) if isinstance(said, str) else ""
    return words[:_MOST_QUOTED] or "it gave no reason"


@contextlib.contextmanager
def connected(path: str, seconds: float) -> t.Iterator[Monitor]:
    """Give a connection to a monitor that is there within *seconds*."""
    monitor = Monitor(path, seconds)
    try:
        monitor.connect()
        yield monitor
    finally:
        monitor.close()


__all__ = ("LONGEST", "CommandRefusedError", "Monitor", "connected", "parse")
