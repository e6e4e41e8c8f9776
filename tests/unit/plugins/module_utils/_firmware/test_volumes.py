# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Firmwares, and what is left of each. tests/integration/test_launch_firmware.py has Debian's, and another reader."""

from __future__ import annotations

import firmware
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import volumes
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from firmware import FAT, FILES, LOADER, LOADS, SHELL, driver, dxe, file, files, flash, section

FAT_DRIVER = driver(FAT, FILES, name="Fat")
OTHER = "11111111-2222-4333-8444-555555555555"
VARIABLES = flash(b"", system=firmware.VARIABLES)
UNKNOWN = "so what reads programs from a disk cannot be taken out of it: give the firmware for SEV"


@pytest.mark.parametrize(
    ("data", "removed"),
    [
        (firmware.ovmf(), []),
        (dxe(driver(OTHER)), []),
        (dxe(FAT_DRIVER), ["Fat"]),
        (VARIABLES + dxe(FAT_DRIVER) + VARIABLES, ["Fat"]),
        # A network card; a driver that is one of the early phase, too.
        (dxe(driver(OTHER, LOADS, name="UefiPxeBcDxe")), ["UefiPxeBcDxe"]),
        (dxe(driver(OTHER, FILES, kind=8)), [OTHER]),
        # Each application, such as the shell.
        (dxe(driver(SHELL, kind=9, name="Shell"), FAT_DRIVER), ["Shell", "Fat"]),
        # A name that could say something to who reads it.
        (dxe(driver(OTHER, FILES, name="x\x1b[2J")), [OTHER]),
        # What is no driver knows the protocols, too: DxeCore.
        (dxe(driver(OTHER, FILES, LOADS, kind=5)), []),
        # Sums over the content; a size of 64 bits.
        (dxe(driver(FAT, FILES, name="Fat", flags=0x40), flags=0x40), ["Fat"]),
        (dxe(driver(FAT, FILES, name="Fat", flags=1), flags=1), ["Fat"]),
        # Not compressed.
        (flash(files(driver(LOADER), FAT_DRIVER)), ["Fat"]),
        (flash(file(OTHER, section(dxe(FAT_DRIVER), 0x17), kind=0x0B)), ["Fat"]),
    ],
    ids=range(13),
)
def test_what_is_removed(data: bytes, removed: list[str]) -> None:
    made, found = volumes.kernel_only(data, "x.fd")
    assert (found, len(made)) == (removed, len(data))
    assert volumes.kernel_only(made, "x.fd") == (made, [])
    if not removed:
        assert made == data
        volumes.check(data, "x.fd")
        return
    with pytest.raises(SealedRootError, match=rf"{removed[-1]}\): give launch/firmware.fd of the"):
        volumes.check(data, "x.fd")


@pytest.mark.parametrize("flags", [0, 1, 0x40])
def test_padding_is_what_the_specification_says(flags: int) -> None:
    """PI, volume 3: type 0xf0, the sum of the header without state and the other sum is zero, size and state stay."""
    given = driver(FAT, FILES, name="Fat", flags=flags)
    data = flash(files(driver(LOADER), given, driver(OTHER)))
    made, _removed = volumes.kernel_only(data, "x.fd")
    at = data.index(firmware.le(FAT))
    head = 32 if flags & 1 else 24
    pad = made[at : at + len(given)]
    assert (pad[:16], pad[17], pad[18], pad[19]) == (b"\xff" * 16, 0xAA, 0xF0, flags & 1)
    assert sum(pad[:17] + pad[18:23] + pad[24:head]) % 256 == 0
    assert (pad[20:head], set(pad[head:])) == (given[20:head], {0xFF})
    assert (made[:at], made[at + len(given) :]) == (data[:at], data[at + len(given) :])


def test_what_is_packed_again() -> None:
    """The size is in the header, the sum over the content is right, and no header but that changed."""
    data = dxe(FAT_DRIVER, flags=0x40)
    made, _removed = volumes.kernel_only(data, "x.fd")
    start = data.index(firmware.le(firmware.LZMA)) + 20
    old, new = volumes.unpack(data[start:]), volumes.unpack(made[start:])
    assert len(old) == len(new)
    assert int.from_bytes(made[start + 5 : start + 13], "little") == len(new)
    assert [it for it in range(start) if made[it] != data[it]] in ([], [72 + 17])
    size = int.from_bytes(made[72 + 20 : 72 + 23], "little")
    assert (sum(made[72 + 24 : 72 + size]) + made[72 + 17]) % 256 == 0


EXTENDED = bytes(16) + (28).to_bytes(4, "little") + bytes(8) + bytes(4)


def test_files_begin_behind_an_extended_header() -> None:
    data = flash(EXTENDED + files(driver(LOADER), FAT_DRIVER), extended=72)
    assert volumes.kernel_only(data, "x.fd")[1] == ["Fat"]


def packed(**how: str | int) -> bytes:
    inner = firmware.packed(section(b""), **how)  # type: ignore[arg-type]
    return flash(file(OTHER, inner, kind=0x0B))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "x.fd has no DXE volume with the driver that loads a kernel of QEMU's: give the"),
        (VARIABLES, "x.fd has no DXE volume"),
        (flash(driver(OTHER)), "x.fd has no DXE volume"),
        # Its name alone loads nothing.
        (flash(driver(LOADER, kind=2)), "x.fd has no DXE volume"),
        (bytes(4096), f"x.fd has something else than volumes, {UNKNOWN}"),
        (dxe() + bytes(10), f"x.fd has something else than volumes, {UNKNOWN}"),
        (dxe()[:4095], f"x.fd has something else than volumes, {UNKNOWN}"),
        (flash(b"", extended=4090), f"x.fd has a volume without an end of its header, {UNKNOWN}"),
        (
            flash(driver(OTHER)[:20] + b"\xff\xff\x00"),
            "x.fd has a file that is longer than its vol",
        ),
        (
            flash(driver(OTHER)[:20] + b"\x05\0\0\xf8"),
            "x.fd has a file that is longer than its vol",
        ),
        (
            flash(file(OTHER, b"\xff\x00\x00\x17", kind=0x0B)),
            "x.fd has a section that is longer than its file",
        ),
        (
            flash(file(OTHER, b"\x03\x00\x00\x17", kind=0x0B)),
            "x.fd has a section that is longer than its file",
        ),
        (packed(guid=OTHER), f"x.fd is compressed in a way that is not LZMA, {UNKNOWN}"),
        (packed(offset=0), "x.fd is compressed in a way that is not LZMA"),
        (packed(offset=9999), "x.fd is compressed in a way that is not LZMA"),
        (
            flash(file(OTHER, section(b"x" * 30, 1), kind=0x0B)),
            "x.fd is compressed in a way that is not LZMA",
        ),
        (
            flash(file(OTHER, firmware.packed(b"x").replace(b"\x5d\0", b"\xff\0"), kind=0x0B)),
            "x.fd has a volume that cannot be unpacked",
        ),
        (dxe(file(OTHER, firmware.packed(b"x"))), "x.fd has a driver that is compressed in a way"),
    ],
    ids=range(18),
)
def test_what_is_not_understood(data: bytes, says: str) -> None:
    with pytest.raises(SealedRootError, match=says):
        volumes.kernel_only(data, "x.fd")


def test_what_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = dxe(FAT_DRIVER)
    monkeypatch.setattr(volumes.lzma, "compress", lambda *_args, **_more: bytes(5000))
    with pytest.raises(SealedRootError, match=r"bytes for its volumes, and 5000 are needed"):
        volumes.kernel_only(data, "x.fd")


def test_volumes_in_volumes_have_one_limit() -> None:
    """Each of five has less than it, and holds the next."""
    inner = b""
    for _ in range(5):
        inner = firmware.packed(section(bytes(15 << 20), 0x19) + inner)
    with pytest.raises(SealedRootError, match=r"x.fd has more than 64 MiB in its volumes"):
        volumes.kernel_only(flash(file(OTHER, inner, kind=0x0B)), "x.fd")
