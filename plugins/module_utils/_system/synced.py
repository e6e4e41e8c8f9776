# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Files and names that survive a power failure."""

from __future__ import annotations

import os

from ansible_collections.sealedroot.image.plugins.module_utils._system import sudo


def write_new(path: str, content: bytes, mode: int, *, is_output: bool) -> None:
    """Write a new file, never through a link, and wait until it is on the disk.

    An output belongs to the caller of sudo, if there is one. If it cannot be written, nothing is left.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(handle, mode)
            if is_output:
                sudo.give_open(handle)
            file.write(content)
            file.flush()
            os.fsync(handle)
    except BaseException:
        os.unlink(path)
        raise


def sync(path: str) -> None:
    """Wait until a file, or the names in a directory, are on the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


__all__ = ("sync", "write_new")
