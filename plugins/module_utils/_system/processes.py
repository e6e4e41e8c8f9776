# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Processes of the builder: find what they use, and end them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import stat
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    mounts,
    proc,
    qemu_options,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

KILLED_SECONDS = 10.0
PAUSE = 0.02


@dataclasses.dataclass(frozen=True)
class Process:
    """A process ID and the name of its program."""

    pid: int
    name: str


def pids() -> t.List[str]:
    """Return the ID of every process, as text like in /proc."""
    return [entry for entry in proc.list_names(proc.PROC) if entry.isdigit()]


def command_line(pid: t.Union[int, str]) -> t.List[str]:
    """Return the arguments of a process; one empty word if it has ended."""
    return proc.read_text(f"{proc.PROC}/{pid}/cmdline").split("\0")


def mentions(argv: t.Sequence[str], directory: str) -> bool:
    """Say whether an argument is a path in *directory*, or holds one in QEMU's ``key=value,...``."""
    return any(
        mounts.is_below(value, directory)
        for word in argv[1:]
        for value in qemu_options.values(word)
    )


def own_line() -> t.Set[int]:
    """Return PID 1, this process and its ancestors, which must never be ended."""
    line = {1, os.getpid()}
    pid = os.getppid()
    while pid > 1 and pid not in line:
        line.add(pid)
        fields = _stat(pid)
        pid = int(fields[1]) if len(fields) > 1 else 1
    return line


def _stat(pid: int) -> t.List[str]:
    """Return the fields of stat (proc_pid_stat(5)) from the state on; none if the process has ended."""
    return proc.read_text(f"{proc.PROC}/{pid}/stat").rpartition(")")[2].split()


def is_alive(pid: int) -> bool:
    """Say whether a process still runs. A zombie does not: it holds no resources."""
    return _stat(pid)[:1] not in ([], ["Z"], ["X"])


def end(processes: t.Sequence[Process], grace: float) -> None:
    """Send SIGTERM, after *grace* seconds SIGKILL, and wait until the processes have ended."""
    left = terminated(processes, grace)
    for process in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    left = _awaited(left, KILLED_SECONDS)
    if left:
        names = ", ".join(f"{process.pid} ({process.name})" for process in left)
        raise SealedRootError(
            f"these processes do not end even after SIGKILL: {names}. Reboot the builder"
        )


def terminated(processes: t.Sequence[Process], seconds: float) -> t.List[Process]:
    """Send SIGTERM, and return the processes that still run after *seconds*."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
    return _awaited(processes, seconds)


def _awaited(processes: t.Sequence[Process], seconds: float) -> t.List[Process]:
    deadline = time.monotonic() + seconds
    left = list(processes)
    while True:
        left = [process for process in left if is_alive(process.pid)]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(PAUSE)


def users(number: int) -> t.List[str]:
    """Name the processes that use the file system or block device with this device number."""
    names = []
    for pid in pids():
        links = [f"{proc.PROC}/{pid}/{link}" for link in ("cwd", "root", "exe")]
        links += [f"{proc.PROC}/{pid}/fd/{fd}" for fd in proc.list_names(f"{proc.PROC}/{pid}/fd")]
        if any(_uses(link, number) for link in links):
            names.append(_name(pid))
    return names


def _uses(link: str, number: int) -> bool:
    try:
        info = os.stat(link)
    except OSError:
        return False
    return info.st_dev == number or (stat.S_ISBLK(info.st_mode) and info.st_rdev == number)


def _name(pid: str) -> str:
    return f"process {pid} ({proc.read_text(f'{proc.PROC}/{pid}/comm')})"


def mounts_of(number: int) -> t.List[str]:
    """Name the mounts of a block device, in the mount namespaces of all processes."""
    found, seen = [], set()
    for pid in ("self", *pids()):
        try:
            namespace = os.readlink(f"{proc.PROC}/{pid}/ns/mnt")
        except OSError:
            continue
        if namespace in seen:
            continue
        seen.add(namespace)
        where = "" if pid == "self" else f" that {_name(pid)} sees"
        found += [f"mount {it.path}{where}" for it in mounts.read(pid) if it.number == number]
    return found


def holders(number: int) -> str:
    """Name what keeps a block device in use: processes, and mounts in any mount namespace."""
    return named([*users(number), *mounts_of(number)])


def named(who: t.Sequence[str]) -> str:
    """Name the first of those that hold something."""
    return ", ".join(who[:5]) or "something in the kernel"


__all__ = (
    "Process",
    "command_line",
    "end",
    "holders",
    "is_alive",
    "mentions",
    "mounts_of",
    "named",
    "own_line",
    "pids",
    "terminated",
    "users",
)
