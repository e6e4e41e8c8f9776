# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The serial console of a QEMU process, through pexpect."""

from __future__ import annotations

import io
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._machine import serial_boot

try:
    import pexpect
except ImportError:
    HAS_PEXPECT = False
else:
    HAS_PEXPECT = True


GONE_SECONDS = 60


class PexpectConsole(serial_boot.Console):
    """Runs a command with its serial console on standard output, and ends it when the context ends."""

    def __init__(self, argv: t.Sequence[str]) -> None:
        self._log = io.StringIO()
        # echo: otherwise the terminal would echo typed keys into the log.
        self._child = pexpect.spawn(
            argv[0],
            list(argv[1:]),
            echo=False,
            encoding="utf-8",
            codec_errors="replace",
            searchwindowsize=4096,
        )
        self._child.logfile_read = self._log
        self._child.delaybeforesend = None  # type() sets its own pace

    def __enter__(self) -> PexpectConsole:
        return self

    def __exit__(self, *_exc: object) -> None:
        # Sends SIGHUP, SIGINT, and at last SIGKILL to this one process.
        try:
            self._child.close(force=True)
        except pexpect.ExceptionPexpect:
            # A killed machine takes time to release its memory, and pexpect waits only a tenth of a second.
            deadline = time.monotonic() + GONE_SECONDS
            while self._child.isalive():
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    @property
    def text(self) -> str:
        """Return everything read so far."""
        return self._log.getvalue()

    def wait(self, patterns: t.Sequence[str], seconds: float) -> t.Optional[int]:
        try:
            index: int = self._child.expect(list(patterns), timeout=max(seconds, 0.1))
        except pexpect.TIMEOUT:
            return None
        except pexpect.EOF as exc:
            raise EOFError from exc
        return index

    def type(self, text: str) -> None:
        for char in f"{text}\r":
            self._child.send(char)
            time.sleep(serial_boot.KEYSTROKE_SECONDS)

    def settle(self) -> None:
        deadline = time.monotonic() + serial_boot.SETTLE_SECONDS
        while self.wait([r"(?s).+"], deadline - time.monotonic()) is not None:
            if time.monotonic() > deadline:
                break


__all__ = ("HAS_PEXPECT", "PexpectConsole")
