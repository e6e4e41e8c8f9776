# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The directories of a build and of its image: what their file systems support, and what is wrong with them."""

from __future__ import annotations

import mmap
import os
import tempfile
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._build import holds, work_dir
from ansible_collections.sealedroot.image.plugins.module_utils._system import file_kind, mounts
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

MIB = 1 << 20


def nearest(path: str) -> str:
    """Return *path*, or the nearest directory above it that exists."""
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "."
    return path


def free_bytes(path: str) -> int:
    """Return the room in the file system of *path*, which need not exist."""
    usage = os.statvfs(nearest(path))
    return usage.f_bavail * usage.f_frsize


def are_together(one: str, other: str, seen: t.Optional[t.Sequence[mounts.Mount]] = None) -> bool:
    """Say whether two paths, which need not exist, are in one file system; *seen* are the mounts of this machine.

    The mounts say it (docs/facts.md: subvolume-device).
    """
    seen = mounts.read() if seen is None else seen
    return _number(one, seen) == _number(other, seen)


def _number(path: str, seen: t.Sequence[mounts.Mount]) -> int:
    real = os.path.realpath(nearest(path))
    holding = [it for it in seen if mounts.is_below(real, it.path.rstrip("/"))]
    # Of several in one place, the last is on top.
    return max(reversed(holding), key=lambda it: len(it.path)).number if holding else 0


def file_system(path: str) -> t.Dict[str, t.Any]:
    """Return what the file system of *path*, which need not exist, supports; tried with an unnamed file."""
    directory = nearest(path)
    facts = {"free_bytes": free_bytes(path), "holes": False, "direct_io": False}
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            os.ftruncate(file.fileno(), MIB)
            os.pwrite(file.fileno(), b"x" * mmap.PAGESIZE, 0)
            facts["holes"] = os.fstat(file.fileno()).st_blocks * 512 < MIB
            facts["direct_io"] = _reads_directly(file.fileno())
    except OSError:
        pass  # a read-only file system, which has no room either
    return facts


def _reads_directly(handle: int) -> bool:
    try:
        direct = os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_DIRECT)
    except OSError:
        return False
    try:
        # Anonymous memory is aligned, as direct I/O requires.
        with mmap.mmap(-1, mmap.PAGESIZE) as page:
            return os.readv(direct, [page]) == mmap.PAGESIZE
    except OSError:
        return False
    finally:
        os.close(direct)


def root_problems(seen: t.Sequence[mounts.Mount]) -> t.List[str]:
    """Return why mounts cannot be private: the kernel makes only a root directory private that is a mount."""
    if any(it.path == "/" for it in seen):
        return []
    return [
        "The root directory of the builder is not a mount, as in a plain chroot: bind it to itself before the chroot"
        " (mount --bind DIR DIR), or build outside of it."
    ]


def problems(build: str, output: t.Optional[str]) -> t.List[str]:
    """Return what is wrong with the directory of the build, and with that of the image if it is on this machine."""
    found = root_problems(mounts.read())
    try:
        work_dir.check_place(build)
        if not holds.find(build).any():
            work_dir.check_contents(build)
    except SealedRootError as exc:
        found.append(f"{exc}.")
    facts = file_system(build)
    if not facts["holes"]:
        found.append(
            f"The file system of {build} keeps no sparse files or is read-only: set image_work_dir to"
            " a directory on ext4, XFS, Btrfs or tmpfs."
        )
    if output:
        inner, outer = os.path.realpath(output), os.path.realpath(build)
        if mounts.is_below(inner, outer) or mounts.is_below(outer, inner):
            found.append(
                f"{build}, the directory of the build, and {output}, that of the image, are one in the other: correct"
                " image_work_dir or image_output_dir."
            )
        parent = os.path.dirname(os.path.abspath(output))
        while not os.path.lexists(parent):
            parent = os.path.dirname(parent)
        problem = file_kind.problem(parent, file_kind.DIRECTORY)
        if problem:
            found.append(f"image_output_dir: {parent} {problem}.")
    return found


__all__ = ("are_together", "file_system", "free_bytes", "problems", "root_problems")
