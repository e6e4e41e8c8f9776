# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""raw_disk with the real tools; read back by hand, by fsck.vfat and by GRUB's FAT code's own rules."""

from __future__ import annotations

import os
import pathlib
import struct
import subprocess
import typing as t
import uuid

import pytest

Module = t.Callable[..., dict[str, t.Any]]
MIB = 1 << 20
SIZE = 4096 * MIB
GUIDS = {
    "disk_uuid": "11111111-2222-4333-8444-555555555555",
    "esp_uuid": "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee",
    "root_partition_uuid": "AAAAAAAA-BBBB-4CCC-8DDD-FFFFFFFFFFFF",
}


def gpt(path: pathlib.Path) -> list[tuple[str, str, int, int, str]]:
    """The partitions as the UEFI specification lays them out: type, GUID, offset, size, name."""
    with path.open("rb") as file:
        file.seek(512)
        header = file.read(92)
        assert header[:8] == b"EFI PART"
        start, count, length = struct.unpack("<QII", header[72:88])
        file.seek(start * 512)
        rows = [file.read(length) for _ in range(count)]
    found = []
    for row in rows:
        first, last = struct.unpack("<QQ", row[32:48])
        if first:
            kind, own = (str(uuid.UUID(bytes_le=row[at : at + 16])) for at in (0, 16))
            name = row[56:].decode("utf-16-le").rstrip("\0")
            found.append((kind, own, first * 512, (last - first + 1) * 512, name))
    return found


def esp_of(path: pathlib.Path, target: pathlib.Path) -> bytes:
    with path.open("rb") as file:
        file.seek(MIB)
        data = file.read(99 * MIB)
    target.write_bytes(data)
    return data


def test_four_calls(tmp_path: pathlib.Path, real_module: Module) -> None:
    path = tmp_path / "w" / "disk.raw"
    args = {"path": str(path), "size": SIZE - 5}
    predicted = real_module("raw_disk", _check=True, **args)
    assert predicted["changed"] is True
    assert not path.parent.exists()
    made = real_module("raw_disk", **args)
    assert made["changed"] is True
    again = real_module("raw_disk", **args)
    assert again["changed"] is False
    assert real_module("raw_disk", _check=True, **args)["changed"] is False
    for key in ("path", "size", "uuid", "esp", "root"):
        assert again[key] == made[key]
    assert predicted["esp"] == {**made["esp"], "uuid": ""}
    assert made["size"] == SIZE == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert path.stat().st_blocks * 512 < 4 * MIB


def test_the_table_is_the_one_that_was_asked_for(
    tmp_path: pathlib.Path, real_module: Module
) -> None:
    path = tmp_path / "disk.raw"
    made = real_module("raw_disk", path=str(path), size=SIZE, **GUIDS)
    assert gpt(path) == [
        (
            *("c12a7328-f81f-11d2-ba4b-00a0c93ec93b", GUIDS["esp_uuid"]),
            *(MIB, 99 * MIB, "ESP"),
        ),
        (
            *("ca7d7ccb-63ed-4c53-861c-1742536059cc", GUIDS["root_partition_uuid"].lower()),
            *(100 * MIB, SIZE - 101 * MIB, "root"),
        ),
    ]
    assert made["uuid"] == GUIDS["disk_uuid"]
    other = {**GUIDS, "esp_uuid": GUIDS["disk_uuid"]}
    assert real_module("raw_disk", path=str(path), size=SIZE, **GUIDS)["changed"] is False
    refused = real_module("raw_disk", path=str(path), size=SIZE, **other)
    assert "is another disk" in refused["msg"]


@pytest.mark.parametrize("size", [256 * MIB, SIZE, 1 << 40])
def test_the_esp_is_a_real_fat32(size: int, tmp_path: pathlib.Path, real_module: Module) -> None:
    """mkfs.vfat chose clusters by the size of the whole disk: 25287 of them are a FAT16 to others."""
    path = tmp_path / "disk.raw"
    real_module("raw_disk", path=str(path), size=size)
    boot = esp_of(path, tmp_path / "esp")[:512]
    reserved, fats = struct.unpack_from("<HB", boot, 14)
    sectors, fat_size = struct.unpack_from("<II", boot, 32)
    clusters = (sectors - reserved - fats * fat_size) // boot[13]
    assert clusters >= 65525
    # Rounded down to whole tracks.
    assert 0 <= 99 * MIB // 512 - sectors < 63
    assert struct.unpack_from("<I", boot, 28)[0] == MIB // 512  # hidden sectors
    done = subprocess.run(
        ["fsck.vfat", "-n", tmp_path / "esp"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "Warning" not in done.stdout + done.stderr


def test_a_cut_off_run_is_finished(tmp_path: pathlib.Path, real_module: Module) -> None:
    path = tmp_path / "disk.raw"
    real_module("raw_disk", path=str(path), size=SIZE)
    with path.open("r+b") as file:
        file.seek(MIB)
        file.write(bytes(MIB))
        file.seek(100 * MIB)
        file.write(b"LUKS")
    predicted = real_module("raw_disk", _check=True, path=str(path), size=SIZE)
    assert predicted["changed"] is True
    assert real_module("raw_disk", path=str(path), size=SIZE)["changed"] is True
    assert real_module("raw_disk", path=str(path), size=SIZE)["changed"] is False
    with path.open("rb") as file:
        file.seek(100 * MIB)
        assert file.read(4) == b"LUKS"


def test_something_else_is_kept_unless_forced(tmp_path: pathlib.Path, real_module: Module) -> None:
    path = tmp_path / "disk.raw"
    path.write_bytes(b"precious")
    for check in (True, False):
        refused = real_module("raw_disk", _check=check, path=str(path), size=SIZE)
        assert "is another disk: remove it, or set force" in refused["msg"]
    assert path.read_bytes() == b"precious"
    assert real_module("raw_disk", path=str(path), size=SIZE, force=True)["changed"] is True
    assert len(gpt(path)) == 2
    refused = real_module("raw_disk", path=str(path), size=2 * SIZE)
    assert "is another disk" in refused["msg"]


def test_holes_are_nothing(tmp_path: pathlib.Path, real_module: Module) -> None:
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(7 * MIB)
    path.chmod(0o644)
    assert real_module("raw_disk", path=str(path), size=SIZE)["changed"] is True
    assert path.stat().st_mode & 0o777 == 0o600


def test_links_and_devices_are_refused(tmp_path: pathlib.Path, real_module: Module) -> None:
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "link").symlink_to("target")
    os.mkfifo(tmp_path / "fifo")
    refused = real_module("raw_disk", path=str(tmp_path / "link"), size=SIZE, force=True)
    assert "cannot be opened" in refused["msg"]
    refused = real_module("raw_disk", path=str(tmp_path / "fifo"), size=SIZE, force=True)
    assert "is not a regular file" in refused["msg"]
    assert (tmp_path / "target").read_bytes() == b""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"size": 0}, "is not the size of a disk"),
        ({"size": -5}, "is not the size of a disk"),
        ({"size": 1 << 60}, "is not the size of a disk"),
        ({"size": 100 * MIB}, "is too small: take at least 139460608"),
        ({"size": SIZE, "esp_uuid": "x\nlabel: dos"}, "is not a GUID"),
    ],
)
def test_nonsense_is_refused(
    args: dict[str, t.Any], message: str, tmp_path: pathlib.Path, real_module: Module
) -> None:
    result = real_module("raw_disk", path=str(tmp_path / "d" / "disk.raw"), **args)
    assert result["failed"] is True
    assert message in result["msg"]
    assert not (tmp_path / "d").exists()


def test_a_disk_larger_than_the_file_system_allows(
    tmp_path: pathlib.Path, real_module: Module
) -> None:
    path = tmp_path / "disk.raw"
    result = real_module("raw_disk", path=str(path), size=1 << 50)
    if not result.get("failed"):
        pytest.skip("this file system takes files of 1 PiB")
    assert "cannot have 1125899906842624 bytes: File too large" in result["msg"]
    assert not path.exists()
