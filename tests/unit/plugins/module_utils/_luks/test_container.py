# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a container may be."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import container
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> str:
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(1 << 20)
    return str(path)


def table(path: str, *parts: tuple[int, int], **more: int) -> str:
    rows = [
        {"node": f"{path}{number}", "start": start, "size": size}
        for number, (start, size) in enumerate(parts, 1)
    ]
    return json.dumps({"partitiontable": {"label": "gpt", "partitions": rows, **more}})


@pytest.mark.parametrize(
    ("offset", "size", "words"),
    [
        (-512, 0, "whole 512-byte sectors"),
        (0, -512, "whole 512-byte sectors"),
        (100, 0, "whole 512-byte sectors"),
        (512, 1000, "whole 512-byte sectors"),
        (512, 1 << 20, "ends at 1048576 bytes"),
        (2 << 20, 0, "ends at 1048576 bytes"),
    ],
)
def test_regions_that_cannot_be(disk: str, offset: int, size: int, words: str) -> None:
    with pytest.raises(SealedRootError, match=words):
        container.check(disk, offset, size)


def test_paths_that_cannot_be(tmp_path: pathlib.Path) -> None:
    with pytest.raises(SealedRootError, match="does not exist"):
        container.check(str(tmp_path / "none"), 0, 0)
    for path in (str(tmp_path), "/dev/null"):
        with pytest.raises(SealedRootError, match="neither a file nor a block device"):
            container.check(path, 0, 0)


def test_a_region_in_the_file(disk: str) -> None:
    container.check(disk, 0, 0)
    container.check(disk, 512, (1 << 20) - 512)


def test_partitions_in_their_own_sectors(disk: str, script, runner) -> None:
    script.expect(["sfdisk", "--json", disk], stdout=table(disk, (2, 3), sectorsize=4096))
    (part,) = container.partitions(runner, disk)
    assert part == (f"{disk}1", 8192, 12288)
    script.expect(["sfdisk", "--json", disk], rc=1, stderr="no partition table")
    assert container.partitions(runner, disk) == []
    script.expect(["sfdisk", "--json", disk], stdout='{"partitiontable": {"label": "gpt"}}')
    assert container.partitions(runner, disk) == []


@pytest.mark.parametrize(("offset", "size"), [(8192, 8192), (8192, 512), (12288, 4096)])
def test_inside_of_a_partition(disk: str, offset: int, size: int, script, runner) -> None:
    script.expect(["sfdisk", "--json", disk], stdout=table(disk, (0, 8), (16, 16)))
    container.check_partition(runner, disk, offset, size)


@pytest.mark.parametrize(
    ("offset", "size"), [(8192, 8704), (7680, 8704), (4096, 512), (0, 0), (8192, 0), (2048, 4096)]
)
def test_over_the_edge_of_a_partition(disk: str, offset: int, size: int, script, runner) -> None:
    script.expect(["sfdisk", "--json", disk], stdout=table(disk, (0, 8), (16, 16)))
    with pytest.raises(SealedRootError, match=r"not inside one of its partitions .*set force"):
        container.check_partition(runner, disk, offset, size)


def test_without_a_table_any_region_will_do(disk: str, script, runner) -> None:
    script.expect(["sfdisk", "--json", disk], rc=1)
    container.check_partition(runner, disk, 512, 0)


def test_a_lock_keeps_a_second_one_waiting(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "disk"
    path.touch()
    with (
        container.locked(str(path)),
        pytest.raises(SealedRootError, match=r"locked by another program for 0\.2 seconds"),
        container.locked(str(path), seconds=0.2),
    ):
        pass
    with container.locked(str(path), seconds=0):
        pass
