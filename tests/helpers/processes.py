# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The processes of this machine, read while they come and go: one that ends meanwhile is left out."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal

import waiting

PROC = pathlib.Path("/proc")


def command_lines() -> dict[int, str]:
    """Return the command line of every process, with a space after each word."""
    found = {}
    for file in PROC.glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found[int(file.parent.name)] = (
                file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            )
    return found


def opened(path: os.PathLike[str] | str) -> dict[int, str]:
    """Return the command lines of the processes that have a file or device open."""
    lines = command_lines()
    return {pid: lines.get(pid, "") for pid, files in open_files().items() if str(path) in files}


def open_files() -> dict[int, set[str]]:
    """Return what each process has open, by the links of proc_pid_fd(5)."""
    found: dict[int, set[str]] = {}
    for directory in PROC.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for name in os.listdir(directory / "fd"):
                with contextlib.suppress(OSError):
                    link = os.readlink(directory / "fd" / name)
                    found.setdefault(int(directory.name), set()).add(link)
    return found


def _stat(pid: int) -> list[str]:
    """Return the fields of proc_pid_stat(5) from the third one, the state; none of a process that has ended."""
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []


def kill_family(pid: int) -> list[int]:
    """Kill a child of this process and all that it started, before any of them can do one thing more.

    Return the others. The child is still to be waited for.
    """
    os.kill(pid, signal.SIGSTOP)
    waiting.until(lambda: _stat(pid)[:1] in (["T"], ["Z"]))
    family = [pid]
    while True:
        parents = {int(it.name): _stat(int(it.name))[1:2] for it in PROC.glob("[0-9]*")}
        more = [
            it
            for it, parent in parents.items()
            if it not in family and parent and int(parent[0]) in family
        ]
        if not more:
            break
        for child in more:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)
        family += more
    for member in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)
    others = family[1:]
    # One that is killed in a system call ends it first.
    waiting.until(lambda: not any(_stat(it) for it in others if _stat(it)[:1] != ["Z"]))
    return others


__all__ = ("command_lines", "kill_family", "open_files", "opened")
