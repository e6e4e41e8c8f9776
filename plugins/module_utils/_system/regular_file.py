# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Read and write files in places where an untrusted party can have put anything; no other code does.

A FIFO blocks its reader, opening a device can have side effects, and a sparse file of a terabyte needs no disk space
but would fill the memory. So only regular files are opened, and no more bytes are read than the caller asked for.
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

# Largest configuration file, in bytes: an /etc/hosts that blocks advertisers has two million.
SMALL = 4 << 20
# Largest program, kernel or initramfs.
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


class TooLargeError(SealedRootError):
    """A file has more bytes than the caller asked for."""


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
    path starts from, and *label* the file's name in messages. Raises FileNotFoundError if the file does not exist.
    """
    name_shown = os.fsdecode(name) if label is None else label
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        # Check before, because opening a device can have side effects; the check after opening is what counts.
        _check(os.stat(name, dir_fd=directory, follow_symlinks=follow), name_shown)
        handle = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise _refused(exc, name_shown) from exc
    try:
        _check(os.fstat(handle), name_shown)
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
    """Return the content of a regular file of at most *most* bytes; other parameters are those of :func:`opened`."""
    name_shown = os.fsdecode(name) if label is None else label
    handle = opened(name, follow=follow, directory=directory, label=name_shown)
    with open(handle, "rb") as file:
        try:
            # Read one byte more: the size is 0 in /proc, and a file can grow.
            data = b"" if os.fstat(handle).st_size > most else file.read(most + 1)
        except OSError as exc:
            raise _refused(exc, name_shown) from exc
        if len(data) > most or os.fstat(handle).st_size > most:
            raise TooLargeError(f"{name_shown} is larger than {size(most)}, so it is not read")
    return data


def demand(name: Path, **how: t.Any) -> bytes:
    """Like :func:`read`, but a missing file is a SealedRootError as well."""
    try:
        return read(name, **how)
    except FileNotFoundError as exc:
        name_shown = how.get("label") or os.fsdecode(name)
        raise SealedRootError(f"{name_shown} cannot be read: {exc.strerror}") from exc


def size(number: int) -> str:
    """Format a size for a message."""
    for step, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if number >= 1 << step and not number % (1 << step):
            return f"{number >> step} {unit}"
    return f"{number} bytes"


def write(path: str, data: bytes, *, mode: int = 0o644) -> None:
    """Write *path* by one rename. An existing file must be a regular one and keeps its owner.

    A symbolic link is replaced, not followed.
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
    """Return lstat(2) of the regular file that is replaced; None for a symlink or a missing file."""
    try:
        info = os.lstat(path)
    except OSError:  # if something is wrong with the path, the write reports it
        return None
    if stat.S_ISLNK(info.st_mode):
        return None
    _check(info, path)
    return info


def _fill(file: t.IO[bytes], data: bytes) -> None:
    # Keep zeros as holes: written zeros become ciphertext, which makes the image larger.
    for start in range(0, len(data), _BLOCK):
        block = data[start : start + _BLOCK]
        if block.count(0) == len(block):
            file.seek(len(block), os.SEEK_CUR)
        else:
            file.write(block)
    file.truncate(len(data))


__all__ = ("LARGE", "SMALL", "TooLargeError", "demand", "opened", "read", "size", "write")
