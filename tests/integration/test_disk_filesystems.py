# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How each root file system is made: with this machine's mkfs, on a file."""

from __future__ import annotations

import pathlib
import re
import subprocess
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import mkfs
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import CommandError
from real_runner import RealRunner

# Of this file alone: a kernel mounts no two XFS or btrfs of one UUID, and another file may run beside it.
UUID = "aaaaaaaa-bbbb-4ccc-8ddd-000000000002"
MIB = 1 << 20


@pytest.fixture
def make(tmp_path: pathlib.Path) -> t.Callable[..., pathlib.Path]:
    """Make a file system: ``make(name, features)``."""

    def run(name: str, features: t.Sequence[str] = ()) -> pathlib.Path:
        device = tmp_path / "device"
        with device.open("wb") as file:
            file.truncate(512 * MIB)
        mkfs.make(RealRunner(), name, mkfs.Request(str(device), UUID, 1 << 30, tuple(features)))
        return device

    return run


def ask(*argv: str | pathlib.Path) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def xfs(device: pathlib.Path) -> dict[str, str]:
    said = ask("xfs_db", "-r", "-f", "-c", "version", "-c", "sb 0", "-c", "print", device)
    pairs = dict(re.findall(r"^(\w+) = (.*)$", said, re.MULTILINE))
    return {**pairs, "features": said.splitlines()[0]}


def test_xfs(make: t.Any) -> None:
    device = make("xfs")
    found = xfs(device)
    assert found["uuid"] == UUID
    assert found["fname"].startswith('"root')
    assert (found["blocksize"], found["sectsize"], found["agcount"]) == ("4096", "4096", "4")
    names = set(found["features"].split(" = ")[-1].split(","))
    # Such as newer versions make by themselves, and GRUB does not read.
    assert {"V5", "CRC", "FTYPE", "FINOBT", "SPARSE_INODES", "REFLINK", "BIGTIME"} <= names
    assert not names & {"INOBTCNT", "NREXT64", "RMAPBT", "PARENT", "EXCHANGE", "METADIR"}
    # The log, and little else.
    assert device.stat().st_blocks * 512 < 66 * MIB


def test_features_of_xfs(make: t.Any) -> None:
    device = make("xfs", ["inobtcount", "^bigtime", "rmapbt"])
    names = set(xfs(device)["features"].split(" = ")[-1].split(","))
    assert {"INOBTCNT", "RMAPBT"} <= names
    assert "BIGTIME" not in names
    with pytest.raises(CommandError, match="no-such-feature"):
        make("xfs", ["no-such-feature"])


def btrfs(device: pathlib.Path) -> str:
    return ask("btrfs", "inspect-internal", "dump-super", device)


def test_btrfs(make: t.Any) -> None:
    device = make("btrfs")
    said = btrfs(device)
    assert re.search(rf"^fsid\t+{UUID}$", said, re.MULTILINE)
    assert re.search(r"^label\t+root$", said, re.MULTILINE)
    assert "(crc32c)" in said
    assert "NO_HOLES" not in said
    assert "BLOCK_GROUP_TREE" not in said
    assert device.stat().st_blocks * 512 < 8 * MIB


def test_features_of_btrfs(make: t.Any) -> None:
    device = make("btrfs", ["no-holes"])
    assert "NO_HOLES" in btrfs(device)
    with pytest.raises(CommandError, match="no-such-feature"):
        make("btrfs", ["no-such-feature"])


def test_ext4(make: t.Any) -> None:
    device = make("ext4", ["inline_data"])
    said = ask("dumpe2fs", "-h", device)
    assert re.search(rf"^Filesystem UUID: +{UUID}$", said, re.MULTILINE)
    assert "inline_data" in said
    assert "orphan_file" not in said
    assert device.stat().st_blocks * 512 < 4 * MIB


def grub(device: pathlib.Path) -> str:
    """Look for a file that is not there by the code of this machine's GRUB, and return what it says."""
    argv = ["grub-fstest", str(device), "cat", "(loop0)/none"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    return done.stderr


@pytest.mark.parametrize("name", ["btrfs", "ext4", "xfs"])
def test_grub_reads_a_new_file_system(make: t.Any, name: str) -> None:
    device = make(name)
    assert "not found" in grub(device)
    with device.open("r+b") as file:
        file.truncate(0)
        file.truncate(512 * MIB)
    assert "unknown filesystem" in grub(device)
