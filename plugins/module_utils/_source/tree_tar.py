# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Pack a directory tree as the tar of a root.

tar packs the names that our own walk found, so that digest and tar agree and the order is always the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import mounts
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

PACK_SECONDS = 3600
# Limit for the names of a tree, in bytes: a symlink with 4 KB of target uses no disk block, so many fit on a disk.
MOST_NAMES = 256 << 20
_NAME_OVERHEAD = 64
# The kernel and the running system fill these; they are never part of a root.
API_DIRECTORIES = ("dev", "proc", "run", "sys")


@dataclasses.dataclass(frozen=True)
class Scan:
    """The content of a tree: names for tar, and a digest of lstat(2) of all files.

    The digest includes ctime, which nobody can set, so any other content has another digest.
    *newest* is the latest ctime.
    """

    names: t.Tuple[bytes, ...]
    digest: str
    newest: float


def scan(root: str, left_out: t.Iterable[str] = ()) -> Scan:
    """Walk a tree without following symlinks; omit sockets, and the content of directories in *left_out*."""
    top = os.fsencode(root)
    bare = {b"./" + os.fsencode(name) for name in (*API_DIRECTORIES, *left_out)}
    digest = hashlib.sha256()
    names, newest, taken = [], 0.0, 0
    stack = [b"."]
    while stack:
        name = stack.pop()
        path = os.path.join(top, name)
        try:
            info = os.lstat(path)
            if stat.S_ISSOCK(info.st_mode):
                continue
            if stat.S_ISDIR(info.st_mode) and name not in bare:
                inside = sorted(os.listdir(path), reverse=True)
                below = [name + b"/" + it for it in inside]
                taken += sum(len(it) + _NAME_OVERHEAD for it in below)
                if taken > MOST_NAMES:
                    raise SealedRootError(
                        f"the names of what is in {root} take more than {MOST_NAMES >> 20} MiB, as those of no root do:"
                        " give another directory, or remove what fills it"
                    )
                stack += below
        except FileNotFoundError as exc:
            raise changed(root) from exc
        names.append(name)
        newest = max(newest, info.st_ctime)
        fields = (info.st_mode, info.st_uid, info.st_gid, info.st_size, info.st_rdev, info.st_dev)
        times = (info.st_mtime_ns, info.st_ctime_ns, info.st_ino)
        digest.update(repr((name, fields, times)).encode())
    return Scan(tuple(names), digest.hexdigest(), newest)


def changed(root: str) -> SealedRootError:
    """Return the error for a tree that changes while it is read."""
    return SealedRootError(
        f"{root} changed while it was read: stop what writes to it, or make a snapshot (btrfs, LVM) and"
        " give the directory where that is mounted"
    )


def pack(runner: Runner, root: str, names: t.Sequence[bytes], target: str) -> None:
    """Pack these names with everything that a root needs. The same tree gives the same bytes."""
    argv = [runner.find("tar"), "--create", "--file", target, "--directory", root]
    argv += ["--null", "--no-recursion", "--files-from=-", "--atime-preserve=system"]
    argv += ["--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*", "--sparse"]
    # XFS also shows its ACLs under names that have no meaning elsewhere.
    argv.append("--xattrs-exclude=trusted.SGI_ACL_*")
    # By default, extended headers contain access times and tar's process ID.
    argv += ["--format=posix"]
    argv += ["--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"]
    data = b"".join(name + b"\0" for name in names)
    result = runner.run(argv, stdin=data, check=False, timeout=PACK_SECONDS)
    if result.rc == 1 or "File removed before we read it" in result.stderr:
        raise changed(root)
    if result.rc:
        said = result.stderr.strip() or "no reason given"
        raise SealedRootError(f"tar could not pack {root}: {said.splitlines()[0]}")


def mounts_below(root: str, table: t.Iterable[mounts.Mount]) -> t.List[str]:
    """Return the mount points in a directory, relative to it.

    Those in API_DIRECTORIES are omitted, because their content is never packed.
    """
    points = set()
    for mount in table:
        if mount.path.startswith(f"{root}/"):
            name = mount.path[len(root) + 1 :]
            if name.split("/")[0] not in API_DIRECTORIES:
                points.add(name)
    return sorted(points)


__all__ = ("API_DIRECTORIES", "Scan", "changed", "mounts_below", "pack", "scan")
