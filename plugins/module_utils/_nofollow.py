# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Reading what an untrusted image wrote: no symbolic link is ever followed, nothing but files is read."""

from __future__ import annotations

import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError

LARGEST = 64 << 20
MOST = 256
DEEPEST = 8


def _open(name: str, flags: int, directory: t.Optional[int], label: str) -> int:
    try:
        # O_NONBLOCK: opening a FIFO must not wait for its writer.
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | flags, dir_fd=directory)
    except OSError as exc:
        # ELOOP or, with O_DIRECTORY, ENOTDIR is the answer for a link.
        try:
            kind = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        except OSError:
            kind = 0
        if stat.S_ISLNK(kind):
            raise SealedRootError(
                f"{label} is a symbolic link, which is not followed: put the file itself there"
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
            inner = _open(part, os.O_DIRECTORY, handle, label)
        finally:
            os.close(handle)
        handle = inner
    return handle


def _read(name: str, directory: int, label: str) -> bytes:
    handle = _open(name, 0, directory, label)
    with open(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise SealedRootError(f"{label} is neither a file nor a directory: remove it")
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise SealedRootError(
            f"{label} is larger than {LARGEST >> 20} MiB: it cannot be a boot file"
        )
    return data


def read_file(path: str) -> bytes:
    """Read the regular file at an absolute path."""
    folder, name = os.path.split(path)
    handle = open_directory(folder)
    try:
        return _read(name, handle, path)
    finally:
        os.close(handle)


def read_tree(path: str) -> t.Dict[str, bytes]:
    """Read every file below the directory at an absolute path, by its path below it."""
    files: t.Dict[str, bytes] = {}

    def visit(handle: int, prefix: str) -> None:
        if prefix.count("/") > DEEPEST:
            raise SealedRootError(f"{path}/{prefix} is more than {DEEPEST} directories deep")
        for name in sorted(os.listdir(handle)):
            label = f"{path}/{prefix}{name}"
            mode = os.stat(name, dir_fd=handle, follow_symlinks=False).st_mode
            # What it is by now is decided by the open itself, not by this look.
            if stat.S_ISDIR(mode):
                inner = _open(name, os.O_DIRECTORY, handle, label)
                try:
                    visit(inner, f"{prefix}{name}/")
                finally:
                    os.close(inner)
                continue
            files[f"{prefix}{name}"] = _read(name, handle, label)
            if len(files) > MOST:
                raise SealedRootError(f"{path} has more than {MOST} files: it cannot be for an ESP")

    top = open_directory(path)
    try:
        visit(top, "")
    finally:
        os.close(top)
    return files


__all__ = ("LARGEST", "open_directory", "read_file", "read_tree")
