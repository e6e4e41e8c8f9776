# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The one reader and the one writer of files in a place where somebody else can have put anything.

A FIFO would keep its reader waiting, a device does something when it is opened, and a sparse file of a terabyte takes
no room on a disk, but all memory when it is read. So nothing but a regular file is opened, and no more than the caller
asked for is read.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# What a configuration file has at the most, in bytes: a table of hosts that blocks advertisers has two million.
SMALL = 4 << 20
# What a program, a kernel or an image of memory for it has at the most.
LARGE = 256 << 20

_BLOCK = 4096
_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISLNK, "a symbolic link, which is not followed"),
)
Path = t.Union[str, bytes]


def _check(info: os.stat_result, label: str) -> None:
    for is_kind, name in _KINDS:
        if is_kind(info.st_mode):
            raise SealedRootError(f"{label} is {name}, not a file: put the file itself there")


def _refused(exc: OSError, label: str) -> SealedRootError:
    if exc.errno == errno.ELOOP:
        return SealedRootError(f"{label} is a symbolic link that leads in a circle: correct it")
    return SealedRootError(f"{label} cannot be read: {exc.strerror}")


def opened(
    name: Path,
    *,
    follow: bool = True,
    directory: t.Optional[int] = None,
    label: t.Optional[str] = None,
) -> int:
    """Open a regular file for reading and return its descriptor.

    Without *follow*, a symbolic link at the end of the path is refused. *directory* is the descriptor that a relative
    path begins at, and *label* what the file is called in a message. Raises FileNotFoundError when it is not there.
    """
    said = os.fsdecode(name) if label is None else label
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        # Looked at before, since opening a device does something; what counts is what was opened.
        _check(os.stat(name, dir_fd=directory, follow_symlinks=follow), said)
        handle = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise _refused(exc, said) from exc
    try:
        _check(os.fstat(handle), said)
    except SealedRootError:
        os.close(handle)
        raise
    return handle


def read(
    name: Path,
    *,
    most: int,
    follow: bool = True,
    directory: t.Optional[int] = None,
    label: t.Optional[str] = None,
) -> bytes:
    """Return the content of a regular file that has no more than *most* bytes; the rest is as for :func:`opened`."""
    said = os.fsdecode(name) if label is None else label
    handle = opened(name, follow=follow, directory=directory, label=said)
    with open(handle, "rb") as file:
        try:
            # Read one byte more: the size is 0 in /proc, and a file can grow.
            data = b"" if os.fstat(handle).st_size > most else file.read(most + 1)
        except OSError as exc:
            raise _refused(exc, said) from exc
        if len(data) > most or os.fstat(handle).st_size > most:
            raise SealedRootError(f"{said} is larger than {size(most)}, so it is not read")
    return data


def demand(name: Path, **how: t.Any) -> bytes:
    """Return what :func:`read` does; that the file is not there is an error, too."""
    try:
        return read(name, **how)
    except FileNotFoundError as exc:
        said = how.get("label") or os.fsdecode(name)
        raise SealedRootError(f"{said} cannot be read: {exc.strerror}") from exc


def size(number: int) -> str:
    """Return a size in words."""
    for step, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if number >= 1 << step and not number % (1 << step):
            return f"{number >> step} {unit}"
    return f"{number} bytes"


def write(path: str, data: bytes, *, mode: int = 0o644) -> None:
    """Put a file at *path* in one rename; what is there may be a regular file alone, whose owner stays.

    A symbolic link there is replaced, not followed.
    """
    directory = os.path.dirname(path)
    owner = _replaced(path)
    try:
        os.makedirs(directory, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=directory, prefix=".sealedroot-")
        try:
            with os.fdopen(handle, "wb") as file:
                _fill(file, data)
                os.fchmod(file.fileno(), mode)
                if owner:
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.rename(partial, path)
        except OSError:
            os.unlink(partial)
            raise
    except OSError as exc:
        raise SealedRootError(f"{path} cannot be written: {exc.strerror}") from exc


def _replaced(path: str) -> t.Optional[os.stat_result]:
    """Return what lstat(2) says of the regular file that gives way; None for a link, and where nothing is."""
    try:
        info = os.lstat(path)
    except OSError:  # what stands in the way is said by what writes
        return None
    if stat.S_ISLNK(info.st_mode):
        return None
    _check(info, path)
    return info


def _fill(file: t.IO[bytes], data: bytes) -> None:
    # Zeros stay holes: written, they would be ciphertext that the image carries.
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        if block.count(0) == len(block):
            file.seek(len(block), os.SEEK_CUR)
        else:
            file.write(block)
    file.truncate(len(data))


__all__ = ("LARGE", "SMALL", "demand", "opened", "read", "size", "write")
