# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""raw_disk with scripted commands."""

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

MIB = 1 << 20
SIZE = 4096 * MIB
TABLE = {
    "label": "gpt",
    "id": "A1FFAABC-6012-724C-90E1-319CA8712EC6",
    "unit": "sectors",
    "sectorsize": 512,
    "partitions": [
        {
            "start": 2048,
            "size": 202752,
            "type": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
            "uuid": "DA2B27D0-BC5E-FF44-8AB1-E37D410461BB",
            "name": "ESP",
        },
        {
            "start": 204800,
            "size": 8181760,
            "type": "CA7D7CCB-63ED-4C53-861C-1742536059CC",
            "uuid": "3E262DC3-FA55-DF48-B8B7-59B5E52DBEE9",
            "name": "root",
        },
    ],
}
SCRIPT = (
    b"label: gpt\n"
    b"start=2048, size=202752, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=ESP\n"
    b"start=204800, size=8181760, type=CA7D7CCB-63ED-4C53-861C-1742536059CC, name=root\n"
)
VFAT = "OFFSET=1048576\nLABEL_FATBOOT=ESP\nLABEL=ESP\nTYPE=vfat\n"


def answer(table: dict[str, t.Any] = TABLE) -> str:
    return json.dumps({"partitiontable": table})


def blkid(path: pathlib.Path) -> list[str]:
    argv = ["blkid", "--probe", "--output", "export", "--offset", "1048576", "--size"]
    return [*argv, "103809024", str(path)]


def mkfs(path: pathlib.Path) -> list[str]:
    argv = ["mkfs.vfat", "-F", "32", "-S", "512", "-s", "1", "-n", "ESP", "-h", "2048"]
    return [*argv, "--offset", "2048", str(path), "101376"]


def sfdisk(path: pathlib.Path) -> list[str]:
    argv = ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", "--wipe=always"]
    return [*argv, str(path)]


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> pathlib.Path:
    """A file that is not blank and has the right size."""
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.write(b"x")
        file.truncate(SIZE)
    return path


def test_make(tmp_path: pathlib.Path, script: t.Any, run_module: t.Any) -> None:
    path = tmp_path / "w" / "disk.raw"
    script.expect(sfdisk(path), stdin=SCRIPT)
    script.expect(["sfdisk", "--json", str(path)], stdout=answer())
    script.expect(mkfs(path))
    script.expect(blkid(path), stdout=VFAT)
    outcome = run_module("raw_disk", path=str(path), size=SIZE - 1)
    assert not outcome.failed
    assert outcome["changed"] is True
    assert outcome["uuid"] == TABLE["id"]
    assert outcome["esp"]["offset"] == MIB
    assert outcome["root"]["offset"] == 100 * MIB
    assert outcome["root"]["size"] == SIZE - 101 * MIB
    assert outcome["diff"] == {
        "before": {str(path): "absent"},
        "after": {str(path): "as wanted"},
    }
    assert path.stat().st_size == SIZE


def test_there_already(disk: pathlib.Path, script: t.Any, run_module: t.Any) -> None:
    script.expect(["sfdisk", "--json", str(disk)], stdout=answer())
    script.expect(blkid(disk), stdout=VFAT)
    outcome = run_module("raw_disk", path=str(disk), size=SIZE, esp_uuid=None)
    assert outcome["changed"] is False
    assert outcome["diff"]["before"] == outcome["diff"]["after"]


def test_only_the_file_system_is_missing(
    disk: pathlib.Path, script: t.Any, run_module: t.Any
) -> None:
    script.expect(["sfdisk", "--json", str(disk)], stdout=answer())
    script.expect(blkid(disk), rc=2)
    script.expect(mkfs(disk))
    script.expect(blkid(disk), stdout=VFAT)
    assert run_module("raw_disk", path=str(disk), size=SIZE)["changed"] is True


@pytest.mark.parametrize("check", [True, False])
def test_another_disk_is_refused(
    check: bool, disk: pathlib.Path, script: t.Any, run_module: t.Any
) -> None:
    script.expect(["sfdisk", "--json", str(disk)], rc=1, stderr="no table")
    outcome = run_module("raw_disk", _check=check, path=str(disk), size=SIZE)
    assert outcome.failed
    assert "is another disk" in outcome["msg"]


def test_check_mode_runs_nothing(tmp_path: pathlib.Path, script: t.Any, run_module: t.Any) -> None:
    path = tmp_path / "disk.raw"
    outcome = run_module("raw_disk", _check=True, path=str(path), size=SIZE)
    assert outcome["changed"] is True
    assert outcome["uuid"] == ""
    assert not path.exists()


def test_a_failure_leaves_no_file(tmp_path: pathlib.Path, script: t.Any, run_module: t.Any) -> None:
    path = tmp_path / "disk.raw"
    script.expect(sfdisk(path), stdin=SCRIPT, rc=1, stderr="sfdisk: no space")
    outcome = run_module("raw_disk", path=str(path), size=SIZE)
    assert outcome.failed
    assert "no space" in outcome["msg"]
    assert not path.exists()


def test_what_sfdisk_wrote_is_compared(
    tmp_path: pathlib.Path, script: t.Any, run_module: t.Any
) -> None:
    path = tmp_path / "disk.raw"
    script.expect(sfdisk(path), stdin=SCRIPT)
    script.expect(["sfdisk", "--json", str(path)], stdout=answer({**TABLE, "partitions": []}))
    outcome = run_module("raw_disk", path=str(path), size=SIZE)
    assert outcome.failed
    assert "sfdisk wrote" in outcome["msg"]
