# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What an OVMF firmware for SEV says of itself: pure.

QEMU finds by a table at the end of the file where it writes the hashes of a kernel and a launch secret, and where
further processors start (docs/facts.md: firmware-table).
"""

from __future__ import annotations

import dataclasses
import lzma
import struct
import typing as t
import uuid

from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    kernel_hashes,
    volumes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

PAGE = 4096
# As many processors as KVM starts, of each of which SEV-ES measures a page.
MOST_VCPUS = 4096
LARGEST = volumes.LARGEST

_FOOTER = uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le
_SECRET = uuid.UUID("4c2eb361-7d9b-4cc3-8081-127c90d3d294").bytes_le
_HASHES = uuid.UUID("7255371f-3a3b-4b04-927b-1da6efa8d454").bytes_le
_RESET = uuid.UUID("00f771de-1a7e-4fcb-890e-68c77e2fb44e").bytes_le
_METADATA = uuid.UUID("dc886566-984a-4798-a75e-5585a7bf67cc").bytes_le
# The reset vector is behind the table.
_BEHIND = 32
_ENTRY = struct.Struct("<H16s")
_PAIR = struct.Struct("<II")
_NUMBER = struct.Struct("<I")

_METADATA_HEADER = struct.Struct("<4sIII")
_SECTION = struct.Struct("<III")
_SNP_KERNEL_HASHES = 0x10

# docs/facts.md: firmware-checks-kernel
_SECRET_DRIVER = uuid.UUID("6e2b9619-8810-4e9d-a177-d432bb9abeda").bytes_le
_GUID_DEFINED = 2
_LZMA_DATA = 24
_MOST_VOLUMES = 4


class Area(t.NamedTuple):
    """A region of the guest's memory; base 0 is none."""

    base: int
    size: int

    def overlaps(self, other: Area) -> bool:
        """Say whether a byte is in both."""
        return self.base < other.base + other.size and other.base < self.base + self.size


class Section(t.NamedTuple):
    """A region that SNP measures in a way of its own."""

    base: int
    size: int
    kind: int


@dataclasses.dataclass(frozen=True)
class Firmware:
    """The areas for the secret and the hashes, where further processors start (0 is nowhere), SNP's sections."""

    secret: Area
    hashes: Area
    reset: int
    sections: t.Tuple[Section, ...]


def parse(data: bytes, name: str) -> Firmware:
    """Parse the firmware *name*; refuse one that does not check the kernel, or has no place for a secret."""
    if not data or len(data) % PAGE:
        raise SealedRootError(
            f"{name} is no firmware, because its {len(data)} bytes are no whole pages: {volumes.CURE}"
        )
    entries = _entries(data, name)
    found = Firmware(
        secret=Area(*_unpack(_PAIR, entries.get(_SECRET))),
        hashes=Area(*_unpack(_PAIR, entries.get(_HASHES))),
        reset=_unpack(_NUMBER, entries.get(_RESET))[0],
        sections=tuple(_sections(data, entries, name)),
    )
    for area, what, least in (
        (found.hashes, "the hashes of a kernel", kernel_hashes.SIZE),
        (found.secret, "a launch secret", 1),
    ):
        if not area.base:
            raise SealedRootError(f"{name} has no place for {what}: {volumes.CURE}")
        if area.size < least:
            raise SealedRootError(
                f"{name} has {area.size} bytes for {what}, and {least} are needed: {volumes.CURE}"
            )
    if found.secret.overlaps(found.hashes):
        raise SealedRootError(
            f"{name} has its place for a launch secret where that for the hashes of a kernel is: {volumes.CURE}"
        )
    # Without this, a host could start another kernel, and the measurement would not show it.
    if not _checks_kernel(data):
        raise SealedRootError(
            f"{name} has a table for SEV, but no code that compares the kernel with its hash and keeps the secret:"
            f" {volumes.CURE}"
        )
    return found


def check_processors(firmware: Firmware, name: str) -> None:
    """Refuse a firmware that says nothing of further processors, whose state SEV-ES and SNP measure."""
    if not firmware.reset:
        raise SealedRootError(f"{name} does not support SEV-ES: {volumes.CURE}")


def check_snp(firmware: Firmware, name: str) -> None:
    """Refuse a firmware whose launch digest for SNP would not cover the kernel's hashes."""
    page = firmware.hashes.base // PAGE * PAGE
    if (page, PAGE, _SNP_KERNEL_HASHES) not in firmware.sections:
        raise SealedRootError(
            f"{name} does not tell SNP to measure the page with the kernel's hashes: leave snp out, or {volumes.CURE}"
        )
    if any(it.size % PAGE for it in firmware.sections):
        raise SealedRootError(
            f"{name} has a section for SNP that is no whole pages: it is damaged, so {volumes.CURE}"
        )
    if firmware.hashes.base - page + kernel_hashes.SIZE > PAGE:
        raise SealedRootError(
            f"{name} has the kernel's hashes on two pages, which SNP does not measure: {volumes.CURE}"
        )


def _entries(data: bytes, name: str) -> t.Dict[bytes, bytes]:
    """Return the entries of the table by GUID: each is data, its length with this and the GUID, the GUID."""
    end = len(data) - _BEHIND
    length, guid = _ENTRY.unpack_from(data, end - _ENTRY.size)
    if guid != _FOOTER:
        raise SealedRootError(
            f"{name} has no table at its end, so it is no OVMF firmware, or only its variables: {volumes.CURE}"
        )
    if not _ENTRY.size <= length <= end:
        raise _damaged(name)
    start, at = end - length, end - _ENTRY.size
    found: t.Dict[bytes, bytes] = {}
    while at > start:
        if at - start < _ENTRY.size:
            raise _damaged(name)
        length, guid = _ENTRY.unpack_from(data, at - _ENTRY.size)
        if not _ENTRY.size <= length <= at - start:
            raise _damaged(name)
        # Whether the first or the last of two counts depends on who reads it.
        if guid in found:
            raise _damaged(name)
        found[guid] = data[at - length : at - _ENTRY.size]
        at -= length
    return found


def _unpack(form: struct.Struct, data: t.Optional[bytes]) -> t.Tuple[int, ...]:
    """Return the numbers that an entry begins with; zeros if it is missing or too short."""
    return form.unpack_from((data or b"").ljust(form.size, b"\0"))


def _sections(data: bytes, entries: t.Mapping[bytes, bytes], name: str) -> t.Iterator[Section]:
    """Give the sections for SNP; there are none in a firmware without this metadata."""
    if _METADATA not in entries:
        return
    (from_end,) = _unpack(_NUMBER, entries[_METADATA])
    if not _METADATA_HEADER.size <= from_end <= len(data):
        raise _damaged(name)
    header = len(data) - from_end
    magic, size, version, count = _METADATA_HEADER.unpack_from(data, header)
    whole = _METADATA_HEADER.size + count * _SECTION.size
    if (magic, version) != (b"ASEV", 1) or not whole <= size <= from_end:
        raise _damaged(name)
    for at in range(header + _METADATA_HEADER.size, header + whole, _SECTION.size):
        yield Section(*_SECTION.unpack_from(data, at))


def _checks_kernel(data: bytes) -> bool:
    """Say whether a firmware has the driver for secrets, and code that knows the hash of a kernel."""
    wanted = (_SECRET_DRIVER, kernel_hashes.KERNEL)
    contents = (data, *_unpacked(data))
    return all(any(guid in content for content in contents) for guid in wanted)


def _unpacked(data: bytes) -> t.Iterator[bytes]:
    """Give what is compressed in a firmware."""
    at, seen = -1, 0
    while seen < _MOST_VOLUMES:
        at = data.find(volumes.LZMA, at + 1)
        if at < 0:
            return
        size = int.from_bytes(data[at - 4 : at - 1], "little")
        offset = int.from_bytes(data[at + 16 : at + 18], "little")
        # The code that unpacks knows this GUID, too.
        if data[at - 1] != _GUID_DEFINED or offset != _LZMA_DATA:
            continue
        seen += 1
        try:
            yield volumes.unpack(data[at - 4 + offset : at - 4 + size])
        except lzma.LZMAError:
            continue


def _damaged(name: str) -> SealedRootError:
    return SealedRootError(f"the table at the end of {name} is damaged: {volumes.CURE}")


__all__ = (
    "LARGEST",
    "MOST_VCPUS",
    "Area",
    "Firmware",
    "Section",
    "check_processors",
    "check_snp",
    "parse",
)
