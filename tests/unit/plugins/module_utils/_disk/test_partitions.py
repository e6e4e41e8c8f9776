# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The partition table."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


def test_parse_other_sector_sizes_and_names() -> None:
    table = partitions.parse(
        json.dumps(
            {
                "partitiontable": {
                    "label": "gpt",
                    "sectorsize": 4096,
                    "partitions": [{"start": 6, "size": 10, "type": "c12a"}],
                }
            }
        )
    )
    assert table.partitions == (partitions.Partition("C12A", "", 24576, 40960),)
    with pytest.raises(SealedRootError, match="not one EFI system partition"):
        partitions.esp_and_luks(table)


def test_another_kind_of_table(script, runner) -> None:
    text = '{"partitiontable": {"label": "dos", "id": "0xabc"}}'
    assert partitions.parse(text) == partitions.Table((), "dos", "0xabc")
    script.expect(["sfdisk", "--json", "/disk"], stdout=text)
    with pytest.raises(SealedRootError, match="is dos, not gpt"):
        partitions.read_gpt(runner, "/disk")


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


def test_partitions_in_their_own_sectors(disk: str, script, runner) -> None:
    script.expect(["sfdisk", "--json", disk], stdout=table(disk, (2, 3), sectorsize=4096))
    found = partitions.read(runner, disk)
    assert found
    (part,) = found.partitions
    assert (part.number, part.offset, part.size) == (1, 8192, 12288)
    script.expect(["sfdisk", "--json", disk], rc=1, stderr="no partition table")
    assert partitions.read(runner, disk) is None
    script.expect(["sfdisk", "--json", disk], stdout='{"partitiontable": {"label": "gpt"}}')
    assert partitions.read(runner, disk) == partitions.Table(())


@pytest.mark.parametrize(("offset", "size"), [(8192, 8192), (8192, 512), (12288, 4096)])
def test_inside_of_a_partition(disk: str, offset: int, size: int, script, runner) -> None:
    script.expect(["sfdisk", "--json", disk], stdout=table(disk, (0, 8), (16, 16)))
    partitions.check_region(runner, disk, offset, size)


@pytest.mark.parametrize(
    ("offset", "size"), [(8192, 8704), (7680, 8704), (4096, 512), (0, 0), (8192, 0), (2048, 4096)]
)
def test_over_the_edge_of_a_partition(disk: str, offset: int, size: int, script, runner) -> None:
    script.expect(["sfdisk", "--json", disk], stdout=table(disk, (0, 8), (16, 16)))
    with pytest.raises(SealedRootError, match=r"not inside one of its partitions .*set force"):
        partitions.check_region(runner, disk, offset, size)


def test_without_a_table_any_region_will_do(disk: str, script, runner) -> None:
    script.expect(["sfdisk", "--json", disk], rc=1)
    partitions.check_region(runner, disk, 512, 0)
