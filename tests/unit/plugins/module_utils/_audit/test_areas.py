# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be read of an image without a key."""

from __future__ import annotations

import hashlib
import os
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import areas
from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._disk.partitions import MIB

TABLE = partitions.Table(
    (
        partitions.Partition(partitions.ESP_TYPE, "ESP", MIB, MIB),
        partitions.Partition(partitions.LUKS_TYPE, "root", 2 * MIB, 2 * MIB),
    )
)
EXT4 = bytes(1024 + 0x38) + b"\x53\xef\x01\x00\x01\x00" + bytes(0x4C - 0x3E) + b"\x01\0\0\0"
KEY = b"a key that must not be in the clear"


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> t.Iterator[int]:
    handle = os.open(tmp_path / "disk", os.O_RDWR | os.O_CREAT)
    os.ftruncate(handle, 5 * MIB)
    yield handle
    os.close(handle)


def test_gaps() -> None:
    assert areas.gaps(TABLE, 5 * MIB) == [
        (0, 440),
        (34 * 512, MIB),
        (4 * MIB, 5 * MIB - 33 * 512),
    ]


def test_first_nonzero(disk: int) -> None:
    ranges = [(0, 100), (MIB, 4 * MIB)]
    assert areas.first_nonzero(disk, ranges) == []
    os.pwrite(disk, b"x", 3 * MIB + 5)
    assert areas.first_nonzero(disk, ranges) == [3 * MIB + 5]


def test_digest_and_copy(disk: int, tmp_path: pathlib.Path) -> None:
    data = os.urandom(MIB + 5)
    os.pwrite(disk, data, MIB)
    assert areas.digest(disk, MIB, 2 * MIB + 5) == hashlib.sha256(data).hexdigest()
    target = tmp_path / "copy"
    areas.copy(disk, str(target), [(MIB, 2 * MIB + 5)], start=MIB, size=3 * MIB)
    assert target.read_bytes() == data.ljust(3 * MIB, b"\0")
    assert target.stat().st_mode & 0o777 == 0o600


def test_clear_secrets(disk: int) -> None:
    os.pwrite(disk, KEY.hex().encode(), 500)
    found = areas.clear_secrets(disk, [(0, MIB)], {"boot key": KEY})
    assert found == ["the boot key (hexadecimal) is at byte 500, in the clear"]
    assert areas.clear_secrets(disk, [(MIB, 2 * MIB)], {"boot key": KEY}) == []


@pytest.mark.parametrize("cluster", [0, 65536])
def test_anywhere(disk: int, tmp_path: pathlib.Path, cluster: int) -> None:
    os.pwrite(disk, KEY, 2 * MIB)
    found = areas.anywhere(str(tmp_path / "disk"), {"key": KEY, "no": KEY[::-1]}, cluster=cluster)
    assert found == [f"the key is in the image, at byte {2 * MIB} of the file"]


@pytest.mark.parametrize("cut", [1, 8, 17, 20, 34])
def test_a_torn_key_is_found_at_a_border(disk: int, tmp_path: pathlib.Path, cut: int) -> None:
    # The clusters are stored in another order than the disk has them.
    os.pwrite(disk, KEY[:cut], 4 * MIB - cut)
    os.pwrite(disk, KEY[cut:], MIB)
    path = str(tmp_path / "disk")
    assert areas.anywhere(path, {"key": KEY}) == []
    assert len(areas.anywhere(path, {"key": KEY}, cluster=65536)) == 1


@pytest.mark.parametrize(
    ("block", "later", "name"),
    [
        (EXT4, b"", "ext4"),
        (b"XFSB\0\0\x10\0", b"", "XFS"),
        (b"", b"_BHRfS_M", "Btrfs"),
        (bytes(512) + b"LABELONE", b"", "LVM"),
        (b"", b"", None),
        (b"XFSB\xff\xff\xff\xff", b"", None),
        (EXT4[:-4] + b"\xff\xff\xff\xff", b"", None),
    ],
)
def test_signature(block: bytes, later: bytes, name: str | None) -> None:
    assert areas.signature(block.ljust(4096, b"\0"), later) == name


def test_payload(disk: int) -> None:
    encrypted, outside = (2 * MIB, 4 * MIB), (MIB, 2 * MIB)

    def look() -> list[str]:
        return areas.payload(disk, [(0, 5 * MIB)], encrypted=encrypted, outside=outside)

    assert look() == []
    os.pwrite(disk, os.urandom(MIB), 2 * MIB)
    os.pwrite(disk, b"some text, on the ESP" * 100, MIB)
    assert look() == []
    os.pwrite(disk, b"some text, in the payload" * 100, 3 * MIB)
    assert look() == [f"the data at byte {3 * MIB} is not encrypted"]
    os.pwrite(disk, EXT4, 4 * MIB)
    assert f"a file system (ext4) begins at byte {4 * MIB}, in the clear" in look()


def test_many_places_are_summed_up(disk: int) -> None:
    for step in range(5):
        os.pwrite(disk, b"text" * 100, step * MIB)
    found = areas.payload(disk, [(0, 5 * MIB)], encrypted=(0, 5 * MIB), outside=(0, 0))
    assert found[3:] == ["and so on, 5 places in all"]


def test_random_data_looks_random() -> None:
    assert all(areas.looks_random(os.urandom(4096)) for _ in range(200))
    assert areas.looks_random(os.urandom(1024) + bytes(3072))
    assert not areas.looks_random(os.urandom(3584) + b"\x7fELF" + bytes(508))


@pytest.mark.parametrize("written", [16, 32, 64, 128, 256, 384, 496])
def test_a_sector_that_was_written_in_part_looks_random(written: int) -> None:
    """As the last inodes of a table in use are, of which the rest was never written."""
    for _ in range(500):
        assert areas.looks_random(os.urandom(written) + bytes(512 - written))
        assert areas.looks_random(bytes(512 - written) + os.urandom(written))


@pytest.mark.parametrize(
    "text", [b"root:x:0:0:root:/root:/bin/bash\n", b"the home of a user: /home/user\r\n"]
)
def test_text_in_a_part_of_a_sector_does_not(text: bytes) -> None:
    assert not areas.looks_random(text + bytes(512 - len(text)))
    assert not areas.looks_random(bytes(256) + text * 4 + bytes(256 - 4 * len(text)))
