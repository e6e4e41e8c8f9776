# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Limits of memory, processes, processor time and files."""

from __future__ import annotations

import errno
import os
import resource
import time

from . import kernel
from .request import SandboxError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import typing as t

MIB = 1 << 20
MOST_PROCESSES = 4096
_SYS_RESOURCE = 24
# How long the last process of a group may take to end: many that were killed give back their memory first.
_BUSY_SECONDS = 60
CORE_PROBLEM = (
    "The limit of core files is 0 here, as after sudo, and cannot be raised without CAP_SYS_RESOURCE, and"
    " kernel.core_pattern starts a program for each crash of a program of an image: give the container that capability,"
    " or write «Defaults rlimit_core=default» into the sudoers of the builder"
)


def memory() -> int:
    """Return the builder's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def core_limit(hard: int, capabilities: int, pattern: str) -> int:
    """Return a limit with which the kernel neither writes a core file nor starts a handler; -1 if there is none.

    That is one byte (core(5)). After sudo it can be 0 for good (docs/facts.md: sudo-core-limit): that stops only files.
    """
    if hard or capabilities >> _SYS_RESOURCE & 1:
        return 1
    return -1 if pattern.startswith(("|", "@")) else 0


def core_limit_here() -> int:
    """Return the same for this process."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        (words,) = [line.split() for line in file if line.startswith("CapEff:")]
    with open("/proc/sys/kernel/core_pattern", encoding="utf-8", errors="replace") as file:
        pattern = file.read()
    return core_limit(resource.getrlimit(resource.RLIMIT_CORE)[1], int(words[1], 16), pattern)


def limit_process() -> None:
    """Set the limits that each process has by itself (setrlimit(2))."""
    core = core_limit_here()
    if core < 0:
        raise SandboxError(CORE_PROBLEM)
    resource.setrlimit(resource.RLIMIT_CORE, (core, core))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, files), files))


def limit_user() -> None:
    """Limit the processes of each user. Only for mapped ids, whose users have no other processes on the builder."""
    resource.setrlimit(resource.RLIMIT_NPROC, (MOST_PROCESSES, MOST_PROCESSES))


class ControlGroup:
    """A control group (cgroups(7)) in every hierarchy where this process can make one."""

    BASE = "/sys/fs/cgroup"
    NAME = "sealedroot"

    def __init__(self, name: str = "") -> None:
        """Take a *name*. A process that makes several groups needs one for each: they are removed with a delay."""
        self._name = name or str(os.getpid())
        self._directories: t.List[str] = []
        self._held = -1
        self._wanted: t.Dict[str, t.Mapping[str, str]] = {}
        self._controllers = ""
        most_memory, most_processes = str(memory() * 3 // 4), str(MOST_PROCESSES)
        # Half the default weight: other processes of the builder come first.
        if os.path.exists(f"{self.BASE}/cgroup.controllers"):
            self._controllers = "+cpu +memory +pids"
            limits = {"memory.max": most_memory, "pids.max": most_processes, "cpu.weight": "50"}
            self._want("", limits)
            return
        self._want("/memory", {"memory.limit_in_bytes": most_memory})
        self._want("/pids", {"pids.max": most_processes})
        self._want("/cpu", {"cpu.shares": "512"})

    def _want(self, hierarchy: str, limits: t.Mapping[str, str]) -> None:
        if os.path.exists(f"{self.BASE}{hierarchy}/cgroup.procs"):
            self._wanted[f"{self.BASE}{hierarchy}/{self.NAME}/{self._name}"] = limits

    def make(self) -> None:
        """Make the group in every hierarchy where that is possible."""
        for path, limits in self._wanted.items():
            above = os.path.dirname(path)
            try:
                self._make_directory(path)
                if self._controllers:
                    for folder in (os.path.dirname(above), above):
                        kernel.write(f"{folder}/cgroup.subtree_control", self._controllers)
                for name, value in limits.items():
                    kernel.write(f"{path}/{name}", value)
                # All commands together get as much memory as one. The other limits are for each command.
                for name in limits:
                    if name.startswith("memory."):
                        kernel.write(f"{above}/{name}", limits[name])
                self._directories.append(path)
            except OSError:
                # A container may not have control groups or not let us make one. The limits of each process remain.
                self._remove(path)

    @staticmethod
    def _make_directory(path: str) -> None:
        for _attempt in range(10):
            try:
                os.makedirs(path, exist_ok=True)
                return
            except FileNotFoundError:
                # Another launcher removed the parent directory at the same moment.
                continue

    def enter(self) -> None:
        """Move this process into the group."""
        for name in self.lists:
            kernel.write(name, str(os.getpid()))

    def remove_later(self) -> None:
        """Start a process that removes the group after :meth:`close`, or when this process ends in any other way.

        Call this before :meth:`make`: if this process were killed in between, the group would be left.
        """
        if not self._wanted:
            return
        # Only this process holds the other end of the pipe: no program that it starts inherits it.
        reading, self._held = os.pipe()
        child = os.fork()
        if child:
            os.close(reading)
            os.waitpid(child, 0)
            return
        try:
            os.setsid()
            # A teardown ends every process with a launcher's command line. This one has to outlive them all.
            kernel.set_command_line(f"sealedroot: remove control group {self._name}")
            # The second fork: the launcher waits for all its children, so this process must not be one.
            if os.fork():
                return
            os.chdir("/")
            for name in os.listdir("/proc/self/fd"):
                if int(name) not in (0, 1, 2, reading):
                    try:
                        os.close(int(name))
                    except OSError:
                        continue  # the descriptor of listdir() itself
            silent = os.open(os.devnull, os.O_RDWR)
            for number in (0, 1, 2):
                os.dup2(silent, number)
            os.read(reading, 1)
            self.remove()
        finally:
            os._exit(0)

    @property
    def lists(self) -> t.List[str]:
        """The files to which a process writes its number to enter the group."""
        return [f"{directory}/cgroup.procs" for directory in self._directories]

    def close(self) -> None:
        """Let the group be removed as soon as it is empty."""
        if self._held >= 0:
            os.close(self._held)

    def remove(self) -> None:
        """Remove the group. Its last process can leave it a moment after the launcher ended."""
        for path in self._wanted:
            self._remove(path)

    @staticmethod
    def _remove(path: str) -> None:
        deadline = time.monotonic() + _BUSY_SECONDS
        while True:
            try:
                os.rmdir(path)
                os.rmdir(os.path.dirname(path))
            except OSError as exc:
                busy = exc.errno == errno.EBUSY and os.path.isdir(path)
                if busy and time.monotonic() < deadline:
                    time.sleep(0.005)
                    continue
            return
