# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading GRUB core images; real ones are read in tests/integration/test_image_audit.py."""

from __future__ import annotations

import struct

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._grub import core_image
from ansible_collections.sealedroot.image.plugins.module_utils._grub.install import (
    memdisk,
    read_memdisk,
)


def elf(name: str, *, bits: int = 64) -> bytes:
    """An ELF module with the sections that matter: .shstrtab and .modname."""
    names = b"\0.shstrtab\0.modname\0"
    body = names + name.encode() + b"\0"
    header_size, row = (64, 64) if bits == 64 else (52, 40)
    table = header_size + len(body)

    def section(name_at: int, offset: int, size: int) -> bytes:
        if bits == 64:
            return struct.pack("<IIQQQQ", name_at, 1, 0, 0, offset, size).ljust(row, b"\0")
        return struct.pack("<IIIIII", name_at, 1, 0, 0, offset, size).ljust(row, b"\0")

    header = bytearray(header_size)
    header[:5] = b"\x7fELF" + bytes([2 if bits == 64 else 1])
    if bits == 64:
        struct.pack_into("<Q", header, 0x28, table)
        struct.pack_into("<HHH", header, 0x3A, row, 2, 0)
    else:
        struct.pack_into("<I", header, 0x20, table)
        struct.pack_into("<HHH", header, 0x2E, row, 2, 0)
    sections = section(1, header_size, len(names))
    sections += section(11, header_size + len(names), len(name) + 1)
    return bytes(header) + body + sections


def core(*objects: tuple[int, bytes]) -> bytes:
    body = b"".join(struct.pack("<II", kind, 8 + len(data)) + data for kind, data in objects)
    return b"MZ the program mimg in its text\0" + (
        struct.pack("<4sIQQ", b"mimg", 0, 24, 24 + len(body)) + body
    )


def test_a_core_image() -> None:
    data = core(
        (0, elf("luks")),
        (0, elf("part_gpt", bits=32)),
        (2, b"cryptomount -u 1\0\0\0"),
        (3, b"(cryptouuid/1)/boot/grub\0"),
    )
    found = core_image.parse(data)
    assert found == core_image.Core(
        "cryptomount -u 1", "(cryptouuid/1)/boot/grub", frozenset({"luks", "part_gpt"})
    )
    assert found.code == (("luks", elf("luks")), ("part_gpt", elf("part_gpt", bits=32)))


@pytest.mark.parametrize(
    ("body", "file", "same"),
    [
        (b"luks", b"luks", True),
        # grub-mkimage fills it up to a whole word.
        (b"luks\0\0\0\0", b"luks", True),
        (b"luks" + bytes(8), b"luks", False),
        (b"luks\0\0\0x", b"luks", False),
        (b"lukx\0\0\0\0", b"luks", False),
        (b"luk", b"luks", False),
        (b"luks", b"", False),
    ],
)
def test_whether_a_module_is_a_file(body: bytes, file: bytes, same: bool) -> None:
    assert core_image.is_of(body, file) is same


def test_the_memdisk_is_what_was_put_in() -> None:
    """grub-mkimage fills it up to whole words; a tar ends before that."""
    disk = memdisk("set a=1\n")
    found = core_image.parse(core((2, b"normal (memdisk)/grub.cfg\n\0"), (1, disk + bytes(3))))
    assert found is not None
    assert found.config == "normal (memdisk)/grub.cfg\n"
    assert found.memdisk == disk + bytes(3)
    assert read_memdisk(found.memdisk) == "set a=1\n"


@pytest.mark.parametrize(
    ("more", "is_odd"),
    [
        ([], False),
        ([(1, b"another memdisk")], True),
        ([(3, b"(hd0)/\0")], True),
        ([(0, b"a module without a name")], True),
        ([(9, b"of an unknown kind")], True),
    ],
)
def test_parts_that_no_build_gives_it(more: list[tuple[int, bytes]], is_odd: bool) -> None:
    found = core_image.parse(core((0, elf("luks")), (1, b"disk"), (2, b"x"), (3, b"/\0"), *more))
    assert found
    assert found.is_odd is is_odd


def test_configurations_are_joined() -> None:
    data = core((2, b"set a=1\n\0"), (2, b"set b=2\n\0"))
    found = core_image.parse(data)
    assert found is not None
    assert found.config == "set a=1\nset b=2\n"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"MZ another program",
        b"mimg",
        core((2, b"x"))[:-1],
        struct.pack("<4sIQQ", b"mimg", 0, 24, 40) + struct.pack("<II", 2, 4) + bytes(8),
    ],
)
def test_other_programs(data: bytes) -> None:
    assert core_image.parse(data) is None


def test_a_damaged_module_has_no_name() -> None:
    found = core_image.parse(core((0, b"\x7fELF\x02" + bytes(200)), (0, b"")))
    assert found is not None
    assert found.modules == frozenset()
