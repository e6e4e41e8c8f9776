# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Empty the journal of a mounted file system, because GRUB does not replay it.

Until the blocks of a replaced file have been written from the journal to their final place, GRUB reads the old file or
a mixture, even if the file was synced to disk.
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
        # Other file systems empty their journal when they are frozen; one that cannot be frozen has no journal.
        if not _ask(handle, _EXT4_IOC_CHECKPOINT) and _ask(handle, _FIFREEZE):
            _ask(handle, _FITHAW)
    finally:
        os.close(handle)


def _ask(handle: int, request: int) -> bool:
    """Send a request, and say whether the file system supports it."""
    try:
        fcntl.ioctl(handle, request, _NOTHING)
    except OSError as exc:
        if exc.errno in _UNKNOWN:
            return False
        raise
    return True


__all__ = ("flush",)
