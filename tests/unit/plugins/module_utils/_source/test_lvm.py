# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Physical volumes written here byte by byte, hostile ones above all; lvm's own are in the integration tests."""

from __future__ import annotations

import struct
import zlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._source import lvm
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

MIB = 1 << 20
UUID = "abcdef-abcd-abcd-abcd-abcd-abcd-abcdef"
AREA = (4096, MIB - 4096)
SEGMENT = 'segment1 { start_extent = 0 extent_count = 2 type = "striped" stripe_count = 1 stripes = ["pv0", 3] }'


def crc(data: bytes) -> int:
    return zlib.crc32(data, 0xF597A6CF ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def label(areas: bytes = struct.pack("<QQ", *AREA) + bytes(16), data: bytes = bytes(16)) -> bytes:
    rest = UUID.replace("-", "").encode() + struct.pack("<Q", 64 * MIB) + data + areas
    rest = (struct.pack("<I8s", 32, b"LVM2 001") + rest).ljust(492, b"\0")
    return struct.pack("<8sQI", b"LABELONE", 1, crc(rest)) + rest


def header(text: bytes, where: int = 512, length: int | None = None, flags: int = 0) -> bytes:
    size = len(text) if length is None else length
    rest = struct.pack("<16sIQQ", b" LVM2 x[5A%r0N*>", 1, *AREA)
    rest += struct.pack("<QQII", where, size, crc(text), flags)
    return struct.pack("<I", crc(rest.ljust(508, b"\0"))) + rest.ljust(508, b"\0")


def volume(name: str = "root", segments: str = SEGMENT, count: int = 1) -> str:
    return f'{name} {{ status = ["READ", "VISIBLE"] segment_count = {count} {segments} }}'


def group(volumes: str, seqno: int = 1, extents: int = 15, extent_size: int = 8192) -> str:
    place = f'pv0 {{ id = "{UUID}" pe_start = 2048 pe_count = {extents} }}'
    head = f'id = "g" seqno = {seqno} extent_size = {extent_size}'
    return f"vg {{ {head} physical_volumes {{ {place} }} logical_volumes {{ {volumes} }} }}"


def disk(text: str = "", head: bytes | None = None, the_label: bytes | None = None) -> bytes:
    data = text.encode()
    found = bytes(512) + (label() if the_label is None else the_label)
    found = found.ljust(4096, b"\0") + (header(data) if head is None else head) + data
    return found.ljust(MIB, b"\0")


def look(content: bytes, *members: tuple[int, int]) -> list[lvm.LogicalVolume]:
    found = members or ((0, 64 * MIB),)
    return lvm.logical_volumes(lambda at, n: content[at : at + n], found)


def test_a_linear_volume() -> None:
    (found,) = look(disk(group(volume())))
    assert found == lvm.LogicalVolume("vg/root", ((MIB + 3 * 4 * MIB, 8 * MIB),))


def test_pieces_that_follow_each_other_are_one() -> None:
    second = SEGMENT.replace("segment1", "segment2").replace("start_extent = 0", "start_extent = 2")
    (found,) = look(disk(group(volume(segments=SEGMENT + second.replace("3]", "5]"), count=2))))
    assert found.pieces == ((MIB + 3 * 4 * MIB, 16 * MIB),)
    (found,) = look(disk(group(volume(segments=SEGMENT + second.replace("3]", "0]"), count=2))))
    assert found.pieces == ((MIB + 3 * 4 * MIB, 8 * MIB), (MIB, 8 * MIB))


def test_no_physical_volume_and_one_without_metadata() -> None:
    assert look(bytes(MIB)) == []
    assert look(disk(the_label=label()[:20] + bytes(492))) == []  # no label for lvm either
    assert look(disk(head=header(b"", where=0))) == []
    assert look(disk(group(volume()), head=header(b"", flags=1))) == []


def test_the_last_metadata_counts() -> None:
    old, new = disk(group(volume("old"))), disk(group(volume("new"), seqno=2))
    for both in (old + new, new + old):
        assert [it.name for it in look(both, (0, 64 * MIB), (MIB, 64 * MIB))] == ["vg/new"]


def test_what_is_merged() -> None:
    link = 'snapshot0 { status = ["VISIBLE"] segment_count = 1 segment1 { start_extent = 0 extent_count = 2'
    link += ' type = "snapshot" origin = "root" merging_store = "cow" } }'
    found = look(disk(group(volume() + volume("cow") + link)))
    assert {it.name: it.problem for it in found} == {
        "vg/root": "a volume that a snapshot is merged into",
        "vg/cow": "a snapshot",
    }


@pytest.mark.parametrize(
    ("segments", "says"),
    [
        (SEGMENT.replace('["pv0", 3]', '["pv0", 3, "pv0", 9]'), "striped"),
        (SEGMENT.replace('"striped"', '"thin"'), "of the type thin"),
        (SEGMENT.replace('"pv0"', '"pvmove0"'), "being moved (pvmove)"),
        (SEGMENT.replace("stripes = ", "stripes = 7 x = "), "striped"),
    ],
)
def test_what_is_not_linear(segments: str, says: str) -> None:
    (found,) = look(disk(group(volume(segments=segments))))
    assert (found.pieces, found.problem) == ((), says)


def test_too_many_pieces() -> None:
    several = "".join(
        f'segment{n} {{ start_extent = {n} extent_count = 1 type = "striped" stripes = ["pv0", {n % 2 * 5}] }}'
        for n in range(lvm.MAX_PIECES + 1)
    )
    (found,) = look(disk(group(volume(segments=several, count=lvm.MAX_PIECES + 1))))
    assert found.problem == "in 257 pieces"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (disk(group(volume(), extents=4)), "extents that its physical volume has not"),
        (disk(group(volume(segments=SEGMENT.replace("3]", "-3]")))), "volume has not"),
        (disk(group(volume(), extents=99, extent_size=1 << 40)), "is not on its physical volume"),
        (disk(group(volume(), extent_size=0)), "is not on its physical volume"),
        (disk(group(volume(segments=SEGMENT.replace("t = 0", "t = 1")))), "is not on its"),
        (disk(group(volume(count=2))), "has not the segments"),
        (disk(group(volume(segments="", count=0))), "has no segment"),
        (disk(group(volume("$(reboot)"))), "other signs than lvm allows"),
        (disk(group(volume()).replace("vg", "v;g")), "other signs than lvm allows"),
        (disk(group("root = 7")), "root in the metadata is no section"),
        (
            disk(group(volume()).replace("extent_size = 8192", 'extent_size = "x"')),
            "extent_size in",
        ),
        (disk(group(volume()).replace("pe_start = 2048", "")), "pe_start in the metadata"),
        (disk("a { } b { }"), "not that of one volume group"),
        (disk("a {"), "ends in the middle"),
        (disk("a = [1, 2"), "ends in the middle"),
        (disk("a"), "no value for 'a'"),
        (disk("a { " * 100), "no value for 'a'"),
        (disk('a = "x'), "an unknown sign"),
        (disk("x", head=bytes(512)), "header of a metadata area is damaged"),
        (disk("x", head=header(b"y")), "the metadata is damaged"),
        (disk("x", head=header(b"x", where=MIB)), "not in its area"),
        (disk("x", head=header(b"x", length=1 << 40)), "not in its area"),
        (disk("x", head=header(b"x", where=8)), "not in its area"),
        (disk(the_label=label(struct.pack("<QQ", 1 << 60, 1 << 60) + bytes(16))), "is not on its"),
        (disk(the_label=label(b"", data=b"\1" * 440)), "does not end"),
    ],
)
def test_damaged_or_hostile(content: bytes, says: str) -> None:
    with pytest.raises(SealedRootError, match="the LVM of the disk cannot be read") as error:
        look(content)
    assert says in str(error.value)


def test_reads_the_notation_of_lvm() -> None:
    text = '# a {\nb = [] # }\nc {\n\td = ["x\\"y", -3, 1.5]\t# MB\n}\n#'
    assert lvm.parse(text) == {"b": [], "c": {"d": ['x"y', -3, "1.5"]}}


def test_comments_cost_no_more_than_their_length() -> None:
    assert lvm.parse("# " * 200_000) == {}
