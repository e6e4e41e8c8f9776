# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Firmwares, and what is said of each. Debian's are in tests/integration/test_launch.py."""

from __future__ import annotations

import struct

import firmware
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import ovmf
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from firmware import (
    DRIVER,
    HASHES,
    KERNEL,
    KERNEL_HASHES,
    METADATA,
    RESET,
    SECRET,
    SECTIONS,
    metadata,
    volume,
)

CURE = r"give the firmware for SEV, OVMF\.amdsev\.fd"


def area(base: int, size: int) -> bytes:
    return struct.pack("<II", base, size)


def test_what_a_firmware_says() -> None:
    assert ovmf.parse(firmware.ovmf(), "x.fd") == ovmf.Firmware(
        secret=ovmf.Area(0x810000, 0xC00),
        hashes=ovmf.Area(0x810C00, 0x400),
        reset=0x80B004,
        sections=(*(ovmf.Section(*it) for it in SECTIONS), ovmf.Section(*KERNEL_HASHES)),
    )


@pytest.mark.parametrize(
    "data",
    [
        firmware.ovmf({METADATA: None}),
        firmware.ovmf({RESET: None}),
        # One behind the other.
        firmware.ovmf({SECRET: area(0x810000, 0xC00), HASHES: area(0x810C00, 0xB0)}),
        # An entry that nobody here knows.
        firmware.ovmf(more=[("11111111-2222-4333-8444-555555555555", b"xyz")]),
        firmware.ovmf(code=volume(DRIVER) + volume(KERNEL)),
        # The code that unpacks volumes has the GUID in it, too.
        firmware.ovmf(code=firmware.le(firmware.LZMA) + volume(DRIVER, KERNEL)),
        firmware.ovmf(code=volume() * 2 + volume(DRIVER, KERNEL)),
    ],
    ids=range(7),
)
def test_taken(data: bytes) -> None:
    found = ovmf.parse(data, "x.fd")
    assert (found.secret.base, found.hashes.base) == (0x810000, 0x810C00)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x.fd is no firmware, because its 0 bytes are no whole pages"),
        (firmware.ovmf()[:-1], "x.fd is no firmware, because its 8191 bytes are no whole pages"),
        (bytes(4096), "x.fd has no table at its end, so it is no OVMF firmware, or only its var"),
        (b"\xff" * 4096, "x.fd has no table at its end"),
        (firmware.ovmf({SECRET: None}), "x.fd has no place for a launch secret"),
        (firmware.ovmf({SECRET: area(0, 0)}), "x.fd has no place for a launch secret"),
        (firmware.ovmf({SECRET: b"abc"}), "x.fd has 0 bytes for a launch secret, and 1 are needed"),
        (firmware.ovmf({SECRET: b""}), "x.fd has no place for a launch secret"),
        (firmware.ovmf({HASHES: None}), "x.fd has no place for the hashes of a kernel"),
        (firmware.ovmf({HASHES: area(0, 0)}), "x.fd has no place for the hashes of a kernel"),
        (
            firmware.ovmf({HASHES: area(0x810C00, 175)}),
            "x.fd has 175 bytes for the hashes of a kernel, and 176 are needed",
        ),
        # What is written to the one changes the other.
        *(
            (
                firmware.ovmf({SECRET: area(base, size)}),
                "x.fd has its place for a launch secret where that for the hashes of a kernel is",
            )
            for base, size in ((0x810000, 0xC01), (0x810FFF, 0x10), (0x810C10, 0x10), (1, 1 << 31))
        ),
        # Generic firmware of edk2 has the areas, and neither the driver nor the check.
        (firmware.ovmf(code=b""), "x.fd has a table for SEV, but no code that compares the kern"),
        (firmware.ovmf(code=volume(KERNEL)), "but no code that compares"),
        (firmware.ovmf(code=volume(DRIVER)), "but no code that compares"),
        (firmware.ovmf(code=volume(DRIVER, KERNEL, kind=1)), "but no code that compares"),
        (firmware.ovmf(code=volume(DRIVER, KERNEL, offset=25)), "but no code that compares"),
        (firmware.ovmf(code=volume(DRIVER, KERNEL)[:60]), "but no code that compares"),
        (firmware.ovmf(code=volume() * 4 + volume(DRIVER, KERNEL)), "but no code that compares"),
        # Tables that are damaged.
        (firmware.ovmf(length=17), "the table at the end of x.fd is damaged"),
        (firmware.ovmf(length=65535), "the table at the end of x.fd is damaged"),
        (firmware.ovmf(length=19), "the table at the end of x.fd is damaged"),
        (firmware.ovmf(length=50), "the table at the end of x.fd is damaged"),
        (firmware.ovmf(more=[(SECRET, area(1, 1))]), "the table at the end of x.fd is damaged"),
        (firmware.ovmf({METADATA: b"\1\0\0\0"}), "the table at the end of x.fd is damaged"),
        (firmware.ovmf({METADATA: b"\xff\xff\0\0"}), "the table at the end of x.fd is damaged"),
        (firmware.ovmf(snp=metadata(version=2)), "the table at the end of x.fd is damaged"),
        (firmware.ovmf(snp=metadata(count=1)), "the table at the end of x.fd is damaged"),
        (
            firmware.ovmf(snp=metadata(count=0xFFFFFFFF)),
            "the table at the end of x.fd is damaged",
        ),
    ],
    ids=range(32),
)
def test_refused(data: bytes, message: str) -> None:
    with pytest.raises(SealedRootError, match=f"{message}.*: {CURE}"):
        ovmf.parse(data, "x.fd")


def snp(*sections: tuple[int, int, int], base: int = 0x810C00) -> ovmf.Firmware:
    return ovmf.parse(firmware.ovmf({HASHES: area(base, 0x400)}, snp=metadata(*sections)), "x.fd")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (snp(KERNEL_HASHES), ""),
        (snp(*SECTIONS, KERNEL_HASHES, base=0x810F50), ""),
        (snp(), "does not tell SNP to measure the page with the kernel's hashes: leave snp out"),
        (snp(*SECTIONS), "does not tell SNP to measure the page"),
        # The page is a different one, or there are more.
        (snp((0x811000, 0x1000, 0x10)), "does not tell SNP to measure the page"),
        (snp((0x810000, 0x2000, 0x10)), "does not tell SNP to measure the page"),
        (snp((0x810000, 0x1000, 1)), "does not tell SNP to measure the page"),
        (snp((1, 1, 1), KERNEL_HASHES), "has a section for SNP that is no whole pages"),
        (snp(KERNEL_HASHES, base=0x810F51), "has the kernel's hashes on two pages"),
    ],
    ids=range(9),
)
def test_snp(found: ovmf.Firmware, message: str) -> None:
    if not message:
        ovmf.check_snp(found, "x.fd")
        return
    with pytest.raises(SealedRootError, match=f"x.fd {message}.*{CURE}"):
        ovmf.check_snp(found, "x.fd")


def test_processors() -> None:
    ovmf.check_processors(ovmf.parse(firmware.ovmf(), "x.fd"), "x.fd")
    for entry in (None, bytes(4)):
        found = ovmf.parse(firmware.ovmf({RESET: entry}), "x.fd")
        with pytest.raises(SealedRootError, match=f"x.fd does not support SEV-ES: {CURE}"):
            ovmf.check_processors(found, "x.fd")
