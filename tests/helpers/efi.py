# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""EFI programs that are small: a GRUB with any modules in it, and signatures that nobody made."""

from __future__ import annotations

import hashlib
import struct
import typing as t

OPTIONAL = 112 + 16 * 8
HEADERS = 0x400


def module(name: str) -> bytes:
    """Return an ELF module with the sections that matter: .shstrtab and .modname."""
    names = b"\0.shstrtab\0.modname\0"
    body = names + name.encode() + b"\0"
    table = 64 + len(body)

    def section(name_at: int, offset: int, size: int) -> bytes:
        return struct.pack("<IIQQQQ", name_at, 1, 0, 0, offset, size).ljust(64, b"\0")

    header = bytearray(64)
    header[:5] = b"\x7fELF\x02"
    struct.pack_into("<Q", header, 0x28, table)
    struct.pack_into("<HHH", header, 0x3A, 64, 2, 0)
    return bytes(header) + body + section(1, 64, len(names)) + section(11, 64 + len(names), 50)


def grub(modules: t.Iterable[str], prefix: str = "/EFI/debian", config: str = "") -> bytes:
    """Return what grub-mkimage appends to a kernel."""
    objects = [(0, module(name)) for name in modules]
    objects += [(2, config.encode() + b"\0"), (3, prefix.encode() + b"\0")]
    body = b"".join(struct.pack("<II", kind, 8 + len(data)) + data for kind, data in objects)
    return struct.pack("<4sIQQ", b"mimg", 0, 24, 24 + len(body)) + body


def program(content: bytes = b"", *, sections: t.Sequence[str] = (".text", ".sbat")) -> bytes:
    """Return a program for x86_64 (PE32+) with *content*, not signed."""
    coff = struct.pack("<HHIIIHH", 0x8664, len(sections), 0, 0, 0, OPTIONAL, 0)
    optional = bytearray(OPTIONAL)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<I", optional, 108, 16)
    rows = b"".join(name.encode().ljust(40, b"\0") for name in sections)
    start = struct.pack("<2s58xI", b"MZ", 64) + b"PE\0\0" + coff + bytes(optional) + rows
    return start.ljust(HEADERS, b"\0") + content.ljust(-len(content) % 8 + len(content), b"\0")


def signed(data: bytes, *, digest: str = "sha256", times: int = 1) -> bytes:
    """Return *data* with signatures in which its digest is, as in real ones."""
    entry = 64 + 24 + 112 + 4 * 8
    checksum = 64 + 24 + 64
    hashed = data[:checksum] + data[checksum + 4 : entry] + data[entry + 8 :]
    blob = b"PKCS7" + hashlib.new(digest, hashed).digest() + b"RSA"
    one = struct.pack("<IHH", 8 + len(blob), 0x0200, 2) + blob
    table = one.ljust(-len(one) % 8 + len(one), b"\0") * times
    directory = struct.pack("<II", len(data), len(table))
    return data[:entry] + directory + data[entry + 8 :] + table
