# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A firmware for SEV that is small: a table, metadata for SNP and a compressed volume, but no code."""

from __future__ import annotations

import lzma
import struct
import typing as t
import uuid

FOOTER = "96b582de-1fb2-45f7-baea-a366c55a082d"
SECRET = "4c2eb361-7d9b-4cc3-8081-127c90d3d294"
HASHES = "7255371f-3a3b-4b04-927b-1da6efa8d454"
RESET = "00f771de-1a7e-4fcb-890e-68c77e2fb44e"
METADATA = "dc886566-984a-4798-a75e-5585a7bf67cc"
DRIVER = "6e2b9619-8810-4e9d-a177-d432bb9abeda"
KERNEL = "4de79437-abd2-427f-b835-d5b172d2045b"
LZMA = "ee4e5898-3914-4259-9d6e-dc7bd79403cf"
# As in Debian's OVMF.amdsev.fd 2026.08.
ENTRIES = {
    HASHES: struct.pack("<II", 0x810C00, 0x400),
    SECRET: struct.pack("<II", 0x810000, 0xC00),
    RESET: struct.pack("<I", 0x80B004),
}
SECTIONS = ((0x800000, 0x9000, 1), (0x80D000, 0x1000, 2), (0x80E000, 0x1000, 3))
KERNEL_HASHES = (0x810000, 0x1000, 0x10)


def le(guid: str) -> bytes:
    return uuid.UUID(guid).bytes_le


def volume(*guids: str, kind: int = 2, offset: int = 24) -> bytes:
    """Return a section of a firmware volume that is compressed."""
    packed = lzma.compress(b"code " + b" ".join(map(le, guids)), format=lzma.FORMAT_ALONE)
    size = (24 + len(packed)).to_bytes(3, "little")
    return size + bytes([kind]) + le(LZMA) + struct.pack("<HH", offset, 1) + packed


def metadata(*sections: tuple[int, int, int], version: int = 1, count: int = 0) -> bytes:
    """Return the regions that SNP measures in ways of their own."""
    body = b"".join(struct.pack("<III", *it) for it in sections)
    header = struct.pack("<4sIII", b"ASEV", 16 + len(body), version, count or len(sections))
    return header + body


def table(entries: t.Iterable[tuple[str, bytes]], length: int = 0) -> bytes:
    """Return the table and the reset vector behind it."""
    rows = b"".join(data + struct.pack("<H", len(data) + 18) + le(guid) for guid, data in entries)
    return rows + struct.pack("<H", length or len(rows) + 18) + le(FOOTER) + bytes(32)


def ovmf(
    change: t.Mapping[str, bytes | None] | None = None,
    *,
    code: bytes = volume(DRIVER, KERNEL),
    snp: bytes = metadata(*SECTIONS, KERNEL_HASHES),
    length: int = 0,
    more: t.Sequence[tuple[str, bytes]] = (),
) -> bytes:
    """Return a firmware; *change* replaces or removes entries of its table, *more* are in front of them."""
    entries = {**ENTRIES, METADATA: b"....", **(change or {})}
    rows = [*more, *((guid, data) for guid, data in entries.items() if data is not None)]
    end = table(rows, length)
    end = end.replace(b"....", struct.pack("<I", len(snp) + len(end)))
    return padded(code + snp + end)


def padded(data: bytes) -> bytes:
    """Return whole pages with *data* at their end, as a machine would have them."""
    return bytes(-len(data) % 4096) + data
