# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""GPTs of every kind of damage."""

from __future__ import annotations

import struct

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import gpt

SECTORS = 1000


def head(sector: int = 512) -> bytes:
    """Return the beginning of a disk of SECTORS sectors."""
    mbr = bytes(510) + b"\x55\xaa" + bytes(sector - 512)
    return (mbr + struct.pack("<8s16x2Q", b"EFI PART", 1, SECTORS - 1)).ljust(8192, b"\0")


def tail(sector: int = 512) -> bytes:
    return bytes(8192 - sector) + b"EFI PART".ljust(sector, b"\0")


MBR = (bytes(510) + b"\x55\xaa").ljust(8192, b"\0")


@pytest.mark.parametrize(
    ("first", "last", "size", "says"),
    [
        (head(), tail(), 512 * SECTORS, ""),
        (head(4096), tail(4096), 4096 * SECTORS, ""),
        # The file was made longer.
        (head(), bytes(8192), 512 * SECTORS + (1 << 20), ""),
        (head(), bytes(8192), 512 * SECTORS - 1, "cut off: 512000 bytes belong to it by"),
        (head(4096), bytes(8192), 512 * SECTORS, "cut off: 4096000 bytes belong to it by"),
        (bytes(8192), tail(), 512 * SECTORS, "its beginning is lost"),
        (bytes(8192), tail(4096), 4096 * SECTORS, "its beginning is lost"),
        # An MBR that took the place of a GPT.
        (MBR, tail(), 512 * SECTORS, ""),
        (bytes(8192), bytes(8192), 8192, ""),
        (b"", b"", 0, ""),
        (head()[:530], b"", 530, ""),
    ],
)
def test_what_is_lost(first: bytes, last: bytes, size: int, says: str) -> None:
    said = gpt.damage(first, last, size)
    assert says in said
    assert bool(said) == bool(says)


@pytest.mark.parametrize(("data", "sector"), [(head(), 512), (head(4096), 4096), (b"", 512)])
def test_the_size_of_its_sectors(data: bytes, sector: int) -> None:
    assert gpt.sector(data) == sector
