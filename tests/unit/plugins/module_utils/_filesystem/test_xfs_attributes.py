# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Extended attributes in the bytes of XFS; what a kernel wrote is read in tests/integration."""

from __future__ import annotations

import struct

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import xfs_attributes
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.xfs_attributes import (
    Entry,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

INODE = 133
USER, ROOT, SECURE, PARENT, INCOMPLETE = 0x00, 0x02, 0x04, 0x08, 0x80
LOCAL = 0x01


def short_form(*entries: tuple[int, bytes, bytes], count: int | None = None) -> bytes:
    body = b"".join(
        struct.pack(">BBB", len(name), len(value), flags) + name + value
        for flags, name, value in entries
    )
    number = len(entries) if count is None else count
    return struct.pack(">HBx", 4 + len(body), number) + body


def leaf(*entries: tuple[int, bytes, bytes], owner: int = INODE, magic: int = 0x3BEE) -> bytes:
    """Make a block of 4096 bytes whose values are at its end; one that is not LOCAL has its value elsewhere."""
    block = bytearray(4096)
    struct.pack_into(">H", block, 8, magic)
    struct.pack_into(">QH", block, 48, owner, len(entries))
    place = len(block)
    for number, (flags, name, value) in enumerate(entries):
        body = struct.pack(">HB", len(value), len(name)) + name + value
        if not flags & LOCAL:
            body = struct.pack(">IIB", 5, len(value), len(name)) + name
        place -= len(body) + -len(body) % 4
        block[place : place + len(body)] = body
        struct.pack_into(">IHBx", block, 80 + 8 * number, number, place, flags)
    return bytes(block)


def test_short_form() -> None:
    fork = short_form((SECURE, b"selinux", b"u:r:t\0"), (USER, b"a", b""), (ROOT, b"b", b"x"))
    expected = [
        Entry(SECURE, b"selinux", b"u:r:t\0"),
        Entry(USER, b"a", b""),
        Entry(ROOT, b"b", b"x"),
    ]
    # What follows in the inode is not looked at.
    assert list(xfs_attributes.short_form(fork + b"\xff" * 20)) == expected
    assert list(xfs_attributes.short_form(short_form())) == []


@pytest.mark.parametrize(
    "fork",
    [
        b"",
        b"\0\4",
        short_form((SECURE, b"selinux", b"u:r:t\0"))[:-1],
        short_form((SECURE, b"selinux", b"u:r:t\0"), count=2),
        b"\0\x08\1\0\7\xff\4selinux" + b"x" * 255,
        b"\0\6\1\0\7\6\4selinux",
    ],
)
def test_a_damaged_short_form(fork: bytes) -> None:
    with pytest.raises(SealedRootError, match="damaged"):
        list(xfs_attributes.short_form(fork))


def test_a_leaf() -> None:
    block = leaf(
        (LOCAL, b"user", b"x" * 300),
        (LOCAL | SECURE, b"selinux", b"u:r:t\0"),
        (SECURE, b"large", b"y" * 60000),
    )
    assert list(xfs_attributes.block(block, INODE)) == [
        Entry(LOCAL, b"user", b"x" * 300),
        Entry(LOCAL | SECURE, b"selinux", b"u:r:t\0"),
        Entry(SECURE, b"large", None),
    ]


@pytest.mark.parametrize("block", [leaf(magic=0x3EBE), b"XARM" + bytes(4092)])
def test_blocks_without_attributes(block: bytes) -> None:
    assert list(xfs_attributes.block(block, INODE)) == []


def patched(block: bytes, place: int, new: bytes) -> bytes:
    return block[:place] + new + block[place + len(new) :]


ONE = leaf((LOCAL | SECURE, b"selinux", b"u:r:t\0"))
PLACE = 4096 - 16


@pytest.mark.parametrize(
    "block",
    [
        b"",
        bytes(4096),
        leaf(owner=INODE + 1),
        patched(ONE, 56, b"\xff\xff"),  # more entries than there can be
        patched(ONE, 84, b"\xff\xff"),  # an entry behind the block
        patched(ONE, 84, b"\x0f\xff"),  # whose head does not fit
        patched(ONE, PLACE, b"\xff\xff"),  # a value that does not fit
        patched(ONE, PLACE + 2, b"\xff"),  # a name that does not fit
        patched(leaf((SECURE, b"large", b"")), 4096 - 16 + 8, b"\xff"),
    ],
)
def test_a_damaged_block(block: bytes) -> None:
    with pytest.raises(SealedRootError, match="damaged"):
        list(xfs_attributes.block(block, INODE))


def test_find() -> None:
    entries = [
        Entry(LOCAL, b"selinux", b"user"),
        Entry(LOCAL | ROOT, b"selinux", b"trusted"),
        Entry(LOCAL | SECURE | PARENT, b"selinux", b"parent"),
        Entry(LOCAL | SECURE | INCOMPLETE, b"selinux", b"half"),
        Entry(SECURE, b"large", None),
        Entry(LOCAL | SECURE, b"selinux", b"label"),
    ]
    for name, value in {
        "security.selinux": b"label",
        "user.selinux": b"user",
        "trusted.selinux": b"trusted",
        "security.selinu": None,
        "user.large": None,
    }.items():
        assert xfs_attributes.find(entries, name) == value
    # In an inode, no value is elsewhere, and nothing says so.
    assert xfs_attributes.find([Entry(SECURE, b"selinux", b"x")], "security.selinux") == b"x"
    with pytest.raises(SealedRootError, match=r"security\.large .* is too large"):
        xfs_attributes.find(entries, "security.large")
    with pytest.raises(SealedRootError, match=r"system\.posix_acl_access .* cannot be read"):
        xfs_attributes.find(entries, "system.posix_acl_access")
