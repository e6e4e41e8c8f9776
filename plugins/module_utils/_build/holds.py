# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Find what a build holds on its builder, by asking the kernel about the build's directory.

Nothing is remembered: mounts come from mountinfo, loop devices and mappings from sysfs, processes from
their command lines and root directories. So release works after any crash, from any process, and twice. It needs no
tool, so it can run before the tools are installed.
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    mounts,
    proc,
    processes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.processes import Process

BLOCK = "/sys/block"

# Programs that a build starts; a process is the build's if an argument names a path in its directory.
DAEMONS = ("qemu-storage-daemon",)
HELPERS = re.compile(
    r"bwrap|tar|mke2fs|mkfs\..*|qemu-img|qemu-system-.*|grub2?-fstest|fstrim|sha256sum|sync"
)
# Where image_runtime puts it, relative to the work directory.
LAUNCHER = "sandbox/launcher.pyc"


@dataclasses.dataclass(frozen=True)
class Loop:
    """A bound loop device."""

    device: str
    number: int
    path: str


@dataclasses.dataclass(frozen=True)
class Holds:
    """Everything to release, in the order of release."""

    processes: t.Tuple[Process, ...] = ()
    mounts: t.Tuple[mounts.Mount, ...] = ()
    mappings: t.Tuple[str, ...] = ()
    nodes: t.Tuple[str, ...] = ()
    loops: t.Tuple[Loop, ...] = ()
    daemons: t.Tuple[Process, ...] = ()

    def any(self) -> bool:
        """Say whether anything is held."""
        return any(getattr(self, field.name) for field in dataclasses.fields(self))

    def describe(self) -> t.List[str]:
        """Name everything that is held."""
        return [
            *(f"process {it.pid} ({it.name})" for it in self.processes),
            *(f"mount {it.path} ({it.type})" for it in self.mounts),
            *(f"mapping {it}" for it in self.mappings),
            *(f"node {it}" for it in self.nodes),
            *(f"loop device {it.device} on {it.path}" for it in self.loops),
            *(f"daemon {it.pid} ({it.name})" for it in self.daemons),
        ]


def find(directory: str) -> Holds:
    """Find everything that belongs to the build in *directory*, an absolute path without symlinks."""
    table = mounts.read()
    # Last mounted first: a mount comes before the mount that it covers or that contains it.
    inside = [mount for mount in reversed(table) if mounts.is_below(mount.path, directory)]
    loops = [loop for loop in _loops() if mounts.is_below(loop.path, directory)]
    mappings = _mappings([os.path.basename(loop.device) for loop in loops])
    numbers = {loop.number for loop in loops} | {_number(name) for name in mappings}
    numbers |= {number for mount in inside for number in _numbers(mount)}
    # A bind mount of a builder's file does not make the builder's file system one of the build.
    numbers -= {mount.number for mount in table if not mounts.is_below(mount.path, directory)}
    numbers.discard(os.stat("/").st_dev)
    working, daemons = _processes(directory, numbers)
    return Holds(
        processes=tuple(working),
        mounts=tuple(inside),
        mappings=tuple(proc.read_text(f"{BLOCK}/{name}/dm/name") for name in mappings),
        nodes=tuple(_nodes(directory, {loop.number for loop in loops})),
        loops=tuple(loops),
        daemons=tuple(daemons),
    )


def _numbers(mount: mounts.Mount) -> t.Set[int]:
    try:
        # On Btrfs, files have another device number than the mount.
        return {mount.number, os.stat(mount.path).st_dev}
    except OSError:
        return {mount.number}  # a FUSE mount whose daemon has ended


def _number(name: str) -> int:
    major, _colon, minor = proc.read_text(f"{BLOCK}/{name}/dev").partition(":")
    return os.makedev(int(major), int(minor)) if minor else -1


def _loops() -> t.List[Loop]:
    loops = []
    for name in proc.list_names(BLOCK):
        path = (
            proc.read_text(f"{BLOCK}/{name}/loop/backing_file") if name.startswith("loop") else ""
        )
        if path:
            deleted = " (deleted)"
            path = path[: -len(deleted)] if path.endswith(deleted) else path
            loops.append(Loop(f"/dev/{name}", _number(name), path))
    return loops


def _mappings(names: t.Sequence[str]) -> t.List[str]:
    """Return the device-mapper devices (dm-0, ...) on *names*, topmost first."""
    devices: t.List[str] = []
    for name in names:
        upper = [it for it in proc.list_names(f"{BLOCK}/{name}/holders") if it.startswith("dm-")]
        for it in [*_mappings(upper), *upper]:
            if it not in devices:
                devices.append(it)
    return devices


def _nodes(directory: str, numbers: t.Set[int]) -> t.List[str]:
    """Return the nodes of the build's loop devices, also of those that it no longer has.

    The kernel does not know the latter. They are recognised by name, and because the loop device is free or
    bound to a file that is not of a build with that name.
    """
    bound = {loop.number: loop.path for loop in _loops()}
    name = os.path.basename(directory)
    # The role disk names it so, with the first digits of the digest of its directory.
    own = re.compile(rf"sealedroot-{re.escape(name)}-[0-9a-f]{{8}}")
    nodes = []
    for entry in proc.list_names(mounts.MAPPER_DIR):
        path = f"{mounts.MAPPER_DIR}/{entry}"
        info = os.lstat(path)
        if not stat.S_ISBLK(info.st_mode):
            continue
        backing = bound.get(info.st_rdev, "")
        stale = (
            own.fullmatch(entry) is not None
            and os.major(info.st_rdev) == 7
            and not backing.endswith(f"/{name}/payload")
        )
        if info.st_rdev in numbers or stale:
            nodes.append(path)
    return nodes


def _processes(directory: str, numbers: t.Set[int]) -> t.Tuple[t.List[Process], t.List[Process]]:
    """Return the processes that work in the image or on the build's files, and the daemons."""
    working, daemons = [], []
    spared = processes.own_line()
    for entry in proc.list_names(proc.PROC):
        if not entry.isdigit() or int(entry) in spared:
            continue
        argv = processes.command_line(entry)
        try:
            name = os.path.basename(os.readlink(f"{proc.PROC}/{entry}/exe")).split(" ")[0]
            root = os.stat(f"{proc.PROC}/{entry}/root").st_dev
        except OSError:
            continue  # a kernel thread, or a process that has ended
        process = Process(int(entry), name)
        if name in DAEMONS:
            if processes.mentions(argv, directory):
                daemons.append(process)
        elif root in numbers or (_is_helper(name, argv) and processes.mentions(argv, directory)):
            working.append(process)
    return working, daemons


def _is_helper(name: str, argv: t.Sequence[str]) -> bool:
    """Say whether this is a program that a build starts; programs in a sandbox end with its launcher."""
    return bool(HELPERS.fullmatch(name)) or any(it.endswith(f"/{LAUNCHER}") for it in argv)


__all__ = ("Holds", "Loop", "find")
