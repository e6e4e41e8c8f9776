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

import re
import struct
import typing as t
import uuid

from ansible_collections.sealedroot.image.plugins.module_utils._firmware import ovmf, volumes
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

_TABLE = uuid.UUID("1e74f542-71dd-4d66-963e-ef4287ff173b").bytes_le
_LUKS_KEY = uuid.UUID("736869e5-84f0-4973-92ec-06879ce3da0b").bytes_le
_HEAD = struct.Struct("<16sI")
_WORDS = struct.Struct("<5I")
# The keys that a build generates. GRUB's script reads no others.
KEY_BYTES = 44
# It erases so many bytes at a time, and has a word for each.
ROW = 16
_MOST_ROOM = 1 << 16
READABLE = re.compile(rb"[A-Za-z0-9+/=]{%d}" % KEY_BYTES)


class Place(t.NamedTuple):
    """Where in a table with a key of KEY_BYTES bytes numbers and the key are."""

    # The numbers of 32 bits that each such table has, by their offsets.
    table: t.Mapping[int, int]
    entry: t.Mapping[int, int]
    key: int


def place() -> Place:
    """Return what a program that reads the table, and has no other code for it, compares and reads."""
    entry = _HEAD.size + _HEAD.size + KEY_BYTES + 1
    return Place(
        _numbers(0, _TABLE, entry),
        _numbers(_HEAD.size, _LUKS_KEY, entry - _HEAD.size),
        2 * _HEAD.size,
    )


def _numbers(at: int, guid: bytes, size: int) -> t.Dict[int, int]:
    words = _WORDS.unpack(_HEAD.pack(guid, size))
    return {at + 4 * index: word for index, word in enumerate(words)}


def holds(table: bytes, key: bytes) -> bool:
    """Say whether *table* is the one with this *key*."""
    return table == build(key, _HEAD.size * 4 + len(key))


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


def check_area(area: ovmf.Area, name: str) -> None:
    """Refuse a firmware whose area for the secret is too small, or not in whole rows, which is how it is erased."""
    needed = len(build(bytes(KEY_BYTES), area.size))
    if area.base % ROW or area.size % ROW or not needed <= area.size <= _MOST_ROOM:
        raise SealedRootError(
            f"{name} has its area for a launch secret at no multiple of {ROW} bytes, or of no such size:"
            f" {volumes.CURE}"
        )


def _row(guid: bytes, content: bytes) -> bytes:
    return _HEAD.pack(guid, _HEAD.size + len(content)) + content


__all__ = ("KEY_BYTES", "READABLE", "ROW", "Place", "build", "check_area", "holds", "place")
