# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Parse extended attributes from blocks of XFS: pure.

The format is version 5, with big-endian numbers: xfs_attr_sf_hdr, xfs_attr3_leafblock and their entries in the
kernel's xfs_da_format.h.
"""

from __future__ import annotations

import struct
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# Flags of an entry: whether its value is stored with it, and its namespace. An entry with any other flag is not an
# attribute, for example one that is being written, or a pointer to the parent.
_LOCAL = 0x01
SPACES = {"user": 0x00, "trusted": 0x02, "security": 0x04}
_SHORT_HEADER = struct.Struct(">HBx")
_SHORT_ENTRY = struct.Struct(">BBB")
_LEAF_HEADER = struct.Struct(">8xH38xQH22x")
_LEAF_ENTRY = struct.Struct(">4xHBx")
_NEAR = struct.Struct(">HB")
_FAR = struct.Struct(">8xB")
_LEAF_MAGIC, _NODE_MAGIC, _VALUE_MAGIC = 0x3BEE, 0x3EBE, b"XARM"


# memoryview, because many entries of a malicious block can refer to the same large piece of it.
Data = t.Union[bytes, memoryview]


class Entry(t.NamedTuple):
    """An attribute; *value* is None if it is stored in separate blocks."""

    flags: int
    name: bytes
    value: t.Optional[Data]


Entries = t.Iterator[Entry]


def _damaged() -> SealedRootError:
    return SealedRootError("the attributes of a file of the image are damaged")


def _unpack(form: struct.Struct, data: Data, position: int) -> t.Tuple[t.Any, ...]:
    try:
        return form.unpack_from(data, position)
    except struct.error:
        raise _damaged() from None


def _cut(data: Data, position: int, size: int) -> Data:
    if position + size > len(data):
        raise _damaged()
    return data[position : position + size]


def short_form(fork: bytes) -> Entries:
    """Yield the attributes stored inside an inode's attribute fork."""
    total, count = _unpack(_SHORT_HEADER, fork, 0)
    fork, position = bytes(_cut(fork, 0, total)), _SHORT_HEADER.size
    for _number in range(count):
        name, value, flags = _unpack(_SHORT_ENTRY, fork, position)
        position += _SHORT_ENTRY.size
        yield Entry(flags, bytes(_cut(fork, position, name)), _cut(fork, position + name, value))
        position += name + value


def block(content: bytes, inode: int) -> Entries:
    """Yield the attributes in a block of the fork of *inode*. Only a leaf has any, not a node or a part of a value."""
    data = memoryview(content)
    magic, owner, count = _unpack(_LEAF_HEADER, data, 0)
    if magic != _LEAF_MAGIC:
        if magic != _NODE_MAGIC and data[: len(_VALUE_MAGIC)] != _VALUE_MAGIC:
            raise _damaged()
        return
    if owner != inode:
        raise _damaged()
    for number in range(count):
        place, flags = _unpack(_LEAF_ENTRY, data, _LEAF_HEADER.size + number * _LEAF_ENTRY.size)
        if flags & _LOCAL:
            value, name = _unpack(_NEAR, data, place)
            place += _NEAR.size
            yield Entry(flags, bytes(_cut(data, place, name)), _cut(data, place + name, value))
        else:
            (name,) = _unpack(_FAR, data, place)
            yield Entry(flags, bytes(_cut(data, place + _FAR.size, name)), None)


def find(entries: t.Iterable[Entry], name: str) -> t.Optional[bytes]:
    """Return the value of an attribute by its full name; None if it is not there."""
    space, _dot, rest = name.partition(".")
    if space not in SPACES:
        raise SealedRootError(f"the attribute {name} of an XFS file system cannot be read")
    for entry in entries:
        if entry.flags & ~_LOCAL == SPACES[space] and entry.name == rest.encode():
            if entry.value is None:
                raise SealedRootError(f"the attribute {name} of a file of the image is too large")
            return bytes(entry.value)
    return None


__all__ = ("SPACES", "Entry", "block", "find", "short_form")
