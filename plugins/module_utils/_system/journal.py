# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What GRUB reads of a mounted file system: the blocks in their places. It replays no journal.

So a file that was replaced a moment ago, synced to disk or not, is for GRUB the old one, or neither, until its
blocks have been written from the journal to where they belong.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct

_EXT4_IOC_CHECKPOINT = 0x4004662B  # Linux 5.14 and later
_FIFREEZE, _FITHAW = 0xC0045877, 0xC0045878
_UNKNOWN = (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL)
_NOTHING = struct.pack("I", 0)


def flush(directory: str) -> None:
    """Empty the journal of the file system that *directory* is on, so that GRUB reads what Linux does."""
    os.sync()
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Any other file system empties its journal when it is frozen; one that cannot be frozen has none.
        if not _ask(handle, _EXT4_IOC_CHECKPOINT) and _ask(handle, _FIFREEZE):
            _ask(handle, _FITHAW)
    finally:
        os.close(handle)


def _ask(handle: int, request: int) -> bool:
    """Say whether the file system knows the request, and did it."""
    try:
        fcntl.ioctl(handle, request, _NOTHING)
    except OSError as exc:
        if exc.errno in _UNKNOWN:
            return False
        raise
    return True


__all__ = ("flush",)
