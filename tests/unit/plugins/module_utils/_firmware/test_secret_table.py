# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table with the key, byte for byte; a tool that nobody here wrote is in tests/integration/test_launch.py."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import ovmf, secret_table
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

TABLE = "42f5741edd71664d963eef4287ff173b"
LUKS_KEY = "e5696873f084734992ec06879ce3da0b"


@pytest.mark.parametrize(
    ("key", "length", "entry", "padding"),
    [
        (b"x" * 44, "55000000", "41000000", 11),
        (b"x" * 22, "3f000000", "2b000000", 1),
        (b"x" * 23, "40000000", "2c000000", 0),
        (b"x" * 24, "41000000", "2d000000", 15),
        (b"x" * 254, "27010000", "13010000", 9),
    ],
    ids=lambda it: str(it)[-9:],
)
def test_byte_for_byte(key: bytes, length: str, entry: str, padding: int) -> None:
    """The lengths include what they are in, and the NUL behind the key; not the padding."""
    whole = f"{TABLE}{length}{LUKS_KEY}{entry}{key.hex()}00" + "00" * padding
    assert secret_table.build(key, 0xC00).hex() == whole
    assert len(whole) % 32 == 0


@pytest.mark.parametrize(("key", "room"), [(b"x" * 44, 96), (b"x" * 23, 64), (b"x" * 24, 80)])
def test_a_key_that_just_fits(key: bytes, room: int) -> None:
    assert len(secret_table.build(key, room)) == room
    with pytest.raises(SealedRootError, match=rf"has {room - 1} bytes for a launch .* too few"):
        secret_table.build(key, room - 1)


def test_what_a_program_compares() -> None:
    table, (first, second, key) = secret_table.build(b"x" * 44, 0xC00), secret_table.place()
    numbers = {**first, **second}
    assert {at: int.from_bytes(table[at : at + 4], "little") for at in numbers} == numbers
    assert [*numbers] == [*range(0, key, 4)]
    assert table[key : key + 45] == b"x" * 44 + b"\0"


@pytest.mark.parametrize("key", [b"x" * 44, b"x" * 23, b"x"])
def test_which_key_a_table_holds(key: bytes) -> None:
    table = secret_table.build(key, 0xC00)
    assert secret_table.holds(table, key)
    assert not secret_table.holds(table, key[:-1] + b"y")
    assert not secret_table.holds(table[:-1], key)
    assert not secret_table.holds(b"", key)


@pytest.mark.parametrize(
    "area",
    [
        ovmf.Area(0x810008, 0x80),
        ovmf.Area(0x810000, 0x88),
        ovmf.Area(0x810000, 0x50),
        ovmf.Area(0x810000, 0x10010),
    ],
)
def test_an_area_that_cannot_be_used(area: ovmf.Area) -> None:
    secret_table.check_area(ovmf.Area(0x810000, 0x80), "x.fd")
    with pytest.raises(SealedRootError, match=r"x\.fd has|the firmware has 80 bytes"):
        secret_table.check_area(area, "x.fd")
