# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""loop_attach on real loop devices; looked at through the kernel's own files in /sys."""

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
from real_runner import RealRunner

Module = t.Callable[..., t.Dict[str, t.Any]]

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
    base = pathlib.Path(tempfile.mkdtemp(prefix="loop_attach.", dir="/var/tmp"))
    path = base / "a disk, 1"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    yield path
    left = [device for file in base.iterdir() for device in bound(file)]
    for device in left:
        sh("losetup", "--detach", device)
    shutil.rmtree(base)
    assert left == []


def ok(result: dict[str, t.Any], *, changed: bool) -> dict[str, t.Any]:
    assert not result.get("failed"), result["msg"]
    assert result["changed"] is changed
    return result


def refused(result: dict[str, t.Any], *words: str) -> None:
    assert result.get("failed"), result
    for word in words:
        assert word in result["msg"]


def test_attach_and_detach_in_the_rhythm(disk: pathlib.Path, real_module: Module) -> None:
    with disk.open("r+b") as file:
        file.seek(8 * MIB)
        file.write(b"the region")
    options = {"path": str(disk), "offset": 8 * MIB, "size": 16 * MIB}
    predicted = ok(real_module("loop_attach", _check=True, **options), changed=True)
    assert bound(disk) == []
    made = ok(real_module("loop_attach", **options), changed=True)
    assert set(made) == set(predicted)
    assert bound(disk) == [made["device"]]
    assert (made["offset"], made["size"]) == (8 * MIB, 16 * MIB)
    assert made["backing_file"] == str(disk)
    with open(made["device"], "rb") as device:
        assert device.read(10) == b"the region"
        assert device.seek(0, os.SEEK_END) == 16 * MIB
    for check in (False, True):
        again = ok(real_module("loop_attach", _check=check, **options), changed=False)
        assert again["device"] == made["device"]

    absent = {**options, "state": "absent"}
    ok(real_module("loop_attach", _check=True, **absent), changed=True)
    assert bound(disk) == [made["device"]]
    ok(real_module("loop_attach", **absent), changed=True)
    assert bound(disk) == []
    for check in (False, True):
        gone = ok(real_module("loop_attach", _check=check, **absent), changed=False)
        assert gone["device"] == ""


@pytest.mark.parametrize("name", ["a disk, 1", "disk.raw"])
@pytest.mark.parametrize("label", ["gpt", "dos"])
def test_a_partition_by_its_number(
    name: str, label: str, disk: pathlib.Path, real_module: Module
) -> None:
    disk = disk.rename(disk.parent / name)
    # Out of order and with a gap: a number is not a position in the list.
    table = f"label: {label}\n3 : start=40960, size=8192\n1 : start=2048, size=4096\n"
    sh("sfdisk", "-q", disk, input=table)
    third = ok(real_module("loop_attach", path=str(disk), partition=3), changed=True)
    assert (third["offset"], third["size"]) == (20 * MIB, 4 * MIB)
    assert attribute(third["device"], "loop/offset") == str(20 * MIB)
    assert attribute(third["device"], "size") == "8192"
    ok(real_module("loop_attach", path=str(disk), partition=3), changed=False)
    first = ok(real_module("loop_attach", path=str(disk), partition=1), changed=True)
    assert attribute(first["device"], "loop/offset") == str(MIB)
    assert len(bound(disk)) == 2
    refused(real_module("loop_attach", path=str(disk), partition=2), "no partition 2")
    refused(
        real_module("loop_attach", path=str(disk), partition=1, offset=512), "cannot be combined"
    )
    for partition in (1, 3):
        options = {"path": str(disk), "partition": partition, "state": "absent"}
        ok(real_module("loop_attach", **options), changed=True)


def test_without_a_partition_table(disk: pathlib.Path, real_module: Module) -> None:
    refused(real_module("loop_attach", path=str(disk), partition=1), "no partition 1")


def test_read_only_and_direct_io(disk: pathlib.Path, real_module: Module) -> None:
    options = {"path": str(disk), "read_only": True}
    made = ok(real_module("loop_attach", **options), changed=True)
    assert attribute(made["device"], "ro") == "1"
    refused(real_module("loop_attach", path=str(disk)), made["device"], "read-only", "state absent")
    refused(real_module("loop_attach", size=MIB, **options), made["device"], "size 0")
    direct = {**options, "direct_io": True}
    ok(real_module("loop_attach", _check=True, **direct), changed=True)
    assert attribute(made["device"], "loop/dio") == "0"
    ok(real_module("loop_attach", **direct), changed=True)
    assert attribute(made["device"], "loop/dio") == "1"
    ok(real_module("loop_attach", **direct), changed=False)
    ok(real_module("loop_attach", **options), changed=True)
    assert attribute(made["device"], "loop/dio") == "0"
    ok(real_module("loop_attach", state="absent", **options), changed=True)


def test_a_renamed_or_linked_file_is_the_same(disk: pathlib.Path, real_module: Module) -> None:
    made = ok(real_module("loop_attach", path=str(disk)), changed=True)
    renamed = disk.rename(disk.parent / "renamed")
    link = disk.parent / "link"
    link.symlink_to("renamed")
    again = ok(real_module("loop_attach", path=str(link)), changed=False)
    assert again["device"] == made["device"]
    assert again["backing_file"] == str(renamed)
    # Another file under the old name is another file.
    shutil.copy(renamed, disk)
    ok(real_module("loop_attach", path=str(disk), state="absent"), changed=False)
    ok(real_module("loop_attach", path=str(renamed), state="absent"), changed=True)


def test_a_device_in_use_is_waited_for(
    disk: pathlib.Path, real_module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ok(real_module("loop_attach", path=str(disk)), changed=True)
    monkeypatch.setattr(loop_devices, "RELEASE_SECONDS", 0.3)
    with open(made["device"], "rb") as device:
        holder = subprocess.Popen(["sleep", "300"], stdin=device)
    try:
        result = real_module("loop_attach", path=str(disk), state="absent")
        refused(result, made["device"], "still in use")
    finally:
        holder.kill()
        holder.wait()
    monkeypatch.undo()
    deadline = time.monotonic() + 10
    while bound(disk):
        assert time.monotonic() < deadline
    ok(real_module("loop_attach", path=str(disk), state="absent"), changed=False)


def test_bad_input(disk: pathlib.Path, real_module: Module) -> None:
    refused(real_module("loop_attach", path=f"{disk}.no"), "does not exist")
    refused(real_module("loop_attach", path=str(disk), offset=100), "512-byte sectors")
    refused(real_module("loop_attach", path=str(disk), size=128 * MIB), "ends at")
    refused(real_module("loop_attach", path=str(disk.parent)), "neither a file nor a block device")
    assert bound(disk) == []


def rounds(path: pathlib.Path, offset: int) -> None:
    """Attach and detach, over and over; runs in a process of its own."""
    runner = RealRunner()
    for _ in range(ROUNDS):
        device = loop_devices.attach(runner, path=str(path), offset=offset)
        found = loop_devices.find(runner, path=str(path), offset=offset)
        assert found is not None
        assert found.device == device
        with open(device, "rb") as file:
            assert file.read(8) == b"%08d" % offset
        loop_devices.detach(runner, device)
        assert loop_devices.find(runner, path=str(path), offset=offset) is None


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
