# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""loop_attach with scripted commands."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest

COLUMNS = "NAME,OFFSET,SIZELIMIT,RO,DIO,BACK-MAJ:MIN,BACK-INO,BACK-FILE"
LIST = ["losetup", "--list", "--json", "--output", COLUMNS]


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> str:
    path = tmp_path / "disk1"
    path.write_bytes(bytes(8192))
    return str(path)


def listing(path: str, *devices: str, **more: t.Any) -> str:
    info = os.stat(path)
    row = {
        "offset": 512,
        "sizelimit": 0,
        "ro": False,
        "dio": False,
        "back-maj:min": f"{os.major(info.st_dev)}:{os.minor(info.st_dev)}",
        "back-ino": info.st_ino,
        "back-file": path,
    }
    return json.dumps({"loopdevices": [{**row, "name": name, **more} for name in devices]})


def test_attach(disk: str, script, run_module) -> None:
    script.expect(LIST)
    predicted = run_module("loop_attach", path=disk, offset=512, _check=True)
    script.expect(LIST)
    script.expect(["losetup", "--find", "--show", "--offset", "512", disk], stdout="/dev/loop4\n")
    made = run_module("loop_attach", path=disk, offset=512)
    assert predicted["changed"] is made["changed"] is True
    assert (predicted["device"], made["device"]) == ("", "/dev/loop4")
    assert set(predicted.result) == set(made.result)
    assert made["diff"] == {"before": {"devices": []}, "after": {"devices": ["/dev/loop4"]}}
    assert predicted["diff"]["after"] == {"devices": ["a new loop device"]}


def test_attached_already(disk: str, script, run_module) -> None:
    script.expect(LIST, stdout=listing(disk, "/dev/loop4"))
    result = run_module("loop_attach", path=disk, offset=512)
    assert (result["changed"], result["device"]) == (False, "/dev/loop4")
    assert result["diff"]["before"] == result["diff"]["after"]


def test_the_one_of_several_that_fits(disk: str, script, run_module) -> None:
    rows = json.loads(listing(disk, "/dev/loop3", ro=True))["loopdevices"]
    rows += json.loads(listing(disk, "/dev/loop4"))["loopdevices"]
    script.expect(LIST, stdout=json.dumps({"loopdevices": rows}))
    assert run_module("loop_attach", path=disk, offset=512)["device"] == "/dev/loop4"


@pytest.mark.parametrize(
    ("more", "words"), [({"ro": True}, "read-only"), ({"sizelimit": 512}, "size 512")]
)
def test_another_binding_is_not_replaced(
    more: dict[str, t.Any], words: str, disk: str, script, run_module
) -> None:
    script.expect(LIST, stdout=listing(disk, "/dev/loop4", **more))
    result = run_module("loop_attach", path=disk, offset=512)
    assert result.failed
    assert "/dev/loop4" in result["msg"]
    assert words in result["msg"]


def test_direct_io_is_switched(disk: str, script, run_module) -> None:
    script.expect(LIST, stdout=listing(disk, "/dev/loop4"))
    options = {"path": disk, "offset": 512, "direct_io": True}
    assert run_module("loop_attach", _check=True, **options)["changed"] is True
    script.expect(LIST, stdout=listing(disk, "/dev/loop4"))
    script.expect(["losetup", "--direct-io=on", "/dev/loop4"])
    assert run_module("loop_attach", **options)["device"] == "/dev/loop4"


def test_detach_all_of_them(disk: str, script, run_module) -> None:
    options = {"path": disk, "offset": 512, "state": "absent"}
    both = listing(disk, "/dev/loop3", "/dev/loop4")
    script.expect(LIST, stdout=both)
    assert run_module("loop_attach", _check=True, **options)["changed"] is True
    script.expect(LIST, stdout=both)
    for device in ("/dev/loop3", "/dev/loop4"):
        script.expect(LIST, stdout=both)
        script.expect(["losetup", "--detach", device])
        script.expect(LIST)
    result = run_module("loop_attach", **options)
    assert (result["changed"], result["device"]) == (True, "")
    script.expect(LIST)
    assert run_module("loop_attach", **options)["changed"] is False


def test_a_partition_of_a_file_that_ends_with_a_digit(disk: str, script, run_module) -> None:
    rows = [
        {"node": f"{disk}p12", "start": 1, "size": 1},
        {"node": f"{disk}p2", "start": 2, "size": 4},
    ]
    table = json.dumps({"partitiontable": {"label": "gpt", "partitions": rows}})
    script.expect(["sfdisk", "--json", disk], stdout=table)
    script.expect(LIST)
    argv = ["losetup", "--find", "--show", "--offset", "1024", "--sizelimit", "2048", "--read-only"]
    script.expect([*argv, disk], stdout="/dev/loop4\n")
    result = run_module("loop_attach", path=disk, partition=2, read_only=True)
    assert (result["offset"], result["size"]) == (1024, 2048)
    script.expect(["sfdisk", "--json", disk], stdout=table)
    assert "no partition 1:" in run_module("loop_attach", path=disk, partition=1)["msg"]


def test_bad_input(disk: str, run_module) -> None:
    for options, words in (
        ({"partition": 1, "size": 512}, "cannot be combined"),
        ({"offset": 1 << 20}, "ends at"),
        ({"path": "/none"}, "does not exist"),
    ):
        result = run_module("loop_attach", **{"path": disk, **options})
        assert result.failed
        assert words in result["msg"]
