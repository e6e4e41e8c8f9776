# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The process that holds the lease of a build, because a build consists of many short processes.

It runs on the machine of the directory, independent of the play's processes. It removes the file and ends as soon as

- the file is gone: a build or a teardown releases the lease by removing it, or
- the play is gone: on the play's own machine the holder watches the process; on another machine it waits for the
  play's heartbeat, which is the time of the file.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import time
import typing as t

# How often the holder looks, and how long it waits for a heartbeat, in seconds.
PAUSE = 0.5
SILENCE = 60.0

Process = t.Tuple[int, str]


@dataclasses.dataclass
class LockedFile:
    """A locked file, and the directories that were made for it, the innermost first."""

    path: str
    handle: int
    made: t.Sequence[str] = ()

    def is_there(self) -> bool:
        """Say whether the path still names this file."""
        try:
            return os.path.samestat(os.lstat(self.path), os.fstat(self.handle))
        except OSError:
            return False

    def give_back(self) -> None:
        """Remove the file, and the directories that were made for it if they are empty."""
        with contextlib.suppress(OSError):
            if self.is_there():
                os.unlink(self.path)
            for directory in self.made:
                os.rmdir(directory)
        os.close(self.handle)


def process(pid: int) -> Process:
    """Identify a process, so that no later one is taken for it; the start time is empty if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return pid, ""
    # A zombie has ended.
    return pid, "" if fields[0] in ("Z", "X") else fields[19]


def lives(of: Process) -> t.Callable[[t.List[int]], bool]:
    """Return a function that says whether a process of this machine still runs."""

    def is_wanted(_handles: t.List[int]) -> bool:
        if of[1]:
            return process(of[0]) == of
        # A control node without /proc: a later process may have the same number.
        with contextlib.suppress(PermissionError):
            try:
                os.kill(of[0], 0)
            except ProcessLookupError:
                return False
        return True

    return is_wanted


def heard(silence: float = SILENCE) -> t.Callable[[t.List[int]], bool]:
    """Return a function that says whether a file was touched in the last *silence* seconds.

    It uses the monotonic clock of this machine, because the clock that sets the times of files may jump.
    """
    seen: t.Dict[str, t.Any] = {}

    def is_wanted(handles: t.List[int]) -> bool:
        times = [os.fstat(handle).st_mtime_ns for handle in handles]
        if seen.get("times") != times:
            seen.update(times=times, at=time.monotonic())
        return bool(time.monotonic() - seen["at"] < silence)

    return is_wanted


def detach(act: t.Callable[[], None], keep: t.Sequence[int] = ()) -> None:
    """Run *act* in a daemon: it shares no terminal, session or open file but those in *keep* with this process."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            _become_daemon(keep)
            act()
    finally:
        os._exit(0)


def _become_daemon(keep: t.Sequence[int]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for handle in range(3):
        os.dup2(null, handle)
    for name in os.listdir("/dev/fd"):
        if int(name) > 2 and int(name) not in keep:
            with contextlib.suppress(OSError):
                os.close(int(name))
    with contextlib.suppress(OSError), open("/proc/self/comm", "w", encoding="ascii") as file:
        file.write("image-lease")


def hold(files: t.Sequence[LockedFile], is_wanted: t.Callable[[t.List[int]], bool]) -> None:
    """Hold the files as long as one of them exists and they are wanted, then release them."""
    handles = [file.handle for file in files]
    while any(file.is_there() for file in files) and is_wanted(handles):
        time.sleep(PAUSE)
    for file in files:
        file.give_back()


__all__ = (
    "PAUSE",
    "SILENCE",
    "LockedFile",
    "Process",
    "detach",
    "heard",
    "hold",
    "lives",
    "process",
)
