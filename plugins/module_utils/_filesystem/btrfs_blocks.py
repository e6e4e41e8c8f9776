# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Items in the blocks of Btrfs's trees: pure, apart from the function that reads a block.

Numbers are little-endian, and structures as in the kernel's include/uapi/linux/btrfs_tree.h. Checksums are
btrfs-check(8)'s affair.
"""

from __future__ import annotations

import bisect
import re
import struct
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# An object, a type of item, and a number that the type gives a meaning.
Key = t.Tuple[int, int, int]
# The tree that the others are found in says of this one that it is what a mount shows.
FILES = 5
XATTR_ITEM, DIR_ITEM, ROOT_ITEM, _LAST = 24, 84, 132, (1 << 64) - 1
_HEADER = struct.Struct("<48xQ40xIB")  # btrfs_header
_POINTER = struct.Struct("<QBQQ8x")  # btrfs_key_ptr
_ITEM = struct.Struct("<QBQII")  # btrfs_item
_NAMED = struct.Struct("<QBQ8xHHx")  # btrfs_dir_item
_ROOT = struct.Struct(
    "<168xQQ"
)  # btrfs_root_item up to the number of its root directory and its block
_MOST_LEVELS = 8
# Of a block, in bytes (BTRFS_MAX_METADATA_BLOCKSIZE).
LARGEST_NODE = 64 << 10
# One copy of a chunk is enough, and of one that is whole in one piece all addresses follow each other.
_CHUNK = re.compile(
    r"key \(FIRST_CHUNK_TREE CHUNK_ITEM (\d+)\) [^\n]*\n"
    r"\s*length (\d+) [^\n]* type (\S+)\n"
    r"[^\n]*\n"
    r"\s*num_stripes (\d+) [^\n]*\n"
    r"\s*stripe 0 devid \d+ offset (\d+)\n"
)


class Chunk(t.NamedTuple):
    """Addresses of the file system, from *start*, and where on the device they are; in bytes."""

    start: int
    size: int
    place: int


class Node(t.NamedTuple):
    """A block of a tree: for each key, the address of a block below it, or at level 0 where in *data* its item is."""

    data: bytes
    level: int
    keys: t.List[Key]
    below: t.List[int]
    places: t.List[t.Tuple[int, int]]

    def item(self, index: int) -> bytes:
        """Return an item."""
        return _cut(self.data, *self.places[index])


class Named(t.NamedTuple):
    """What a name leads to: of a directory's entry, a key; of an attribute, a value."""

    location: Key
    value: bytes


def damaged(what: str) -> SealedRootError:
    """Return the error for something of the image that makes no sense."""
    return SealedRootError(f"{what} of the root file system is damaged")


def parse_chunks(text: str) -> t.List[Chunk]:
    """Parse ``inspect-internal dump-tree -t chunk``."""
    found = []
    for match in _CHUNK.finditer(text):
        start, size, stripes, place = map(int, match.group(1, 2, 4, 5))
        if stripes == 1 or "DUP" in match.group(3).split("|"):
            found.append(Chunk(start, size, place))
    return found


def place_of(chunks: t.Iterable[Chunk], address: int, size: int) -> int:
    """Return where on the device *size* bytes from an address on are."""
    for chunk in chunks:
        if chunk.start <= address and address + size <= chunk.start + chunk.size:
            return chunk.place + address - chunk.start
    raise damaged(f"the address {address}")


def crc32c(data: bytes, crc: int) -> int:
    """Return the checksum of RFC 3720, appendix B.4, begun with *crc*; it is not inverted at the end."""
    for byte in data:
        crc ^= byte
        for _bit in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


def name_hash(name: bytes) -> int:
    """Return the third part of the key that a name's item has (btrfs_name_hash in the kernel's fs/btrfs)."""
    return crc32c(name, 0xFFFFFFFE)


def _unpack(form: struct.Struct, data: bytes, position: int = 0) -> t.Tuple[t.Any, ...]:
    try:
        return form.unpack_from(data, position)
    except struct.error:
        raise damaged("an item") from None


def _cut(data: bytes, position: int, size: int) -> bytes:
    if position + size > len(data):
        raise damaged("an item")
    return data[position : position + size]


def parse_node(data: bytes, address: int) -> Node:
    """Parse the block that is at *address*."""
    said, count, level = _unpack(_HEADER, data)
    if said != address or level >= _MOST_LEVELS:
        raise damaged(f"the block {address}")
    node = Node(data, level, [], [], [])
    form = _POINTER if level else _ITEM
    for number in range(count):
        inode, kind, offset, *rest = _unpack(form, data, _HEADER.size + number * form.size)
        node.keys.append((inode, kind, offset))
        if level:
            node.below.append(rest[0])
        else:
            node.places.append((_HEADER.size + rest[0], rest[1]))
    return node


def named(item: bytes, name: bytes) -> t.Optional[Named]:
    """Return what *name* leads to; an item has all names of the same hash."""
    position = 0
    while position < len(item):
        inode, kind, offset, value, length = _unpack(_NAMED, item, position)
        position += _NAMED.size
        if _cut(item, position, length) == name:
            return Named((inode, kind, offset), _cut(item, position + length, value))
        position += length + value
    return None


class Forest:
    """Finds items in all trees, of which *root* is the address of the one with the others' roots.

    *read* returns the block at an address.
    """

    def __init__(self, read: t.Callable[[int], bytes], root: int) -> None:
        self._read = read
        self._root = root
        self._nodes: t.Dict[int, Node] = {}

    def _node(self, address: int) -> Node:
        if address not in self._nodes:
            self._nodes[address] = parse_node(self._read(address), address)
        return self._nodes[address]

    def last(self, tree: int, key: Key) -> t.Tuple[Key, bytes]:
        """Return the last item of a tree that is not behind *key*, with its own key."""
        node = self._node(tree)
        while True:
            index = bisect.bisect_right(node.keys, key) - 1
            if index < 0:
                return (0, 0, 0), b""
            if not node.level:
                return node.keys[index], node.item(index)
            below = self._node(node.below[index])
            # So a tree has an end.
            if below.level != node.level - 1:
                raise damaged("a tree")
            node = below

    def _tree(self, number: int) -> t.Tuple[int, int]:
        """Return the address of a tree of files and its root directory."""
        key, item = self.last(self._root, (number, ROOT_ITEM, _LAST))
        if key[:2] != (number, ROOT_ITEM):
            raise damaged(f"the tree {number}")
        inode, tree = _unpack(_ROOT, item)
        return tree, inode

    def _named(self, tree: int, inode: int, kind: int, name: bytes) -> t.Optional[Named]:
        wanted = (inode, kind, name_hash(name))
        key, item = self.last(tree, wanted)
        return named(item, name) if key == wanted else None

    def attribute(self, path: t.Sequence[bytes], name: bytes) -> t.Optional[bytes]:
        """Return an attribute of the file that a path without links leads to; None when it has none of that name."""
        tree, inode = self._tree(FILES)
        for part in path:
            found = self._named(tree, inode, DIR_ITEM, part)
            if not found:
                raise damaged(f"the entry {part!r} of a directory")
            inode, kind, _offset = found.location
            if kind == ROOT_ITEM:
                tree, inode = self._tree(inode)
        attribute = self._named(tree, inode, XATTR_ITEM, name)
        return attribute.value if attribute else None


__all__ = (
    "LARGEST_NODE",
    "Chunk",
    "Forest",
    "Named",
    "Node",
    "crc32c",
    "damaged",
    "name_hash",
    "named",
    "parse_chunks",
    "parse_node",
    "place_of",
)
