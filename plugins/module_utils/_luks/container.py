# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Location of a LUKS container: the options that all LUKS modules share."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import struct
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import sudo
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

ARGUMENT_SPEC: t.Dict[str, t.Dict[str, t.Any]] = {
    "path": {"type": "path", "required": True},
    "offset": {"type": "int", "default": 0},
    "size": {"type": "int", "default": 0},
}


def check(path: str, offset: int, size: int) -> None:
    """Refuse a container that does not exist or lies outside its file."""
    if not os.path.exists(path):
        raise SealedRootError(f"{path} does not exist: make the image first, or correct the path")
    if not os.path.isfile(path) and not stat.S_ISBLK(os.stat(path).st_mode):
        raise SealedRootError(f"{path} is neither a file nor a block device: correct the path")
    if offset < 0 or size < 0 or offset % 512 or size % 512:
        raise SealedRootError(
            f"offset {offset} and size {size} must be whole 512-byte sectors, in bytes"
        )
    if os.path.isfile(path) and offset + size > os.path.getsize(path):
        raise SealedRootError(
            f"{path} ends at {os.path.getsize(path)} bytes, before offset {offset} plus size {size}"
        )


# Longer than any key exchange, unless it hangs.
LOCK_SECONDS = 300
# A byte that nobody else locks: QEMU locks from byte 100 on. Not flock(2), which cryptsetup uses itself.
_LOCKED_BYTE = 0x7365616C
_OFD_SETLK = 37


@contextlib.contextmanager
def locked(path: str, seconds: float = LOCK_SECONDS) -> t.Iterator[None]:
    """Hold a lock on *path*. Others wait for it, such as tasks that still run after their controller was killed."""
    request = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, _LOCKED_BYTE, 1, 0)
    handle = os.open(path, os.O_RDWR)
    try:
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.fcntl(handle, _OFD_SETLK, request)
                break
            except (BlockingIOError, PermissionError):
                if time.monotonic() > deadline:
                    raise SealedRootError(
                        f"{path} has been locked by another program for {seconds:g} seconds: wait until"
                        " that has ended, and run this again"
                    ) from None
            time.sleep(0.1)
        yield
    finally:
        os.close(handle)


def wrong_key(key_file: str, path: str) -> SealedRootError:
    """Return the error that a key is another one."""
    return SealedRootError(
        f"the key in {key_file} does not open the container in {path}: give the file of one that does"
    )


def check_key_file(path: str, what: str = "key file") -> None:
    """Refuse a key file that others can read, or that is not a regular file; messages call it *what*."""
    try:
        info = os.lstat(path)
    except FileNotFoundError as exc:
        raise SealedRootError(f"the {what} {path} does not exist") from exc
    if not os.path.isfile(path) or os.path.islink(path):
        raise SealedRootError(f"the {what} {path} must be a regular file")
    if not sudo.is_trusted(info.st_uid):
        raise SealedRootError(
            f"the {what} {path} belongs to user {info.st_uid}, who could change it: give it to root"
            f" (chown root {path})"
        )
    if not info.st_size:
        so = (
            "a container would open without a key"
            if what == "key file"
            else "it would open nothing"
        )
        raise SealedRootError(f"the {what} {path} is empty: {so}")
    if info.st_mode & 0o077:
        raise SealedRootError(
            f"the {what} {path} can be read by others: set its mode to 0600 (chmod 0600 {path})"
        )


__all__ = (
    "ARGUMENT_SPEC",
    "check",
    "check_key_file",
    "locked",
    "wrong_key",
)
