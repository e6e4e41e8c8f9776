# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A firmware for SEV that is small: a table, metadata for SNP and compressed volumes, but no code."""

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
FFS = "8c8ce578-8a3d-4f1c-9935-896185c32dd3"
VARIABLES = "fff12b8d-7696-4c8b-a985-2747075b4f50"
LOADER = "806040ca-dad9-4978-a3b4-2d2ab0c8a48f"
BDS = "6d33944a-ec75-4855-a54d-809c75241f6c"
FAT = "961578fe-b6b7-44c3-af35-6bc705cd2b1f"
SHELL = "7c04a583-9e3e-4f1c-ad65-e05268d0b4d1"
# Protocols: files, and programs as a network card has them.
FILES = "964e5b22-6459-11d2-8e39-00a0c969723b"
LOADS = "56ec3091-954c-11d2-8e3f-00a0c969723b"
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


def section(content: bytes, kind: int = 0x19) -> bytes:
    """Return a section, by default of data; a large one has its size behind 24 ones."""
    size = len(content) + 4
    if size >= 0xFFFFFF:
        return b"\xff\xff\xff" + bytes([kind]) + struct.pack("<I", size + 4) + content
    return size.to_bytes(3, "little") + bytes([kind]) + content


def file(guid: str, *sections: bytes, kind: int = 7, flags: int = 0) -> bytes:
    """Return a file of a volume, by default a driver."""
    content = b"".join(it.ljust((len(it) + 3) // 4 * 4, b"\0") for it in sections)
    size = len(content) + (32 if flags & 1 else 24)
    whole = struct.pack("<Q", size) if flags & 1 else b""
    short = (0xFFFFFF if flags & 1 else size).to_bytes(3, "little")
    checked = -sum(content) & 0xFF if flags & 0x40 else 0xAA
    head = le(guid) + b"\0\0" + bytes([kind, flags]) + short + b"\0" + whole
    sums = bytes([-sum(head) & 0xFF, checked])
    return head[:16] + sums + head[18:23] + b"\xf8" + whole + content


def driver(guid: str, *knows: str, name: str = "", **more: int) -> bytes:
    """Return a driver that has these GUIDs in its code."""
    words = section((name + "\0").encode("utf-16-le"), 0x15) if name else b""
    return file(guid, section(b"code" + b"".join(map(le, knows)), 0x10), words, **more)


def flash(content: bytes, *, system: str = FFS, extended: int = 0, end: bytes = b"") -> bytes:
    """Return a volume of whole pages."""
    size = (72 + len(content) + len(end) + 4095) // 4096 * 4096
    numbers = struct.pack("<Q4sIHHHBB", size, b"_FVH", 0, 72, 0, extended, 0, 2)
    head = bytes(16) + le(system) + numbers + struct.pack("<IIII", size // 4096, 4096, 0, 0)
    fill = b"\0" if end else b"\xff"
    return head + content + fill * (size - 72 - len(content) - len(end)) + end


def packed(content: bytes, *, offset: int = 24, guid: str = LZMA) -> bytes:
    """Return a section that is compressed."""
    data = lzma.compress(content, format=lzma.FORMAT_ALONE)
    return section(le(guid) + struct.pack("<HH", offset, 1) + data, 2)


def files(*content: bytes) -> bytes:
    """Return files one behind the other, each at a multiple of 8."""
    return b"".join(it.ljust((len(it) + 7) // 8 * 8, b"\xff") for it in content)


def dxe(*more: bytes, flags: int = 0) -> bytes:
    """Return the volume that has the volume with the drivers, the loader of the kernel and more ones."""
    drivers = flash(files(driver(LOADER, FILES), driver(BDS, FILES, LOADS), *more))
    inner = packed(section(b"", 0x19) + section(drivers, 0x17))
    return flash(file("9e21fd93-9c72-4c15-8c4b-e77f1db2d792", inner, kind=0x0B, flags=flags))


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
    front: bytes | None = None,
) -> bytes:
    """Return a firmware; *change* replaces or removes entries of its table, *more* are in front of them.

    *front* is the volume with the drivers.
    """
    entries = {**ENTRIES, METADATA: b"....", **(change or {})}
    rows = [*more, *((guid, data) for guid, data in entries.items() if data is not None)]
    end = table(rows, length)
    end = end.replace(b"....", struct.pack("<I", len(snp) + len(end)))
    return (dxe() if front is None else front) + flash(b"", system=VARIABLES, end=code + snp + end)


def padded(data: bytes) -> bytes:
    """Return whole pages with *data* at their end, as a machine would have them."""
    return bytes(-len(data) % 4096) + data
