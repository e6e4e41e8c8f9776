# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waits of tests: each has a deadline."""

from __future__ import annotations

import subprocess
import threading
import time
import typing as t

if t.TYPE_CHECKING:
    import os

T = t.TypeVar("T")


def until(look: t.Callable[[], T], seconds: float = 30) -> T:
    """Return what *look* finds as soon as that is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"it did not happen within {seconds:g} seconds"
        time.sleep(0.02)


class Watcher(threading.Thread):
    """Looks again and again while its block runs; subclasses say at what, and keep what they saw."""

    period = 0.2

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended = threading.Event()

    def look(self) -> None:
        raise NotImplementedError

    def run(self) -> None:
        while not self._ended.wait(self.period):
            self.look()

    def __enter__(self) -> t.Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()


def unmount(point: os.PathLike[str] | str, image: os.PathLike[str] | str) -> None:
    """Unmount a file that was mounted through a loop device, and wait for the last write to it.

    A sandbox that another test begins meanwhile has a copy of every mount for a moment.
    """
    subprocess.run(["umount", point], check=True, timeout=60)
    _wait_for_loops(image)


def detach(loop: str, image: os.PathLike[str] | str) -> None:
    """Detach the loop device of a file whose file system was unmounted, and wait as `unmount` does."""
    subprocess.run(["losetup", "--detach", loop], check=True, timeout=60)
    _wait_for_loops(image)


def _wait_for_loops(image: os.PathLike[str] | str) -> None:
    def is_free() -> bool:
        argv = ["losetup", "--associated", image]
        return not subprocess.run(argv, check=True, capture_output=True, timeout=20).stdout

    until(is_free)
