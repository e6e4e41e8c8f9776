# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a root in a mounted file system mounts."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._source import found_root, volumes
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

UNIT = "[Mount]\nWhat=LABEL=BOOT\nWhere=/boot\nType=ext4\n"
VOLUME = volumes.Volume(2, 0, 9)


def write(top: pathlib.Path, name: str, text: str = UNIT) -> None:
    (top / name).parent.mkdir(parents=True, exist_ok=True)
    (top / name).write_text(text)


def link(top: pathlib.Path, name: str, target: str) -> None:
    (top / name).parent.mkdir(parents=True, exist_ok=True)
    (top / name).symlink_to(target)


@pytest.mark.parametrize("name", ["none", "file", "a\0b", "a" * 300, "to-etc"])
def test_what_is_no_directory(tmp_path: pathlib.Path, name: str) -> None:
    write(tmp_path, "etc/x")
    write(tmp_path, "file")
    link(tmp_path, "to-etc", "etc")
    assert found_root.is_directory(str(tmp_path), "etc")
    assert not found_root.is_directory(str(tmp_path), name)


def test_lines_of_fstab_and_units(tmp_path: pathlib.Path) -> None:
    assert found_root.read_mounts(str(tmp_path)) == []
    write(tmp_path, "etc/fstab", "LABEL=x / ext4\n")
    write(tmp_path, "etc/systemd/system/boot.mount")
    write(tmp_path, "usr/lib/systemd/system/srv.mount", "[Mount]\nWhat=LABEL=S\nWhere=/srv\n")
    link(tmp_path, "etc/systemd/system/local-fs.target.requires/boot.mount", "../boot.mount")
    assert found_root.read_mounts(str(tmp_path)) == [
        ["LABEL=x", "/", "ext4"],
        ["LABEL=BOOT", "/boot", "ext4", "defaults"],
        ["LABEL=S", "/srv", "mount", "defaults,noauto"],
    ]


def test_no_symlink_is_followed(tmp_path: pathlib.Path) -> None:
    outside, top = tmp_path / "outside", tmp_path / "top"
    write(outside, "boot.mount", UNIT + "[Install]\nWantedBy=x.target\n")
    top.mkdir()
    link(top, "etc/systemd/system", str(outside))
    link(top, "usr/lib/systemd/system/boot.mount", str(outside / "boot.mount"))
    assert found_root.read_mounts(str(top)) == []


@pytest.mark.parametrize(
    ("subvolume", "name"),
    [
        (None, "partition 2"),
        ("", "partition 2, the top level"),
        ("@", "partition 2, subvolume @"),
    ],
)
def test_its_name(subvolume: str | None, name: str) -> None:
    assert found_root.Root(VOLUME, subvolume, []).name == name


def test_more_units_than_a_root_has(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(found_root, "_MOST_UNITS", 1)
    write(tmp_path, "etc/systemd/system/a.mount")
    found_root.read_mounts(str(tmp_path))
    write(tmp_path, "etc/systemd/system/b.mount")
    with pytest.raises(SealedRootError, match="more than 1 units of systemd that mount"):
        found_root.read_mounts(str(tmp_path))


def test_a_unit_that_is_too_large(tmp_path: pathlib.Path) -> None:
    write(tmp_path, "etc/systemd/system/a.mount", UNIT + "#" * (1 << 16))
    with pytest.raises(SealedRootError, match=r"a\.mount"):
        found_root.read_mounts(str(tmp_path))
