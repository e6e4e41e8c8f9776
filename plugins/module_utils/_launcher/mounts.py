# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Which of the builder's mounts and devices bwrap finds, and that nobody can change them."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from . import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    import typing as t

# Where a file system can be mounted that has bwrap or its libraries, or that bwrap needs by itself.
NEEDED = (
    "/",
    "/dev",
    "/proc",
    "/bin",
    "/lib",
    "/lib64",
    "/sbin",
    "/usr",
    "/usr/lib",
    "/usr/lib64",
    "/usr/bin",
)

_LOOP_CTL_GET_FREE, _LOOP_SET_FD, _LOOP_SET_STATUS64 = 0x4C82, 0x4C00, 0x4C04
_LO_FLAGS_AUTOCLEAR = 4


def detach_all_but(*wanted: str) -> None:
    """Unmount, in this process's mount namespace, all that neither bwrap nor the paths *wanted* need.

    The process that waits for bwrap stays in this namespace, and would keep the disks of other builds in use.
    """
    for path in reversed(mount_points()):
        if path in NEEDED or path.startswith("/dev/"):
            continue
        if not any(it == path or is_below(it, path) for it in wanted):
            kernel.detach(path)


def is_below(path: str, directory: str) -> bool:
    """Say whether *path* is in *directory*."""
    return path.startswith(f"{directory.rstrip('/')}/")


def mount_points() -> t.List[str]:
    """Return where this process sees file systems, in the order in which they were mounted."""
    with open("/proc/self/mountinfo", "rb") as file:
        names = [line.split(b" ")[4] for line in file]
    # The kernel writes blanks and the like as octal numbers (proc(5)).
    return [
        os.fsdecode(it.decode("unicode_escape").encode("latin-1") if b"\\" in it else it)
        for it in names
    ]


def protect(*paths: str) -> None:
    """Make *paths* read-only for the programs of the image: content, modes, owners and times.

    They are bwrap, which the image sees as /proc/1/exe, and the device nodes. Writing to a device works on a read-only
    mount as well. bwrap itself cannot make such a mount on which device nodes work.
    """
    read_only = kernel.REMOUNT | kernel.BIND | kernel.READ_ONLY | kernel.NO_SETUID
    for path in paths:
        for flags in (kernel.BIND | kernel.RECURSIVE, read_only):
            kernel.mount(path, path, flags=flags)


def read_only_loop(device: str) -> t.Tuple[str, int]:
    """Return a second loop device over *device*, which is read-only, and the descriptor that holds it.

    The kernel releases it when the last descriptor is closed, even by a kill (loop(4), LO_FLAGS_AUTOCLEAR).
    """
    backing = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while True:
            control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
            try:
                path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            finally:
                os.close(control)
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                # The loop device is read-only because the descriptor behind it is.
                fcntl.ioctl(handle, _LOOP_SET_FD, backing)
                # struct loop_info64, whose flags are at offset 52.
                info = bytearray(232)
                struct.pack_into("I", info, 52, _LO_FLAGS_AUTOCLEAR)
                fcntl.ioctl(handle, _LOOP_SET_STATUS64, info)
                return path, handle
            except OSError as exc:
                os.close(handle)
                # Another process took this loop device first.
                if exc.errno != errno.EBUSY:
                    raise
    finally:
        os.close(backing)
