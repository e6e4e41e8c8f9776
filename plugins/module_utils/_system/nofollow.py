# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Read files that an untrusted image wrote: never follow a symbolic link, and read only regular files.

The path is walked component by component, each opened relative to the one before. openat2(2) would need a system call
number, a kernel of 2020 or later, and this walk as a fallback.
"""

from __future__ import annotations

import itertools
import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# Bytes of one file, and of all files in a tree.
LARGEST, TOTAL = 64 << 20, 256 << 20
# Number of files and directories.
MOST = 256
DEEPEST = 8


def _open_directory(name: str, directory: int, label: str) -> int:
    try:
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY, dir_fd=directory)
    except OSError as exc:
        # A symbolic link gives ELOOP or ENOTDIR.
        try:
            kind = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        except OSError:
            kind = 0
        if stat.S_ISLNK(kind):
            raise SealedRootError(
                f"{label} is a symbolic link, which is not followed: put the directory itself there"
            ) from exc
        raise SealedRootError(f"{label} cannot be read: {exc.strerror}") from exc


def open_directory(path: str) -> int:
    """Open an absolute directory component by component and return its descriptor."""
    if not os.path.isabs(path) or ".." in path.split("/"):
        raise SealedRootError(f"{path} is not an absolute path without '..': give one")
    handle = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    label = ""
    for part in path.split("/"):
        if part in ("", "."):
            continue
        label = f"{label}/{part}"
        try:
            inner = _open_directory(part, handle, label)
        finally:
            os.close(handle)
        handle = inner
    return handle


def _read(name: str, directory: int, label: str, most: int) -> bytes:
    return regular_file.demand(name, most=most, follow=False, directory=directory, label=label)


def read_file(path: str, *, most: int = LARGEST) -> bytes:
    """Read the regular file at an absolute path, of at most *most* bytes."""
    folder, name = os.path.split(path)
    handle = open_directory(folder)
    try:
        return _read(name, handle, path, most)
    finally:
        os.close(handle)


def read_tree(path: str) -> t.Dict[str, bytes]:
    """Read every file below an absolute directory; the keys are paths relative to it."""
    files: t.Dict[str, bytes] = {}
    # How many entries and bytes may still be read.
    entries, left = MOST, TOTAL

    def names_in(handle: int) -> t.List[str]:
        nonlocal entries
        with os.scandir(handle) as found:
            names = [it.name for it in itertools.islice(found, entries + 1)]
        entries -= len(names)
        if entries < 0:
            raise SealedRootError(f"{path} has more than {MOST} files: it cannot be for an ESP")
        return sorted(names)

    def visit(handle: int, prefix: str) -> None:
        nonlocal left
        if prefix.count("/") > DEEPEST:
            raise SealedRootError(f"{path}/{prefix} is more than {DEEPEST} directories deep")
        for name in names_in(handle):
            label = f"{path}/{prefix}{name}"
            mode = os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode
            # The file can change after this check: the open itself checks again.
            if stat.S_ISDIR(mode):
                inner = _open_directory(name, handle, label)
                try:
                    visit(inner, f"{prefix}{name}/")
                finally:
                    os.close(inner)
                continue
            data = _read(name, handle, label, LARGEST)
            left -= len(data)
            if left < 0:
                raise SealedRootError(
                    f"{path} has more than {regular_file.size(TOTAL)}: it cannot be for an ESP"
                )
            files[f"{prefix}{name}"] = data

    top = open_directory(path)
    try:
        visit(top, "")
    except OSError as exc:
        raise SealedRootError(f"{path} cannot be read: {exc.strerror}") from exc
    finally:
        os.close(top)
    return files


__all__ = ("LARGEST", "open_directory", "read_file", "read_tree")
