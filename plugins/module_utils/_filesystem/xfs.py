# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Read files of an unmounted XFS file system, through xfs_db(8).

xfs_db lists directories and says where a file and its attributes are; the bytes are then read from the device. No
name of the image is ever part of a command.
"""

from __future__ import annotations

import dataclasses
import os
import re
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import (
    reader,
    xfs_attributes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem.reader import (
    Node,
    Volume,
)
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import confined
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    SealedRootError,
)

CHUNK = 1 << 20
# Inodes that one call of xfs_db prints.
_AT_ONCE = 500
_ENTRY = re.compile(rb"\d+ +(\d+) +\w+ +0x[0-9a-f]{8} +(\d+) ")
_GOOD = b" (good)\n"
_INODE = re.compile(
    r"core\.mode = 0([0-7]+)\ncore\.uid = (\d+)\ncore\.size = (\d+)\ncore\.format = \d \((\w+)\)\n"
)
_EXTENT = re.compile(
    r"(?:data|attr) offset (\d+) startblock \d+ \((\d+)/(\d+)\) count (\d+) flag ([01])\n"
)
# Limit for a file's attributes in separate blocks; one attribute has at most 64 KiB.
_MOST_ATTRIBUTES = 16 << 20
# On-disk format, version 5 (the only one that mkfs.xfs makes): offset of an inode's data fork; distance from there to
# the attribute fork, in units of 8 bytes, and whether the attributes are inside it; header of a block of a
# symlink (xfs_dinode, xfs_dsymlink_hdr in the kernel's xfs_format.h).
_INODE_MAGIC, _FORK, _NUMBER = b"IN", 176, 152
_ATTRIBUTE_FORK, _ATTRIBUTE_FORMAT, _IN_FORK = 82, 83, 1
_LINK_MAGIC, _LINK_HEADER = b"XSLM", 56


@dataclasses.dataclass(frozen=True)
class Geometry:
    """Sizes from the superblock, in bytes and blocks."""

    block: int
    group: int
    group_bits: int
    inode: int
    inodes_bits: int
    root: int

    def inode_offset(self, number: int) -> int:
        """Return the position of an inode, in bytes."""
        block, index = number >> self.inodes_bits, number & ((1 << self.inodes_bits) - 1)
        group, inside = block >> self.group_bits, block & ((1 << self.group_bits) - 1)
        return (group * self.group + inside) * self.block + index * self.inode


def parse_directory(listing: bytes) -> t.Dict[str, int]:
    """Parse ``ls`` of xfs_db into names and inodes. A name can hold anything, because its length precedes it."""
    inodes = {}
    position = 0
    while position < len(listing):
        match = _ENTRY.match(listing, position)
        end = match.end() + int(match.group(2)) if match else 0
        if not match or listing[end : end + len(_GOOD)] != _GOOD:
            line = listing[position:].splitlines()[0]
            raise SealedRootError(f"a directory of the image has an unreadable entry: {line!r}")
        name = listing[match.end() : end].decode("utf-8", "surrogateescape")
        if name not in (".", ".."):
            inodes[name] = int(match.group(1))
        position = end + len(_GOOD)
    return inodes


def parse_fields(text: str) -> t.Dict[str, str]:
    """Parse ``print`` of xfs_db: each line is ``name = value``."""
    pairs = (line.partition(" = ") for line in text.splitlines())
    return {name: value for name, equals, value in pairs if equals}


def label(field: str) -> str:
    """Return the label in the twelve bytes that ``print fname`` shows."""
    return field.strip('"').partition("\\000")[0]


class Tree(reader.Tree):
    """Reads XFS."""

    def __init__(self, *args: t.Any) -> None:
        super().__init__(*args)
        fields = parse_fields(self._ask("sb 0", "print"))
        try:
            self._geometry = Geometry(
                block=int(fields["blocksize"]),
                group=int(fields["agblocks"]),
                group_bits=int(fields["agblklog"]),
                inode=int(fields["inodesize"]),
                inodes_bits=int(fields["inopblog"]),
                root=int(fields["rootino"]),
            )
        except (KeyError, ValueError):
            raise SealedRootError("the superblock of the root file system is damaged") from None
        if int(fields.get("versionnum", "0"), 16) & 0xF != 5:
            raise SealedRootError(
                "the root file system is XFS of an old format without checksums: make it anew"
            )
        self.root = self._geometry.root
        self._uuid, self._label = fields.get("uuid", ""), label(fields.get("fname", ""))
        self._formats: t.Dict[int, str] = {}

    def _ask(self, *commands: str) -> str:
        words = [word for command in commands for word in ("-c", command)]
        argv = ["xfs_db", "-r", "-f", *words, confined.DEVICE]
        result = confined.run_tool(self._runner, self._device, argv, timeout=120)
        # xfs_db always exits with 0.
        if result.stderr.strip():
            raise CommandError(argv, result)
        return result.stdout

    def volume(self) -> Volume:
        problems = []
        argv = ["xfs_repair", "-n", "-f", confined.DEVICE]
        check = confined.run_tool(self._runner, self._device, argv, check=False, timeout=600)
        # With a dirty log, xfs_repair ignores the log's content, so its other messages are meaningless.
        if "valuable metadata changes in a log" in check.stdout + check.stderr:
            problems.append("its log was not replayed, which GRUB cannot do: unmount it first")
        elif check.rc != 0:
            problems.append(
                f"xfs_repair finds errors (exit status {check.rc}) in the root file system"
            )
        return Volume("xfs", self._uuid, self._label, tuple(problems))

    def _read_directory(self, inode: int) -> t.Dict[str, Node]:
        listing = self._ask(f"inode {inode}", "ls").encode("utf-8", "surrogateescape")
        inodes = parse_directory(listing)
        nodes = self._nodes(sorted(set(inodes.values())))
        return {name: nodes[number] for name, number in inodes.items()}

    def _nodes(self, numbers: t.Sequence[int]) -> t.Dict[int, Node]:
        nodes = {}
        for start in range(0, len(numbers), _AT_ONCE):
            part = numbers[start : start + _AT_ONCE]
            show = "print core.mode core.uid core.size core.format"
            output = self._ask(*(it for number in part for it in (f"inode {number}", show)))
            rows = _INODE.findall(output)
            if len(rows) != len(part):
                raise SealedRootError("an inode of the root file system is damaged")
            for number, (mode, uid, size, layout) in zip(part, rows):
                nodes[number] = Node(number, int(mode, 8), int(uid), int(size))
                self._formats[number] = layout
        return nodes

    def _extents(self, inode: int, fork: str) -> t.Iterator[t.Tuple[int, int, int, bool]]:
        """Yield the extents of a fork: offset, position on the device and size in bytes, and whether it is written."""
        geometry = self._geometry
        for match in _EXTENT.finditer(self._ask(f"inode {inode}", f"bmap {fork}")):
            offset, group, block, count, unwritten = map(int, match.groups())
            place = (group * geometry.group + block) * geometry.block
            yield offset * geometry.block, place, count * geometry.block, not unwritten

    def _pieces(self, node: Node) -> t.Iterator[t.Tuple[int, int, int]]:
        """Yield the written extents of a file: offset in it, position on the device, size, in bytes."""
        for start, place, size, written in self._extents(node.inode, "-d"):
            size = min(size, node.size - start)
            if written and size > 0:
                yield start, place, size

    def _inode(self, device: int, number: int) -> bytes:
        inode = reader.read_at(device, self._geometry.inode, self._geometry.inode_offset(number))
        if inode[:2] != _INODE_MAGIC or inode[_NUMBER : _NUMBER + 8] != number.to_bytes(8, "big"):
            raise SealedRootError("an inode of the root file system is damaged")
        return inode

    def _read_link(self, node: Node) -> str:
        with open(self._device, "rb") as device:
            if self._formats.get(node.inode) == "local":
                target = self._inode(device.fileno(), node.inode)[_FORK : _FORK + node.size]
            else:
                target = self._long_target(device.fileno(), node)
        return target.decode("utf-8", "surrogateescape")

    def _long_target(self, device: int, node: Node) -> bytes:
        target = b""
        # Each block of a symlink has a header, so its blocks hold more bytes than the length of its target.
        blocks = dataclasses.replace(node, size=node.size + 8 * self._geometry.block)
        for _start, place, size in self._pieces(blocks):
            for position in range(place, place + size, self._geometry.block):
                block = reader.read_at(device, self._geometry.block, position)
                if block[:4] != _LINK_MAGIC:
                    raise SealedRootError("a symbolic link of the image is damaged")
                target += block[_LINK_HEADER:]
        return target[: node.size]

    def _dump(self, node: Node) -> str:
        if not stat.S_ISREG(node.mode):
            raise SealedRootError(f"inode {node.inode} is not a file")
        path = os.path.join(self._work_dir, f"inode-{node.inode}")
        with open(self._device, "rb") as device, open(path, "xb") as copy:
            copy.truncate(node.size)
            pieces = list(self._pieces(node))
            # Overlapping extents would be copied again and again.
            if sum(size for _start, _place, size in pieces) > node.size:
                raise SealedRootError(f"inode {node.inode} of the root file system is damaged")
            for start, place, size in pieces:
                for step in range(0, size, CHUNK):
                    data = reader.read_at(device.fileno(), min(CHUNK, size - step), place + step)
                    os.pwrite(copy.fileno(), data, start + step)
        return path

    def attribute(self, node: Node, name: str) -> t.Optional[bytes]:
        with open(self._device, "rb") as device:
            return xfs_attributes.find(self._attributes(device.fileno(), node.inode), name)

    def _attributes(self, device: int, number: int) -> xfs_attributes.Entries:
        inode = self._inode(device, number)
        fork = 8 * inode[_ATTRIBUTE_FORK]
        if fork and inode[_ATTRIBUTE_FORMAT] == _IN_FORK:
            yield from xfs_attributes.short_form(inode[_FORK + fork :])
        elif fork:
            extents = list(self._extents(number, "-a"))
            if sum(size for _start, _place, size, _written in extents) > _MOST_ATTRIBUTES:
                raise SealedRootError(f"inode {number} has too many attributes to be read")
            for _start, place, size, _written in extents:
                for position in range(place, place + size, self._geometry.block):
                    block = reader.read_at(device, self._geometry.block, position)
                    yield from xfs_attributes.block(block, number)


__all__ = ("Geometry", "Tree", "label", "parse_directory", "parse_fields")
