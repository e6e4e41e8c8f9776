# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dm_crypt backend with scripted commands."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import dm_crypt
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    mounts,
    processes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    SealedRootError,
)

COLUMNS = "NAME,OFFSET,BACK-MAJ:MIN,BACK-INO,BACK-FILE"
LIST = ["losetup", "--list", "--json", "--output", COLUMNS]
STATUS = """/dev/mapper/cr_root is active.
  type:    LUKS1
  cipher:  aes-xts-plain64
  keysize: 512 bits
  key location: dm-crypt
  device:  {device}
  loop:    /var/tmp/disk.raw
  sector size:  512
  offset:  4096 sectors
  size:    8177664 sectors
  mode:    read/write
"""
INACTIVE = "/dev/mapper/cr_root is inactive.\n"


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> str:
    path = tmp_path / "disk.raw"
    path.touch()
    return str(path)


@pytest.fixture(autouse=True)
def mapper(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A /dev/mapper whose control node can be opened."""
    path = tmp_path / "mapper"
    path.mkdir()
    monkeypatch.setattr(mounts, "MAPPER_DIR", str(path))
    monkeypatch.setattr(dm_crypt, "CONTROL", str(path / "control"))
    (path / "control").touch()
    return path


def loops(path: str, *devices: str, offset: int = 512) -> str:
    info = os.stat(path)
    rows = [
        {
            "name": device,
            "offset": offset,
            "back-maj:min": f"{os.major(info.st_dev)}:{os.minor(info.st_dev)}",
            "back-ino": info.st_ino,
            "back-file": path,
        }
        for device in devices
    ]
    return json.dumps({"loopdevices": rows})


class AnyProbe(t.List[str]):
    """The probe's argv, whose file has a random name."""

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, list)
        assert other[: len(self)] == list(self)
        assert os.path.getsize(other[-2]) == 1 << 20
        assert other[-1] == os.path.basename(other[-2])
        return True


OPEN_PROBE = [
    *("cryptsetup", "open", "--type", "plain", "--cipher", "aes-xts-plain64"),
    *("--key-size", "512", "--hash", "sha256", "--key-file", "-"),
]


def test_the_probe_opens_and_closes_for_real(script, runner) -> None:
    script.expect(AnyProbe(OPEN_PROBE), stdin=b"probe")
    names = []

    class Close(t.List[str]):
        def __eq__(self, other: object) -> bool:
            assert isinstance(other, list)
            names.append(other[-1])
            return other[:-1] == ["cryptsetup", "close"]

    script.expect(Close())
    assert dm_crypt.unusable(runner) is None
    assert names[0].startswith("sealedroot-probe-")


def test_the_probe_says_why_not(script, runner) -> None:
    said = "device-mapper: reload ioctl failed: Invalid argument\nCannot use device\n"
    script.expect(AnyProbe(OPEN_PROBE), stdin=b"probe", rc=1, stderr=said)
    reason = dm_crypt.unusable(runner)
    assert reason == (
        "a test mapping could not be opened (device-mapper: reload ioctl failed: Invalid argument)"
    )


@pytest.mark.parametrize("kind", ["missing", "no driver"])
def test_a_control_node_without_a_driver(kind: str, mapper: pathlib.Path, script, runner) -> None:
    """libdevmapper makes the node itself, so that it is there is no sign of a driver."""
    (mapper / "control").unlink()
    if kind == "no driver":
        (mapper / "control").symlink_to("/nowhere")
    script.expect(["modprobe", "dm_crypt"], rc=1)
    reason = dm_crypt.unusable(runner)
    assert reason is not None
    assert reason.startswith("the kernel has no device-mapper")


def test_the_module_is_loaded_when_it_can_be(mapper: pathlib.Path, script, runner) -> None:
    (mapper / "control").unlink()
    script.expect(["modprobe", "dm_crypt"], effect=(mapper / "control").touch)
    script.expect(AnyProbe(OPEN_PROBE), stdin=b"probe", rc=1)
    assert dm_crypt.unusable(runner) == "a test mapping could not be opened (no output)"


def test_tools_that_are_missing(mapper: pathlib.Path, runner) -> None:
    (mapper / "control").unlink()
    runner.missing = {"modprobe"}
    assert "no device-mapper" in (dm_crypt.unusable(runner) or "")
    runner.missing = {"cryptsetup"}
    assert dm_crypt.unusable(runner) == "cryptsetup is not installed on this machine"


def is_open(runner, path: str, offset: int = 512) -> bool:
    return dm_crypt.is_open(runner, path=path, offset=offset, name="cr_root")


def test_closed(disk: str, script, runner) -> None:
    script.expect(["cryptsetup", "status", "cr_root"], rc=4, stdout=INACTIVE)
    assert is_open(runner, disk) is False


def test_open_on_one_of_several_loop_devices(disk: str, script, runner) -> None:
    """Another module may have the region bound for a moment, to read the header."""
    status = STATUS.format(device="/dev/loop7")
    script.expect(["cryptsetup", "status", "cr_root"], stdout=status)
    script.expect(LIST, stdout=loops(disk, "/dev/loop3", "/dev/loop7"))
    assert is_open(runner, disk) is True


def test_open_on_a_whole_device(disk: str, script, runner) -> None:
    script.expect(["cryptsetup", "status", "cr_root"], stdout=STATUS.format(device=disk))
    script.expect(LIST)
    assert is_open(runner, disk, offset=0) is True


@pytest.mark.parametrize(("device", "offset"), [("/dev/loop9", 512), ("/dev/loop7", 1024), ("", 0)])
def test_open_on_something_else(device: str, offset: int, disk: str, script, runner) -> None:
    device = device or f"{disk}.other"
    script.expect(["cryptsetup", "status", "cr_root"], stdout=STATUS.format(device=device))
    script.expect(LIST, stdout=loops(disk, "/dev/loop7"))
    with pytest.raises(SealedRootError, match=f"cr_root is open on {device}, not on {disk}"):
        is_open(runner, disk, offset)


def test_a_node_that_is_no_mapping(disk: str, mapper: pathlib.Path, script, runner) -> None:
    (mapper / "cr_root").touch()
    script.expect(["cryptsetup", "status", "cr_root"], rc=4, stdout=INACTIVE)
    with pytest.raises(SealedRootError, match="is no mapping of dm-crypt: use another name"):
        is_open(runner, disk)


OPEN = ["cryptsetup", "open", "--type", "luks", "--allow-discards"]
ATTACH = ["losetup", "--find", "--show", "--offset", "512"]


def open_mapping(runner, path: str, *, read_only: bool = False) -> None:
    dm_crypt.open_mapping(
        runner, path=path, offset=512, size=0, name="cr_root", key_file="/k", read_only=read_only
    )


def test_open(disk: str, script, runner) -> None:
    script.expect([*ATTACH, disk], stdout="/dev/loop7\n")
    script.expect([*OPEN, "--key-file", "/k", "/dev/loop7", "cr_root"])
    open_mapping(runner, disk)


def test_open_read_only(disk: str, script, runner) -> None:
    script.expect([*ATTACH, "--read-only", disk], stdout="/dev/loop7\n")
    script.expect([*OPEN, "--readonly", "--key-file", "/k", "/dev/loop7", "cr_root"])
    open_mapping(runner, disk, read_only=True)


@pytest.mark.parametrize(
    ("rc", "words"), [(2, "the key in /k does not open"), (1, "cryptsetup could not open .*: busy")]
)
def test_a_failed_open_leaves_no_loop_device(
    rc: int, words: str, disk: str, script, runner
) -> None:
    script.expect([*ATTACH, disk], stdout="/dev/loop7\n")
    script.expect([*OPEN, "--key-file", "/k", "/dev/loop7", "cr_root"], rc=rc, stderr="busy\n")
    script.expect(LIST, stdout=loops(disk, "/dev/loop7"))
    script.expect(["losetup", "--detach", "/dev/loop7"])
    script.expect(LIST)
    with pytest.raises(SealedRootError, match=words):
        open_mapping(runner, disk)


def close_mapping(runner, path: str) -> None:
    dm_crypt.close_mapping(runner, path=path, offset=512, name="cr_root")


def test_close_releases_its_own_loop_device(disk: str, script, runner) -> None:
    status = STATUS.format(device="/dev/loop7")
    script.expect(["cryptsetup", "status", "cr_root"], stdout=status)
    script.expect(["cryptsetup", "close", "cr_root"])
    script.expect(LIST, stdout=loops(disk, "/dev/loop3", "/dev/loop7"))
    script.expect(["losetup", "--detach", "/dev/loop7"])
    script.expect(LIST, stdout=loops(disk, "/dev/loop3"))
    close_mapping(runner, disk)


BUSY = {"rc": 5, "stderr": "Device cr_root is still in use."}


def test_close_waits_for_who_is_just_ending(disk: str, script, runner, monkeypatch) -> None:
    """A command of another build keeps a copy of every mount that was there when it began."""
    monkeypatch.setattr(dm_crypt, "PAUSE", 0)
    script.expect(["cryptsetup", "status", "cr_root"], stdout=STATUS.format(device="/dev/loop7"))
    script.expect(["cryptsetup", "close", "cr_root"], **BUSY)
    script.expect(["cryptsetup", "close", "cr_root"])
    script.expect(LIST)
    close_mapping(runner, disk)


def test_close_of_a_mapping_in_use_releases_nothing(
    disk: str, script, runner, monkeypatch, mapper: pathlib.Path
) -> None:
    monkeypatch.setattr(dm_crypt, "BUSY_SECONDS", -1)
    monkeypatch.setattr(processes, "users", lambda number: [f"process {number}"])
    monkeypatch.setattr(processes, "mounts_of", lambda _number: ["mount /mnt"])
    (mapper / "cr_root").symlink_to("/dev/null")
    script.expect(["cryptsetup", "status", "cr_root"], stdout=STATUS.format(device="/dev/loop7"))
    script.expect(["cryptsetup", "close", "cr_root"], **BUSY)
    who = f"process {os.stat('/dev/null').st_rdev}, mount /mnt"
    with pytest.raises(SealedRootError, match=f"cr_root is in use by {who}: unmount what is on it"):
        close_mapping(runner, disk)


def test_close_that_fails_otherwise_is_told(disk: str, script, runner) -> None:
    script.expect(["cryptsetup", "status", "cr_root"], stdout=STATUS.format(device="/dev/loop7"))
    script.expect(["cryptsetup", "close", "cr_root"], rc=1, stderr="No memory")
    with pytest.raises(CommandError, match="No memory"):
        close_mapping(runner, disk)
