# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Find items in the tree blocks of Btrfs: pure, apart from the function that reads a block.

Numbers are little-endian, and structures as in the kernel's include/uapi/linux/btrfs_tree.h. Checksums are
left to btrfs-check(8).
"""

from __future__ import annotations

import bisect
import re
import stat
import struct
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# An object ID, an item type, and an offset whose meaning depends on the type.
Key = t.Tuple[int, int, int]
# Object ID of the file tree of the top-level subvolume, in the tree of roots.
FILES = 5
INODE_ITEM, XATTR_ITEM, DIR_ITEM, DIR_INDEX, EXTENT_DATA, ROOT_ITEM = 1, 24, 84, 96, 108, 132
_LAST = (1 << 64) - 1
_HEADER = struct.Struct("<48xQ40xIB")  # btrfs_header
_POINTER = struct.Struct("<QBQQ8x")  # btrfs_key_ptr
_ITEM = struct.Struct("<QBQII")  # btrfs_item
_NAMED = struct.Struct("<QBQ8xHHx")  # btrfs_dir_item
_ROOT = struct.Struct(
    "<168xQQ"
)  # btrfs_root_item up to the number of its root directory and its block
_INODE = struct.Struct("<16xQ20xI4xI")  # btrfs_inode_item up to its mode
_EXTENT = struct.Struct("<8xQB3xB")  # btrfs_file_extent_item up to its type, before what is inline
_MOST_LEVELS = 8
# Limits for cached blocks and for entries of a directory: more than a hundred thousand files need.
_MOST_NODES, _MOST_ENTRIES = 4096, 1 << 20
# Largest size of a block, in bytes (BTRFS_MAX_METADATA_BLOCKSIZE).
LARGEST_NODE = 64 << 10
# One copy of a chunk is enough, and the addresses of a chunk with one stripe are contiguous.
_CHUNK = re.compile(
    r"key \(FIRST_CHUNK_TREE CHUNK_ITEM (\d+)\) [^\n]*\n"
    r"\s*length (\d+) [^\n]* type (\S+)\n"
    r"[^\n]*\n"
    r"\s*num_stripes (\d+) [^\n]*\n"
    r"\s*stripe 0 devid \d+ offset (\d+)\n"
)


class Chunk(t.NamedTuple):
    """Addresses of the file system, from *start*, and their position on the device; in bytes."""

    start: int
    size: int
    place: int


class Node(t.NamedTuple):
    """A block of a tree: for each key, the address of a block below it, or at level 0 the item's place in *data*."""

    data: bytes
    level: int
    keys: t.List[Key]
    below: t.List[int]
    places: t.List[t.Tuple[int, int]]

    def item(self, index: int) -> bytes:
        """Return the data of an item."""
        return _cut(self.data, *self.places[index])


class Named(t.NamedTuple):
    """What a name refers to: the key of a directory entry, or the value of an attribute."""

    location: Key
    value: bytes


class Inode(t.NamedTuple):
    """Size, owner and mode of a file."""

    size: int
    uid: int
    mode: int


def damaged(what: str) -> SealedRootError:
    """Return the error for an inconsistent part of the file system."""
    return SealedRootError(f"{what} of the root file system is damaged")


def parse_chunks(text: str) -> t.List[Chunk]:
    """Parse ``inspect-internal dump-tree -t chunk``."""
    chunks = []
    for match in _CHUNK.finditer(text):
        start, size, stripes, place = map(int, match.group(1, 2, 4, 5))
        if stripes == 1 or "DUP" in match.group(3).split("|"):
            chunks.append(Chunk(start, size, place))
    return chunks


def place_of(chunks: t.Iterable[Chunk], address: int, size: int) -> int:
    """Return the position on the device of *size* bytes at an address."""
    for chunk in chunks:
        if chunk.start <= address and address + size <= chunk.start + chunk.size:
            return chunk.place + address - chunk.start
    raise damaged(f"the address {address}")


def crc32c(data: bytes, crc: int) -> int:
    """Return the checksum of RFC 3720, appendix B.4, started with *crc*, without the final inversion."""
    for byte in data:
        crc ^= byte
        for _bit in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


def name_hash(name: bytes) -> int:
    """Return the offset in the key of a name's item (btrfs_name_hash in the kernel's fs/btrfs)."""
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
    """Parse the block at *address*."""
    stored_address, count, level = _unpack(_HEADER, data)
    if stored_address != address or level >= _MOST_LEVELS:
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
    """Return what *name* refers to; one item holds all names with the same hash."""
    position = 0
    while position < len(item):
        inode, kind, offset, value, length = _unpack(_NAMED, item, position)
        position += _NAMED.size
        if _cut(item, position, length) == name:
            return Named((inode, kind, offset), _cut(item, position + length, value))
        position += length + value
    return None


def _entry(item: bytes) -> t.Tuple[bytes, Key]:
    """Return the name and the location of a directory entry."""
    inode, kind, offset, _value, length = _unpack(_NAMED, item)
    name = _cut(item, _NAMED.size, length)
    if b"/" in name or b"\0" in name or name in (b"", b".", b".."):
        raise damaged(f"the entry {name!r} of a directory")
    return name, (inode, kind, offset)


class Forest:
    """Finds items in all trees; *root* is the address of the tree with the roots of the others.

    *read* returns the block at an address.
    """

    def __init__(self, read: t.Callable[[int], bytes], root: int) -> None:
        self._read = read
        self._root = root
        self._nodes: t.Dict[int, Node] = {}

    def _node(self, address: int) -> Node:
        if address not in self._nodes:
            if len(self._nodes) == _MOST_NODES:
                raise SealedRootError(
                    "the root file system has directories that take more than an audit reads of them: remove what fills"
                    " them"
                )
            self._nodes[address] = parse_node(self._read(address), address)
        return self._nodes[address]

    def last(self, tree: int, key: Key) -> t.Tuple[Key, bytes]:
        """Return the last item of a tree whose key is not greater than *key*, with its own key."""
        node = self._node(tree)
        while True:
            index = bisect.bisect_right(node.keys, key) - 1
            if index < 0:
                return (0, 0, 0), b""
            if not node.level:
                return node.keys[index], node.item(index)
            below = self._node(node.below[index])
            # The level must decrease, so the loop ends.
            if below.level != node.level - 1:
                raise damaged("a tree")
            node = below

    def _tree(self, number: int) -> t.Tuple[int, int]:
        """Return the address of a file tree and its root directory."""
        item = self._root_item(number)
        if item is None:
            raise damaged(f"the tree {number}")
        inode, tree = _unpack(_ROOT, item)
        return tree, inode

    def _root_item(self, number: int) -> t.Optional[bytes]:
        key, item = self.last(self._root, (number, ROOT_ITEM, _LAST))
        return item if key[:2] == (number, ROOT_ITEM) else None

    def _named(self, tree: int, inode: int, kind: int, name: bytes) -> t.Optional[Named]:
        wanted = (inode, kind, name_hash(name))
        key, item = self.last(tree, wanted)
        return named(item, name) if key == wanted else None

    def _find(self, path: t.Sequence[bytes]) -> t.Tuple[int, int]:
        """Return the tree and the inode of a path without symlinks."""
        tree, inode = self._tree(FILES)
        for part in path:
            found = self._named(tree, inode, DIR_ITEM, part)
            if not found:
                raise damaged(f"the entry {part!r} of a directory")
            tree, inode = self._enter(tree, found.location)
        return tree, inode

    def _enter(self, tree: int, location: Key) -> t.Tuple[int, int]:
        """Return the tree and the inode of a directory entry, which can be a subvolume."""
        inode, kind, _offset = location
        return self._tree(inode) if kind == ROOT_ITEM else (tree, inode)

    def attribute(self, path: t.Sequence[bytes], name: bytes) -> t.Optional[bytes]:
        """Return an attribute of the file at a path without symlinks; None if it does not have it."""
        tree, inode = self._find(path)
        attribute = self._named(tree, inode, XATTR_ITEM, name)
        return attribute.value if attribute else None

    def entries(self, path: t.Sequence[bytes]) -> t.Dict[bytes, Inode]:
        """Return the entries of the directory at a path without symlinks."""
        tree, directory = self._find(path)
        found: t.Dict[bytes, Inode] = {}
        wanted = (directory, DIR_INDEX, _LAST)
        while True:
            key, item = self.last(tree, wanted)
            if key[:2] != (directory, DIR_INDEX):
                return found
            # Keys must decrease, so the loop ends.
            if key > wanted or len(found) == _MOST_ENTRIES:
                raise damaged("a directory")
            name, location = _entry(item)
            found[name] = self._entered(tree, location)
            wanted = (directory, DIR_INDEX, key[2] - 1)

    def _entered(self, tree: int, location: Key) -> Inode:
        number, kind, _offset = location
        if kind == ROOT_ITEM and self._root_item(number) is None:
            # A snapshot still names removed subvolumes; a mount shows them as empty directories.
            return Inode(0, 0, stat.S_IFDIR | 0o755)
        return self._inode(*self._enter(tree, location))

    def _inode(self, tree: int, inode: int) -> Inode:
        key, item = self.last(tree, (inode, INODE_ITEM, 0))
        if key != (inode, INODE_ITEM, 0):
            raise damaged(f"the inode {inode}")
        return Inode(*_unpack(_INODE, item))

    def link_target(self, path: t.Sequence[bytes]) -> bytes:
        """Return the target of a symlink, which Btrfs stores inline in the tree, uncompressed."""
        tree, inode = self._find(path)
        key, item = self.last(tree, (inode, EXTENT_DATA, 0))
        size, compression, kind = _unpack(_EXTENT, item)
        if key != (inode, EXTENT_DATA, 0) or compression or kind:
            raise damaged("a symbolic link")
        return _cut(item, _EXTENT.size, size)


__all__ = (
    "LARGEST_NODE",
    "Chunk",
    "Forest",
    "Inode",
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
