# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The serial console of a QEMU process, on a pseudo-terminal: Python's own library is enough for it."""

from __future__ import annotations

import codecs
import contextlib
import fcntl
import os
import re
import select
import subprocess
import termios
import time
import tty
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._machine import serial_boot
from ansible_collections.sealedroot.image.plugins.module_utils._system import command

# Time for the process to end after SIGTERM, and to be gone after SIGKILL, when it has its memory to give back.
END_SECONDS, GONE_SECONDS = 1.0, 60.0
_CHUNK = 1 << 16
# Longer than any text that is waited for, in characters.
_WINDOW = 4096


def _control_terminal() -> None:
    """Make standard input the controlling terminal, so that the end of this process hangs up the other one."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class PtyConsole(serial_boot.Console):
    """Runs a command with its serial console on standard output, and ends it when the context ends."""

    def __init__(self, argv: t.Sequence[str]) -> None:
        self._terminal, inner = os.openpty()
        try:
            # Raw: the terminal would echo typed keys into the log.
            tty.setraw(inner)
            self._process = subprocess.Popen(  # noqa: S603  # a list, and no shell
                argv,
                stdin=inner,
                stdout=inner,
                stderr=inner,
                env=command.environment(),
                start_new_session=True,
                preexec_fn=_control_terminal,  # one system call
            )
        except BaseException:
            os.close(self._terminal)
            raise
        finally:
            os.close(inner)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._read: t.List[str] = []
        # What was read and not yet matched by a pattern.
        self._left = ""

    def __enter__(self) -> PtyConsole:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.terminate()
        try:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(END_SECONDS)
            if self._process.returncode is None:
                self._process.kill()
                self._process.wait(GONE_SECONDS)
        finally:
            os.close(self._terminal)

    @property
    def pid(self) -> int:
        """Return the number of the process."""
        return self._process.pid

    @property
    def text(self) -> str:
        """Return everything read so far."""
        return "".join(self._read)

    def wait(self, patterns: t.Sequence[str], seconds: float) -> t.Optional[int]:
        compiled = [re.compile(pattern, re.DOTALL) for pattern in patterns]
        deadline = time.monotonic() + max(seconds, 0.1)
        while True:
            index = self._match(compiled)
            if index is not None:
                return index
            # What comes next may complete a text that has begun.
            self._left = self._left[-_WINDOW:]
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._terminal], [], [], left)[0]:
                return None
            self._take()

    def _match(self, compiled: t.Sequence[t.Pattern[str]]) -> t.Optional[int]:
        """Return which pattern matches first, and forget all up to its end; the first in the list of several."""
        matches = [(it.search(self._left), index) for index, it in enumerate(compiled)]
        found = [(match.start(), index, match.end()) for match, index in matches if match]
        if not found:
            return None
        _start, index, end = min(found)
        self._left = self._left[end:]
        return index

    def _take(self) -> None:
        try:
            data = os.read(self._terminal, _CHUNK)
        except OSError:
            data = b""  # Linux: nobody has the other end open any more
        if not data:
            raise EOFError
        text = self._decoder.decode(data)
        self._read.append(text)
        self._left += text

    def type(self, text: str) -> None:
        for char in f"{text}\r":
            os.write(self._terminal, char.encode())
            time.sleep(serial_boot.KEYSTROKE_SECONDS)

    def settle(self) -> None:
        deadline = time.monotonic() + serial_boot.SETTLE_SECONDS
        while self.wait([r"(?s).+"], deadline - time.monotonic()) is not None:
            if time.monotonic() > deadline:
                break


__all__ = ("PtyConsole",)
