# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Real loop devices, looked at through the kernel's own files in /sys."""

from __future__ import annotations

import multiprocessing
import os
import pathlib
import shutil
import subprocess
import tempfile
import time
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system import loop_devices
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from real_runner import RealRunner
from waiting import until

MIB = 1 << 20
# Fewer where every instruction is emulated.
ROUNDS = int(os.environ.get("SEALEDROOT_TEST_ROUNDS", "40"))


def sh(*argv: t.Union[str, os.PathLike[str]], **kwargs: t.Any) -> str:
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60, **kwargs)
    return str(done.stdout)


def bound(path: pathlib.Path) -> list[str]:
    """The loop devices on *path*, asked without losetup."""
    found = []
    for entry in pathlib.Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            if entry.read_text().rstrip("\n") == str(path):
                found.append(f"/dev/{entry.parent.parent.name}")
        except OSError:
            continue  # released meanwhile
    return sorted(found)


def attribute(device: str, name: str) -> str:
    return (pathlib.Path("/sys/block") / device.rpartition("/")[2] / name).read_text().strip()


@pytest.fixture
def disk() -> t.Iterator[pathlib.Path]:
    base = pathlib.Path(tempfile.mkdtemp(prefix="loop_devices.", dir="/var/tmp"))
    path = base / "a disk, 1"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    yield path
    left = [device for file in base.iterdir() for device in bound(file)]
    for device in left:
        sh("losetup", "--detach", device)
    shutil.rmtree(base)
    assert left == []


@pytest.mark.parametrize("name", ["a disk, 1", "disk.raw"])
def test_attach_and_detach(name: str, disk: pathlib.Path) -> None:
    disk = disk.rename(disk.parent / name)
    with disk.open("r+b") as file:
        file.seek(8 * MIB)
        file.write(b"the region")
    runner = RealRunner()
    device = loop_devices.attach(runner, path=str(disk), offset=8 * MIB, size=16 * MIB)
    assert bound(disk) == [device]
    with open(device, "rb") as opened:
        assert opened.read(10) == b"the region"
        assert opened.seek(0, os.SEEK_END) == 16 * MIB
    (found,) = loop_devices.find_all(runner, path=str(disk), offset=8 * MIB)
    assert found.device == device
    assert not loop_devices.is_read_only(device)
    assert loop_devices.find_all(runner, path=str(disk)) == []
    loop_devices.detach(runner, device)
    assert bound(disk) == []


def test_read_only_and_direct_io(disk: pathlib.Path) -> None:
    runner = RealRunner()
    device = loop_devices.attach(runner, path=str(disk), read_only=True, direct_io=True)
    assert (attribute(device, "ro"), attribute(device, "loop/dio")) == ("1", "1")
    assert loop_devices.is_read_only(device)
    loop_devices.detach(runner, device)


def test_a_renamed_or_linked_file_is_the_same(disk: pathlib.Path) -> None:
    runner = RealRunner()
    device = loop_devices.attach(runner, path=str(disk))
    renamed = disk.rename(disk.parent / "renamed")
    link = disk.parent / "link"
    link.symlink_to("renamed")
    for path in (renamed, link):
        assert [it.device for it in loop_devices.find_all(runner, path=str(path))] == [device]
    # Another file under the old name is another file.
    shutil.copy(renamed, disk)
    assert loop_devices.find_all(runner, path=str(disk)) == []
    loop_devices.detach(runner, device)


def test_a_device_in_use_is_waited_for(disk: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = RealRunner()
    device = loop_devices.attach(runner, path=str(disk))
    monkeypatch.setattr(loop_devices, "RELEASE_SECONDS", 0.3)
    with open(device, "rb") as opened:
        holder = subprocess.Popen(["sleep", "300"], stdin=opened)
    try:
        with pytest.raises(SealedRootError, match=f"{device}.*still in use"):
            loop_devices.detach(runner, device)
    finally:
        holder.kill()
        holder.wait()
    until(lambda: bound(disk) == [])


def rounds(path: pathlib.Path, offset: int) -> None:
    """Attach and detach, over and over; runs in a process of its own."""
    runner = RealRunner()
    for _ in range(ROUNDS):
        device = loop_devices.attach(runner, path=str(path), offset=offset)
        (found,) = loop_devices.find_all(runner, path=str(path), offset=offset)
        assert found.device == device
        with open(device, "rb") as file:
            assert file.read(8) == b"%08d" % offset
        loop_devices.detach(runner, device)
        assert loop_devices.find_all(runner, path=str(path), offset=offset) == []


def test_many_at_once(disk: pathlib.Path) -> None:
    """A device that one process releases is bound by another at once; nobody waits for the wrong one."""
    offsets = [number * MIB for number in range(6)]
    with disk.open("r+b") as file:
        for offset in offsets:
            file.seek(offset)
            file.write(b"%08d" % offset)
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=rounds, args=(disk, offset)) for offset in offsets]
    started = time.monotonic()
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)
    assert time.monotonic() - started < loop_devices.RELEASE_SECONDS
