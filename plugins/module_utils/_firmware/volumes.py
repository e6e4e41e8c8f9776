# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""A firmware that starts the kernel that it compared, and no program of a disk: pure.

If the host hides the kernel, edk2 goes on and starts a program of the host's disk, which can read the secret
(docs/facts.md: firmware-other-programs). So what reads programs from elsewhere becomes padding. Sizes and places stay
as they are. It is written by hand, because the library that builds volumes needs compiled code on each builder
(docs/facts.md: firmware-volumes).
"""

from __future__ import annotations

import lzma
import struct
import typing as t
import uuid

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

LARGEST = 64 << 20
LZMA = uuid.UUID("ee4e5898-3914-4259-9d6e-dc7bd79403cf").bytes_le
CURE = "give the firmware for SEV, OVMF.amdsev.fd (Debian: package ovmf-amdsev)"

# Length, signature, and where the header and the extended header end or begin.
_VOLUME = struct.Struct("<16x16xQ4s4xH2xH4x")
_EXTENDED = struct.Struct("<16sI")
_FILE = struct.Struct("<16s2sBB3sB")
_FILE_SYSTEMS = tuple(
    uuid.UUID(it).bytes_le
    for it in ("8c8ce578-8a3d-4f1c-9935-896185c32dd3", "5473c07a-3dcb-4dca-bd6f-1e9689e7349a")
)
_BIG, _CHECKED = 0x01, 0x40
_DRIVERS, _APPLICATION, _INNER, _PAD = (0x07, 0x08), 0x09, 0x0B, 0xF0
_COMPRESSED, _GUIDED, _NAME, _NESTED = 0x01, 0x02, 0x15, 0x17
_UNCHECKED = 0xAA
_KNOWN_SIZE = slice(5, 13)

# What a driver knows that offers files, or programs as a network card does.
_OFFERS = tuple(
    uuid.UUID(it).bytes_le
    for it in ("964e5b22-6459-11d2-8e39-00a0c969723b", "56ec3091-954c-11d2-8e3f-00a0c969723b")
)
_KERNEL_LOADER = uuid.UUID("806040ca-dad9-4978-a3b4-2d2ab0c8a48f").bytes_le
# BdsDxe asks for both, and offers none.
_KEPT = (_KERNEL_LOADER, uuid.UUID("6d33944a-ec75-4855-a54d-809c75241f6c").bytes_le)


class Piece(t.NamedTuple):
    """Where a file or a section begins, where its content does, and where it ends."""

    head: int
    body: int
    end: int
    kind: int


class _Changed:
    """The names of the removed files, whether the loader of the kernel was seen, and the bytes left to unpack."""

    def __init__(self) -> None:
        self.left = LARGEST
        self.removed: t.List[str] = []
        self.loads_kernel = False


def kernel_only(data: bytes, name: str) -> t.Tuple[bytes, t.List[str]]:
    """Return the firmware *name* without what starts other programs than the kernel, and the names of that."""
    found = bytearray(data)
    changed = _Changed()
    at = 0
    while at < len(found):
        at = _volume(found, at, len(found), name=name, changed=changed)
    if not changed.loads_kernel:
        raise SealedRootError(
            f"{name} has no DXE volume with the driver that loads a kernel of QEMU's: {CURE}"
        )
    return bytes(found), changed.removed


def check(data: bytes, name: str) -> None:
    """Refuse a firmware that can start other programs than the kernel."""
    _made, removed = kernel_only(data, name)
    if removed:
        raise SealedRootError(
            f"{name} can start programs of the host's disk, with a launch secret in memory ({', '.join(removed)}): give"
            " launch/firmware.fd of the image"
        )


def unpack(packed: bytes, most: int = LARGEST) -> bytes:
    """Return what LZMA packed, as far as it is not too large."""
    reader = lzma.LZMADecompressor(format=lzma.FORMAT_ALONE, memlimit=LARGEST * 2)
    return reader.decompress(packed, max_length=most)


def _volume(data: bytearray, at: int, end: int, *, name: str, changed: _Changed) -> int:
    """Change the volume that begins at *at*, and return where it ends."""
    if end - at < _VOLUME.size:
        raise _unknown(name, "has something else than volumes")
    system = bytes(data[at + 16 : at + 32])
    length, signature, header, extended = _VOLUME.unpack_from(data, at)
    if signature != b"_FVH" or not _VOLUME.size <= header <= length <= end - at:
        raise _unknown(name, "has something else than volumes")
    last: int = at + length
    if system not in _FILE_SYSTEMS:
        return last  # variables
    first = at + header
    if extended:
        if extended + _EXTENDED.size > length:
            raise _unknown(name, "has a volume without an end of its header")
        first = max(first, at + extended + _EXTENDED.unpack_from(data, at + extended)[1])
    for file in _files(data, at, _aligned(first - at, 8) + at, last, name=name):
        _file(data, file, name=name, changed=changed)
    return last


def _files(data: bytearray, base: int, at: int, end: int, *, name: str) -> t.Iterator[Piece]:
    while at + _FILE.size <= end and data[at : at + _FILE.size].strip(b"\xff"):
        _guid, _sums, kind, flags, size, _state = _FILE.unpack_from(data, at)
        whole, body = int.from_bytes(size, "little"), at + _FILE.size
        if flags & _BIG:
            body += 8
            whole = int.from_bytes(data[at + _FILE.size : body], "little")
        if not body - at <= whole <= end - at:
            raise _unknown(name, "has a file that is longer than its volume")
        yield Piece(at, body, at + whole, kind)
        at = base + _aligned(at - base + whole, 8)


def _file(data: bytearray, file: Piece, *, name: str, changed: _Changed) -> None:
    guid = bytes(data[file.head : file.head + 16])
    content = data[file.body : file.end]
    changed.loads_kernel |= guid == _KERNEL_LOADER and file.kind in _DRIVERS
    if file.kind == _INNER:
        if _sections(data, file, name=name, changed=changed) and data[file.head + 19] & _CHECKED:
            data[file.head + 17] = -sum(data[file.body : file.end]) & 0xFF
    elif file.kind == _APPLICATION or (
        file.kind in _DRIVERS and guid not in _KEPT and any(it in content for it in _OFFERS)
    ):
        changed.removed.append(_name_of(data, file, name=name) or str(uuid.UUID(bytes_le=guid)))
        _blank(data, file)
    elif file.kind in _DRIVERS and any(
        it.kind in (_COMPRESSED, _GUIDED) for it in _pieces(data, file, name=name)
    ):
        raise _unknown(name, "has a driver that is compressed in a way of its own")


def _blank(data: bytearray, file: Piece) -> None:
    """Turn a file into padding of the same size."""
    size, big = data[file.head + 20 : file.head + 23], data[file.head + _FILE.size : file.body]
    flags, state = data[file.head + 19] & ~_CHECKED, data[file.head + 23]
    data[file.head : file.end] = b"\xff" * (file.end - file.head)
    head = bytearray(b"\xff" * 16 + bytes((0, 0, _PAD, flags)) + size + b"\0" + big)
    # The sum over the header without its state and the sum of the content is zero.
    head[16] = -sum(head) & 0xFF
    head[17], head[23] = _UNCHECKED, state
    data[file.head : file.body] = head


def _pieces(data: bytearray, file: Piece, *, name: str) -> t.Iterator[Piece]:
    """Give the sections between the beginning of a content and its end."""
    at = file.body
    while at + 4 <= file.end:
        size, body, kind = int.from_bytes(data[at : at + 3], "little"), at + 4, data[at + 3]
        if size == 0xFFFFFF:
            size, body = int.from_bytes(data[at + 4 : at + 8], "little"), at + 8
        if not body - at <= size <= file.end - at:
            raise _unknown(name, "has a section that is longer than its file")
        yield Piece(at, body, at + size, kind)
        at = file.body + _aligned(at - file.body + size, 4)


def _name_of(data: bytearray, file: Piece, *, name: str) -> str:
    for section in _pieces(data, file, name=name):
        if section.kind == _NAME:
            said = data[section.body : section.end].decode("utf-16-le", "replace").rstrip("\0")
            return said if said.isalnum() else ""
    return ""


def _sections(data: bytearray, file: Piece, *, name: str, changed: _Changed) -> bool:
    """Change the volumes in a file; say whether anything was."""
    before = len(changed.removed)
    for section in _pieces(data, file, name=name):
        if section.kind == _NESTED:
            _volume(data, section.body, section.end, name=name, changed=changed)
        elif section.kind in (_COMPRESSED, _GUIDED):
            _packed(data, section, name=name, changed=changed)
    return len(changed.removed) > before


def _packed(data: bytearray, section: Piece, *, name: str, changed: _Changed) -> None:
    start = section.head + int.from_bytes(data[section.body + 16 : section.body + 18], "little")
    guid = data[section.body : section.body + 16]
    if section.kind != _GUIDED or guid != LZMA or not section.body + 20 <= start <= section.end:
        raise _unknown(name, "is compressed in a way that is not LZMA")
    try:
        content = bytearray(unpack(bytes(data[start : section.end]), changed.left))
    except lzma.LZMAError:
        raise _unknown(name, "has a volume that cannot be unpacked") from None
    # All of them are kept while what is in them is read.
    changed.left -= len(content)
    if changed.left <= 0:
        raise _unknown(name, f"has more than {LARGEST >> 20} MiB in its volumes")
    inner = Piece(0, 0, len(content), _INNER)
    if not _sections(content, inner, name=name, changed=changed):
        return
    packed = bytearray(lzma.compress(content, format=lzma.FORMAT_ALONE))
    # edk2 takes the size from the header, where Python writes that it is not known, and ignores what follows.
    packed[_KNOWN_SIZE] = len(content).to_bytes(8, "little")
    room = section.end - start
    if len(packed) > room:
        raise _unknown(name, f"has {room} bytes for its volumes, and {len(packed)} are needed")
    data[start : section.end] = packed.ljust(room, b"\xff")


def _aligned(number: int, to: int) -> int:
    return (number + to - 1) // to * to


def _unknown(name: str, what: str) -> SealedRootError:
    return SealedRootError(
        f"{name} {what}, so what reads programs from a disk cannot be taken out of it: {CURE}"
    )


__all__ = ("CURE", "LARGEST", "LZMA", "check", "kernel_only", "unpack")
