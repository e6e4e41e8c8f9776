# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Check signatures of EFI programs without trusting any key: pure.

Only the firmware can tell whether it knows the key of a signature. This checks that there is a signature
and that the program was not changed after it: the signature holds the program's digest (Microsoft:
"Windows Authenticode Portable Executable Signature Format", and "PE Format").
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct
import typing as t

_PKCS = 0x0002  # WIN_CERT_TYPE_PKCS_SIGNED_DATA
_CHECKSUM = 64  # in the optional header
_DIRECTORIES = {0x10B: 96, 0x20B: 112}  # offset of the data directories, for PE32 and PE32+
_CERTIFICATES = 4  # index of that data directory
# UEFI 32.4.1; today's boot loaders are signed with the first.
_DIGESTS = ("sha256", "sha384", "sha512")


@dataclasses.dataclass(frozen=True)
class Program:
    """An EFI program: its sections, its signatures (PKCS #7), and the digests that these can contain."""

    sections: t.Tuple[str, ...]
    signatures: t.Tuple[bytes, ...]
    digests: t.Tuple[bytes, ...]


def parse(data: bytes) -> t.Optional[Program]:
    """Parse *data* as an EFI program; return None if it is not one."""
    try:
        return _parse(data)
    except (struct.error, IndexError, KeyError, ValueError):
        return None


def _parse(data: bytes) -> t.Optional[Program]:
    if data[:2] != b"MZ":
        return None
    (start,) = struct.unpack_from("<I", data, 0x3C)
    if data[start : start + 4] != b"PE\0\0":
        return None
    count, size = struct.unpack_from("<2xH12xH", data, start + 4)
    optional = start + 24
    (kind,) = struct.unpack_from("<H", data, optional)
    directories = optional + _DIRECTORIES[kind]
    (directory_count,) = struct.unpack_from("<I", data, directories - 4)
    entry = directories + 8 * _CERTIFICATES
    first, length = 0, 0
    if directory_count > _CERTIFICATES:
        first, length = struct.unpack_from("<II", data, entry)
    end = first if length else len(data)
    if length and first + length != len(data):
        return None  # no signature covers data after the signatures
    checksum = optional + _CHECKSUM
    hashed = data[:checksum] + data[checksum + 4 : entry] + data[entry + 8 : end]
    table = optional + size
    begins = (table + 40 * index for index in range(count))
    sections = (data[begin : begin + 8].rstrip(b"\0") for begin in begins)
    return Program(
        sections=tuple(name.decode("ascii", "replace") for name in sections),
        signatures=tuple(_signatures(data[first : first + length])),
        digests=tuple(hashlib.new(name, hashed).digest() for name in _DIGESTS),
    )


def _signatures(table: bytes) -> t.Iterator[bytes]:
    position = 0
    while position + 8 <= len(table):
        length, _revision, kind = struct.unpack_from("<IHH", table, position)
        if length < 8 or position + length > len(table):
            raise ValueError(length)
        if kind == _PKCS:
            yield table[position + 8 : position + length]
        position += (length + 7) // 8 * 8


def problems(name: str, data: bytes, *, sbat: bool = False) -> t.List[str]:
    """Report why firmware with Secure Boot, or shim, would reject the program *name*.

    With *sbat*, it must have SBAT data, which shim requires of itself and of boot loaders (shim: SBAT.md).
    """
    program = parse(data)
    if program is None:
        return [f"{name} is no EFI program"]
    if not program.signatures:
        return [f"{name} is not signed"]
    if not all(any(digest in it for digest in program.digests) for it in program.signatures):
        return [f"{name} is not what was signed: it was changed after that"]
    if sbat and ".sbat" not in program.sections:
        return [f"{name} has no section .sbat, without which shim does not start it"]
    return []


__all__ = ("Program", "parse", "problems")
