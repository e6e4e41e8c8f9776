# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The layout of a sealed disk, and in which part of it an offset is."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import layout
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

MIB = 1 << 20
IMAGE = "6ba7b810-9dad-41d1-80b4-00c04fd430c8"
DISK = 2048 * MIB


@pytest.mark.parametrize(
    ("size", "found"),
    [
        *(("4GiB", 4 << 30), ("4G", 4 << 30), ("1.5KiB", 1536), (512, 512), ("2 TB", 2 << 40)),
        *(("4Gi", 0), ("1e9", 0), ("GiB", 0), (None, 0), (-1, 0)),
    ],
)
def test_sizes(size: t.Any, found: int) -> None:
    assert layout.size_bytes(size) == found


@pytest.mark.parametrize(("size", "found"), [(0, 0), (1, MIB), (MIB, MIB), (MIB + 1, 2 * MIB)])
def test_whole_mib(size: int, found: int) -> None:
    assert layout.whole_mib(size) == found


def test_the_root_is_all_but_the_esp_and_both_tables() -> None:
    assert layout.root_size(102 * MIB) == MIB
    for size in (0, 101 * MIB, 300 * MIB + 512):
        with pytest.raises(SealedRootError, match=f"cannot have {size} bytes.*more than 101"):
            layout.root_size(size)


def test_the_table_without_uuids() -> None:
    assert layout.sfdisk_script(DISK, {}).splitlines() == [
        "label: gpt",
        f"start=2048, size={99 * 2048}, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=ESP",
        f"start={100 * 2048}, size={1947 * 2048}, type=CA7D7CCB-63ED-4C53-861C-1742536059CC, name=root",
    ]


def test_all_uuids_come_from_the_one_of_the_image() -> None:
    uuids = layout.derived_uuids(IMAGE)
    assert len(set(uuids.values())) == len(layout.NAMES)
    assert uuids == layout.derived_uuids(IMAGE.upper())
    script = layout.sfdisk_script(DISK, uuids)
    for name in ("disk", "esp", "root"):
        assert uuids[name] in script
    assert layout.derived_uuids("") == {}
    with pytest.raises(SealedRootError, match="'7' is no UUID: take what uuidgen prints"):
        layout.derived_uuids("7")


def test_the_volume_id_follows_what_would_set_another() -> None:
    uuids = layout.derived_uuids(IMAGE)
    options = layout.vfat_options(uuids, reproducible=True)
    assert options[:3] == ["--invariant", "-i", uuids["vfat"][:8]]
    plain = layout.vfat_options({}, reproducible=False)
    assert "-i" not in plain
    assert "--invariant" not in plain
    assert plain[-4:] == ["-h", "2048", "--offset", "2048"]


@pytest.mark.parametrize(
    ("offset", "luks1", "luks2"),
    [
        (0, "byte 0 of the partition table", None),
        (MIB - 1, "byte 1048575 of the partition table", None),
        (MIB, "byte 0 of the EFI system partition", None),
        (100 * MIB - 1, f"byte {99 * MIB - 1} of the EFI system partition", None),
        (100 * MIB, "byte 0 of the LUKS header", None),
        (102 * MIB - 1, f"byte {2 * MIB - 1} of the LUKS header", None),
        (102 * MIB, "byte 0 of the encrypted data", f"byte {2 * MIB} of the LUKS header"),
        (116 * MIB, f"byte {14 * MIB} of the encrypted data", "byte 0 of the encrypted data"),
        (2047 * MIB, "byte 0 of the backup of the partition table", None),
    ],
)
def test_parts(offset: int, luks1: str, luks2: str | None) -> None:
    said = f"/out/disk.vhd is not the same disk: Content mismatch at offset {offset}!"
    for payload, part in ((2 * MIB, luks1), (16 * MIB, luks2 or luks1)):
        assert layout.located(said, DISK, payload) == f"{said[:-1]} ({part})!"


@pytest.mark.parametrize("said", ["", "Image size mismatch!", "offset x", f"offset {'9' * 30}"])
def test_what_has_no_offset_stays(said: str) -> None:
    assert layout.located(said, DISK, 2 * MIB) == said


@pytest.mark.parametrize("kind", ["size", "link", "directory", "table"])
def test_another_disk_of_that_name_is_refused(
    kind: str, tmp_path: pathlib.Path, script: t.Any, runner: t.Any
) -> None:
    path = tmp_path / "disk.raw"
    assert layout.is_made(runner, str(path), DISK) is False
    if kind == "directory":
        path.mkdir()
    else:
        file = tmp_path / "other" if kind == "link" else path
        with file.open("wb") as handle:
            handle.truncate(DISK if kind != "size" else MIB)
        if kind == "link":
            path.symlink_to(file)
        script.expect(["sfdisk", "--json", str(path)], rc=1)
    with pytest.raises(SealedRootError, match="is not the disk that is asked for"):
        layout.is_made(runner, str(path), DISK)
