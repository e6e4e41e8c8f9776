# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Loop devices for a region of a file, given by offset and size: no partition scan, so no race with udev.

A binding is identified by device and inode of the backing file, not by its path: the path can be
renamed or belong to another mount namespace.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import stat
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

# The kernel clears a loop device when its last user closes it; that user can be a probe by udev.
RELEASE_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class Loop:
    """One bound loop device; *offset* in bytes."""

    device: str
    offset: int
    inode: t.Tuple[int, int]
    backing_file: str


def parse(text: str) -> t.List[Loop]:
    """Parse ``losetup --list --json`` (losetup(8)), which prints nothing when no device is bound."""
    if not text.strip():
        return []
    return [
        Loop(
            device=row["name"],
            # Old releases of losetup print numbers as strings.
            offset=int(row["offset"] or 0),
            inode=_inode(row["back-maj:min"], row["back-ino"]),
            backing_file=row["back-file"] or "",
        )
        for row in json.loads(text)["loopdevices"]
    ]


def _inode(device: t.Optional[str], number: t.Union[str, int, None]) -> t.Tuple[int, int]:
    """Return device and inode; losetup prints null while a process releases the device, or on a dead FUSE mount."""
    if not device or not number:
        return (0, 0)
    major, minor = device.split(":")
    return os.makedev(int(major), int(minor)), int(number)


def list_all(runner: Runner) -> t.List[Loop]:
    """Return every bound loop device."""
    columns = "NAME,OFFSET,BACK-MAJ:MIN,BACK-INO,BACK-FILE"
    argv = [runner.find("losetup"), "--list", "--json", "--output", columns]
    return parse(runner.run(argv, timeout=60).stdout)


def find_all(runner: Runner, *, path: str, offset: int = 0) -> t.List[Loop]:
    """Return the loop devices bound to *path* at *offset*; there can be more than one."""
    info = os.stat(path)
    inode = (info.st_dev, info.st_ino)
    return [loop for loop in list_all(runner) if loop.inode == inode and loop.offset == offset]


def attach(
    runner: Runner,
    *,
    path: str,
    offset: int = 0,
    size: int = 0,
    read_only: bool = False,
    direct_io: bool = False,
    sector: int = 0,
) -> str:
    """Bind a free loop device to *path* and return its node; losetup finds and binds it in one step."""
    argv = [runner.find("losetup"), "--find", "--show"]
    if offset:
        argv += ["--offset", str(offset)]
    if size:
        argv += ["--sizelimit", str(size)]
    if read_only:
        argv.append("--read-only")
    if direct_io:
        argv.append("--direct-io=on")
    if sector:
        argv += ["--sector-size", str(sector)]
    return runner.run([*argv, path], timeout=60).stdout.strip()


def detach(runner: Runner, device: str, *, inode: t.Optional[t.Tuple[int, int]] = None) -> None:
    """Release *device* and wait until the kernel no longer holds its file, *inode*.

    If another process has bound the device to another file meanwhile, it counts as released.
    """
    if inode is None:
        inode = next((it.inode for it in list_all(runner) if it.device == device), None)
    runner.run([runner.find("losetup"), "--detach", device], timeout=60)
    deadline = time.monotonic() + RELEASE_SECONDS
    while any((it.device, it.inode) == (device, inode) for it in list_all(runner)):
        if time.monotonic() > deadline:
            raise SealedRootError(
                f"{device} is still in use {RELEASE_SECONDS} seconds after it was detached:"
                " unmount what is on it, or close the program that has it open"
            )
        time.sleep(0.05)


@contextlib.contextmanager
def attached(
    runner: Runner,
    *,
    path: str,
    offset: int = 0,
    size: int = 0,
    read_only: bool = False,
    sector: int = 0,
) -> t.Iterator[str]:
    """Yield a block device for a region of *path*, and release it afterwards.

    A whole file or device needs no loop device, unless read-only: cryptsetup repairs a damaged header if it can write.
    """
    if not offset and not size and not read_only:
        yield path
        return
    info = os.stat(path)
    device = attach(runner, path=path, offset=offset, size=size, read_only=read_only, sector=sector)
    try:
        yield device
    finally:
        detach(runner, device, inode=(info.st_dev, info.st_ino))


def is_block_device(path: str) -> bool:
    """Say whether *path* is a block device node."""
    return stat.S_ISBLK(os.stat(path).st_mode)


def is_read_only(device: str) -> bool:
    """Say whether the kernel refuses writes to a block device."""
    number = os.stat(device).st_rdev
    name = f"/sys/dev/block/{os.major(number)}:{os.minor(number)}/ro"
    with open(name, encoding="ascii") as handle:
        return handle.read().strip() == "1"


__all__ = (
    "RELEASE_SECONDS",
    "Loop",
    "attach",
    "attached",
    "detach",
    "find_all",
    "is_block_device",
    "is_read_only",
    "list_all",
    "parse",
)
