# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The table with the key that is injected into a guest: pure.

Firmware leaves it in memory, where GRUB reads it (docs/facts.md: launch-secret-table).
"""

from __future__ import annotations

import struct
import uuid

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

_TABLE = uuid.UUID("1e74f542-71dd-4d66-963e-ef4287ff173b").bytes_le
_LUKS_KEY = uuid.UUID("736869e5-84f0-4973-92ec-06879ce3da0b").bytes_le
_HEAD = struct.Struct("<16sI")


def build(key: bytes, room: int) -> bytes:
    """Return the table with a key; refuse a key for which the *room* of the firmware is too small."""
    entry = _row(_LUKS_KEY, key + b"\0")
    table = _row(_TABLE, entry)
    padded = table.ljust((len(table) + 15) // 16 * 16, b"\0")
    if len(padded) > room:
        raise SealedRootError(
            f"the firmware has {room} bytes for a launch secret, which are too few for this key: use a shorter key, or"
            " another firmware"
        )
    return padded


def _row(guid: bytes, content: bytes) -> bytes:
    return _HEAD.pack(guid, _HEAD.size + len(content)) + content


__all__ = ("build",)
