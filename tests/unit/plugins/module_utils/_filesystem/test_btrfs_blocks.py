# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Items in the blocks of Btrfs's trees; what a kernel wrote is read in tests/integration."""

from __future__ import annotations

import struct
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import btrfs_blocks
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.btrfs_blocks import (
    DIR_INDEX,
    DIR_ITEM,
    EXTENT_DATA,
    INODE_ITEM,
    ROOT_ITEM,
    XATTR_ITEM,
    Chunk,
    Inode,
    Key,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

SIZE = 4096
NAME = b"security.selinux"
# As btrfs-progs 6.2 prints it.
CHUNKS = """chunk tree
leaf 22036480 items 4 free space 15781 generation 6 owner CHUNK_TREE
\titem 0 key (DEV_ITEMS DEV_ITEM 1) itemoff 16185 itemsize 98
\t\tdevid 1 total_bytes 419430400 bytes_used 92274688
\titem 1 key (FIRST_CHUNK_TREE CHUNK_ITEM 13631488) itemoff 16105 itemsize 80
\t\tlength 8388608 owner 2 stripe_len 65536 type DATA|single
\t\tio_align 65536 io_width 65536 sector_size 4096
\t\tnum_stripes 1 sub_stripes 1
\t\t\tstripe 0 devid 1 offset 13631488
\t\t\tdev_uuid 54437c86-62b3-4263-9cda-4becc02c8ebd
\titem 3 key (FIRST_CHUNK_TREE CHUNK_ITEM 30408704) itemoff 15881 itemsize 112
\t\tlength 33554432 owner 2 stripe_len 65536 type METADATA|DUP
\t\tio_align 65536 io_width 65536 sector_size 4096
\t\tnum_stripes 2 sub_stripes 1
\t\t\tstripe 0 devid 1 offset 38797312
\t\t\tdev_uuid 54437c86-62b3-4263-9cda-4becc02c8ebd
\t\t\tstripe 1 devid 1 offset 72351744
\t\t\tdev_uuid 54437c86-62b3-4263-9cda-4becc02c8ebd
"""


def test_chunks() -> None:
    first, second = Chunk(13631488, 8388608, 13631488), Chunk(30408704, 33554432, 38797312)
    assert btrfs_blocks.parse_chunks(CHUNKS) == [first, second]
    # Addresses that jump from stripe to stripe are not followed.
    assert btrfs_blocks.parse_chunks(CHUNKS.replace("DUP", "RAID0")) == [first]


def test_places() -> None:
    chunks = [Chunk(100, 50, 1000), Chunk(150, 50, 5000)]
    assert btrfs_blocks.place_of(chunks, 100, 50) == 1000
    assert btrfs_blocks.place_of(chunks, 160, 10) == 5010
    for address, size in ((99, 1), (140, 20), (199, 2), (200, 1)):
        with pytest.raises(SealedRootError, match="damaged"):
            btrfs_blocks.place_of(chunks, address, size)


def test_name_hash() -> None:
    # What a kernel gave the item.
    assert btrfs_blocks.name_hash(NAME) == 3817753667
    # The check value of CRC-32C.
    assert btrfs_blocks.crc32c(b"123456789", 0xFFFFFFFF) ^ 0xFFFFFFFF == 0xE3069283


def head(address: int, count: int, level: int) -> bytes:
    return struct.pack("<48xQ40xIB", address, count, level)


def leaf(address: int, items: dict[Key, bytes]) -> bytes:
    table, body, end = b"", b"", SIZE - 101
    for key in sorted(items):
        end -= len(items[key])
        body = items[key] + body
        table += struct.pack("<QBQII", *key, end, len(items[key]))
    return (head(address, len(items), 0) + table).ljust(SIZE - len(body), b"\0") + body


def node(address: int, below: dict[Key, int], level: int = 1) -> bytes:
    table = b"".join(struct.pack("<QBQQQ", *key, below[key], 7) for key in sorted(below))
    return (head(address, len(below), level) + table).ljust(SIZE, b"\0")


def entry(name: bytes, value: bytes = b"", location: Key = (0, 0, 0)) -> bytes:
    return struct.pack("<QBQQHHB", *location, 7, len(value), len(name), 8) + name + value


def key(inode: int, kind: int, name: bytes) -> Key:
    return inode, kind, btrfs_blocks.name_hash(name)


def tree(address: int, directory: int = 256) -> bytes:
    return struct.pack("<168xQQ", directory, address).ljust(439, b"\0")


def named(inode: int, kind: int, name: bytes, value: bytes = b"", to: Key = (0, 0, 0)) -> t.Any:
    return key(inode, kind, name), entry(name, value, to)


def inode(size: int, uid: int, mode: int) -> bytes:
    return struct.pack("<16xQ16xIIII", size, 1, uid, 0, mode).ljust(160, b"\0")


def inline(target: bytes, kind: int = 0) -> bytes:
    return struct.pack("<8xQB3xB", len(target), 0, kind) + target


ROOTS, FILES, LEAF, SECOND, OTHER = 10, 20, 30, 40, 50
BLOCKS = {
    ROOTS: leaf(
        ROOTS,
        {
            (4, ROOT_ITEM, 0): tree(1),
            (5, ROOT_ITEM, 0): tree(FILES),
            (300, ROOT_ITEM, 9): tree(OTHER, 77),
        },
    ),
    FILES: node(FILES, {(256, 1, 0): LEAF, (257, 1, 0): SECOND}),
    LEAF: leaf(
        LEAF,
        dict(
            [
                ((256, INODE_ITEM, 0), inode(0, 0, 0o040755)),
                ((256, DIR_INDEX, 2), entry(b"etc", location=(257, INODE_ITEM, 0))),
                ((256, DIR_INDEX, 3), entry(b"sub", location=(300, ROOT_ITEM, 0))),
                ((256, DIR_INDEX, 9), entry(b"lost", location=(301, ROOT_ITEM, 0))),
                named(256, XATTR_ITEM, NAME, b"root"),
                named(256, DIR_ITEM, b"etc", to=(257, INODE_ITEM, 0)),
                named(256, DIR_ITEM, b"sub", to=(300, ROOT_ITEM, 0)),
                named(256, DIR_ITEM, b"lost", to=(301, ROOT_ITEM, 0)),
            ]
        ),
    ),
    SECOND: leaf(
        SECOND,
        dict(
            [
                ((257, INODE_ITEM, 0), inode(0, 0, 0o040700)),
                ((257, DIR_INDEX, 2), entry(b"plain", location=(258, INODE_ITEM, 0))),
                ((257, DIR_INDEX, 3), entry(b"link", location=(259, INODE_ITEM, 0))),
                named(257, DIR_ITEM, b"link", to=(259, INODE_ITEM, 0)),
                ((259, INODE_ITEM, 0), inode(6, 0, 0o120777)),
                ((259, EXTENT_DATA, 0), inline(b"plain\xff")),
                # Another name that happens to have the same hash comes first.
                (key(257, XATTR_ITEM, NAME), entry(b"user.other", b"x") + entry(NAME, b"etc")),
                named(257, DIR_ITEM, b"plain", to=(258, INODE_ITEM, 0)),
                ((258, INODE_ITEM, 0), inode(5, 33, 0o100640)),
                (key(258, XATTR_ITEM, NAME), entry(b"user.other", b"x")),
            ]
        ),
    ),
    OTHER: leaf(
        OTHER,
        dict([((77, INODE_ITEM, 0), inode(0, 7, 0o040711)), named(77, XATTR_ITEM, NAME, b"sub")]),
    ),
}


def forest(**change: bytes) -> btrfs_blocks.Forest:
    return btrfs_blocks.Forest(
        {**BLOCKS, **{globals()[k]: v for k, v in change.items()}}.__getitem__, ROOTS
    )


def test_attributes() -> None:
    it = forest()
    assert it.attribute([], NAME) == b"root"
    assert it.attribute([b"etc"], NAME) == b"etc"
    assert it.attribute([b"etc"], b"user.none") is None
    assert it.attribute([b"etc", b"plain"], NAME) is None
    # A subvolume has a tree of its own.
    assert it.attribute([b"sub"], NAME) == b"sub"


def test_entries() -> None:
    it = forest()
    assert it.entries([]) == {
        b"etc": Inode(0, 0, 0o040700),
        b"sub": Inode(0, 7, 0o040711),
        # What a snapshot has of a subvolume that is gone.
        b"lost": Inode(0, 0, 0o040755),
    }
    assert it.entries([b"etc"]) == {
        b"plain": Inode(5, 33, 0o100640),
        b"link": Inode(6, 0, 0o120777),
    }
    assert it.entries([b"sub"]) == it.entries([b"etc", b"plain"]) == {}
    assert it.link_target([b"etc", b"link"]) == b"plain\xff"


@pytest.mark.parametrize("name", [b"", b".", b"..", b"../x", b"a/b", b"a\0b"])
def test_a_name_that_leads_elsewhere_is_damage(name: bytes) -> None:
    items = {(256, DIR_INDEX, 2): entry(name, location=(257, INODE_ITEM, 0))}
    with pytest.raises(SealedRootError, match=r"the entry b.* of a directory"):
        forest(LEAF=leaf(LEAF, items)).entries([])


@pytest.mark.parametrize(
    "items",
    [
        {(256, DIR_INDEX, 2): entry(b"none", location=(999, INODE_ITEM, 0))},
        {(256, DIR_INDEX, 2): entry(b"short", location=(256, INODE_ITEM, 0))[:-2]},
        {(256, DIR_INDEX, 2): entry(b"x", location=(256, INODE_ITEM, 0)), (256, 1, 0): b"short"},
    ],
)
def test_entries_that_make_no_sense(items: dict[Key, bytes]) -> None:
    with pytest.raises(SealedRootError, match="damaged"):
        forest(LEAF=leaf(LEAF, items)).entries([])


@pytest.mark.parametrize(
    "item", [b"", inline(b"x")[:-1], inline(b"x", kind=1), struct.pack("<8xQB3xB", 1, 1, 0) + b"x"]
)
def test_a_link_that_makes_no_sense(item: bytes) -> None:
    items = dict(
        [
            named(257, DIR_ITEM, b"link", to=(259, INODE_ITEM, 0)),
            ((259, EXTENT_DATA, 0), item),
        ]
    )
    with pytest.raises(SealedRootError, match="damaged"):
        forest(SECOND=leaf(SECOND, items)).link_target([b"etc", b"link"])


def test_directories_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(btrfs_blocks, "_MOST_NODES", 2)
    with pytest.raises(SealedRootError, match="more than an audit reads"):
        forest().entries([])
    monkeypatch.undo()
    monkeypatch.setattr(btrfs_blocks, "_MOST_ENTRIES", 2)
    with pytest.raises(SealedRootError, match="a directory of the root file system is damaged"):
        forest().entries([])


def test_what_is_not_there() -> None:
    for path in ([b"none"], [b"etc", b"none"]):
        with pytest.raises(SealedRootError, match="the entry b'none' of a directory"):
            forest().attribute(path, NAME)
    with pytest.raises(SealedRootError, match="the tree 301"):
        forest().attribute([b"lost"], NAME)
    empty = forest(ROOTS=leaf(ROOTS, {}))
    with pytest.raises(SealedRootError, match="the tree 5"):
        empty.attribute([], NAME)


@pytest.mark.parametrize(
    "change",
    [
        {"ROOTS": leaf(ROOTS, {(5, ROOT_ITEM, 0): b"short"})},
        {"FILES": b""},
        {"FILES": leaf(FILES + 1, {})},  # of another place
        {"FILES": head(FILES, 1 << 31, 0).ljust(SIZE, b"\0")},
        {"FILES": head(FILES, 1 << 31, 1).ljust(SIZE, b"\0")},
        {"FILES": node(FILES, {(256, 1, 0): FILES})},  # a ring
        {"FILES": node(FILES, {(256, 1, 0): LEAF}, level=2)},
        {"FILES": node(FILES, {(256, 1, 0): LEAF}, level=200)},
        {"LEAF": head(LEAF, 1, 0) + struct.pack("<QBQII", *key(256, XATTR_ITEM, NAME), 4000, 96)},
        {"LEAF": leaf(LEAF, {key(256, XATTR_ITEM, NAME): b"short"})},
        {"LEAF": leaf(LEAF, {key(256, XATTR_ITEM, NAME): entry(NAME, b"root")[:-1]})},
        {"LEAF": leaf(LEAF, {key(256, XATTR_ITEM, NAME): entry(NAME)[:-1]})},
    ],
)
def test_damage(change: dict[str, bytes]) -> None:
    with pytest.raises(SealedRootError, match="damaged"):
        forest(**change).attribute([], NAME)
