# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Loop devices: what losetup prints, and the races around releasing one."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system import loop_devices
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    SealedRootError,
)

FIXTURES = pathlib.Path(__file__).parents[3] / "fixtures" / "luks"
COLUMNS = "NAME,OFFSET,BACK-MAJ:MIN,BACK-INO,BACK-FILE"
LIST = ["losetup", "--list", "--json", "--output", COLUMNS]


def row(device: str, path: str, offset: t.Any = 0, **more: t.Any) -> dict[str, t.Any]:
    info = os.stat(path)
    return {
        "name": device,
        "offset": offset,
        "back-maj:min": f"  {os.major(info.st_dev)}:{os.minor(info.st_dev)}  ",
        "back-ino": info.st_ino,
        "back-file": path,
        **more,
    }


def listing(*rows: dict[str, t.Any]) -> str:
    return json.dumps({"loopdevices": rows}) if rows else ""


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> str:
    path = tmp_path / "disk.raw"
    path.write_bytes(bytes(4096))
    return str(path)


def test_parse_real_output() -> None:
    _two, one = loop_devices.parse((FIXTURES / "losetup-2.38.1.json").read_text())
    assert one == loop_devices.Loop(
        device="/dev/loop0",
        offset=1048576,
        inode=(os.makedev(254, 0), 2416691),
        backing_file="/var/tmp/l1",
    )


@pytest.mark.parametrize("text", ["", "\n", '{"loopdevices": []}'])
def test_no_device_at_all(text: str) -> None:
    assert loop_devices.parse(text) == []


def test_a_device_that_goes_while_it_is_listed(disk: str) -> None:
    nothing = {"offset": None, "back-maj:min": None, "back-ino": None}
    (loop,) = loop_devices.parse(listing(row("/dev/loop0", disk, **{**nothing, "back-file": None})))
    assert loop.inode == (0, 0)
    assert loop.backing_file == ""


def test_old_losetup_prints_strings(disk: str) -> None:
    strings = {"offset": "512", "back-ino": "7"}
    (loop,) = loop_devices.parse(listing(row("/dev/loop0", disk, **strings)))
    assert (loop.offset, loop.inode[1]) == (512, 7)


def test_found_by_inode_and_offset(disk: str, tmp_path: pathlib.Path, script, runner) -> None:
    other = tmp_path / "other"
    other.touch()
    rows = [
        row("/dev/loop0", str(other), 512, **{"back-file": disk}),
        row("/dev/loop1", disk, 1024),
        row("/dev/loop2", disk, 512, **{"back-file": "/renamed"}),
        row("/dev/loop3", disk, 512),
    ]
    script.expect(LIST, stdout=listing(*rows))
    found = loop_devices.find_all(runner, path=disk, offset=512)
    assert [loop.device for loop in found] == ["/dev/loop2", "/dev/loop3"]


def test_attach_says_what_is_asked(script, runner) -> None:
    script.expect(["losetup", "--find", "--show", "/d"], stdout="/dev/loop0\n")
    assert loop_devices.attach(runner, path="/d") == "/dev/loop0"
    argv = ["losetup", "--find", "--show", "--offset", "512", "--sizelimit", "1024"]
    script.expect([*argv, "--read-only", "--direct-io=on", "/d"], stdout="/dev/loop1\n")
    more = {"read_only": True, "direct_io": True}
    assert loop_devices.attach(runner, path="/d", offset=512, size=1024, **more) == "/dev/loop1"


def test_detach_waits_for_the_last_user(disk: str, script, runner) -> None:
    script.expect(LIST, stdout=listing(row("/dev/loop0", disk)))
    script.expect(["losetup", "--detach", "/dev/loop0"])
    script.expect(LIST, stdout=listing(row("/dev/loop0", disk)))
    script.expect(LIST)
    loop_devices.detach(runner, "/dev/loop0")


def test_detach_does_not_wait_for_another_processs_file(
    disk: str, tmp_path: pathlib.Path, script, runner
) -> None:
    """The device is free for an instant and bound by another process: it is not ours any more."""
    other = tmp_path / "other"
    other.touch()
    script.expect(LIST, stdout=listing(row("/dev/loop0", disk)))
    script.expect(["losetup", "--detach", "/dev/loop0"])
    script.expect(LIST, stdout=listing(row("/dev/loop0", str(other))))
    loop_devices.detach(runner, "/dev/loop0")


def test_detach_gives_up_with_a_sentence(
    disk: str, script, runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_devices, "RELEASE_SECONDS", -1)
    info = os.stat(disk)
    script.expect(["losetup", "--detach", "/dev/loop0"])
    script.expect(LIST, stdout=listing(row("/dev/loop0", disk)))
    with pytest.raises(SealedRootError, match=r"/dev/loop0 is still in use .* unmount"):
        loop_devices.detach(runner, "/dev/loop0", inode=(info.st_dev, info.st_ino))


def test_attached_region_is_released_after_a_failure(disk: str, script, runner) -> None:
    argv = ["losetup", "--find", "--show", "--offset", "512", disk]
    script.expect(argv, stdout="/dev/loop0\n")
    script.expect(["losetup", "--detach", "/dev/loop0"])
    script.expect(LIST)
    region = loop_devices.attached(runner, path=disk, offset=512)
    assert region.__enter__() == "/dev/loop0"
    assert not region.__exit__(KeyError, KeyError(), None)


def test_attached_whole_file_needs_no_device_unless_read_only(disk: str, script, runner) -> None:
    with loop_devices.attached(runner, path=disk) as device:
        assert device == disk
    script.expect(["losetup", "--find", "--show", "--read-only", disk], stdout="/dev/loop0\n")
    script.expect(["losetup", "--detach", "/dev/loop0"])
    script.expect(LIST)
    with loop_devices.attached(runner, path=disk, read_only=True) as device:
        assert device == "/dev/loop0"


def test_a_failed_attach_is_not_detached(disk: str, script, runner) -> None:
    argv = ["losetup", "--find", "--show", "--offset", "512", disk]
    script.expect(argv, rc=1, stderr="no free loop device")
    region = loop_devices.attached(runner, path=disk, offset=512)
    with pytest.raises(CommandError, match="no free loop device"):
        region.__enter__()
