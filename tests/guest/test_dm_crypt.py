# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dm_crypt backend on a stock kernel with udev; looked at with dmsetup, cryptsetup and /sys."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import stat
import subprocess
import threading
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import dm_crypt
from guest_disk import MIB, OFFSET, SIZE, Disk, sh, wait

Module = t.Callable[..., dict[str, t.Any]]


def ok(result: dict[str, t.Any], *, changed: bool) -> dict[str, t.Any]:
    assert not result.get("failed"), result["msg"]
    assert result["changed"] is changed
    return result


def refused(result: dict[str, t.Any], *words: str) -> None:
    assert result.get("failed"), result
    for word in words:
        assert word in result["msg"]


def opens(disk: Disk, key: pathlib.Path) -> bool:
    """Ask cryptsetup, on a copy of the region."""
    copy = disk.dir / "region.copy"
    with disk.file.open("rb") as source, copy.open("wb") as target:
        source.seek(OFFSET)
        target.write(source.read(SIZE))
    argv = ["cryptsetup", "open", "--test-passphrase", "--key-file", str(key), str(copy)]
    done = subprocess.run(argv, check=False, capture_output=True, timeout=120)
    assert done.returncode in (0, 2), done.stderr
    return done.returncode == 0


def test_auto_takes_dm_crypt_and_says_why(disk: Disk, real_module: Module) -> None:
    """In the rhythm: predict, do, do again, predict again."""
    blank = disk.file.read_bytes()
    options = disk.options(backend="auto")
    predicted = ok(real_module("luks_image", _check=True, **options), changed=True)
    assert disk.file.read_bytes() == blank
    assert disk.held() == []
    made = ok(real_module("luks_image", **options), changed=True)
    for result in (predicted, made):
        assert result["backend"] == "dm_crypt"
        assert result["backend_reason"] == "dm_crypt works here"
        assert result["formatted"] is True
    assert (made["type"], made["device"]) == (disk.type, str(disk.node))
    # udev makes a link where the userspace backend makes a node.
    assert disk.node.is_symlink()
    assert stat.S_ISBLK(disk.node.stat().st_mode)
    assert f"crypt-{disk.type.upper()}-" in sh(
        *("dmsetup", "info", "-c", "--noheadings", "-o", "uuid", disk.name)
    ).replace("CRYPT", "crypt")
    (loop,) = disk.loops()
    table = sh("dmsetup", "table", disk.name).split()
    assert os.stat(loop).st_rdev == os.makedev(*map(int, table[6].split(":")))
    assert "allow_discards" in table
    for check in (False, True):
        again = ok(real_module("luks_image", _check=check, **options), changed=False)
        assert (again["uuid"], again["formatted"]) == (made["uuid"], False)
    # While it is open, too.
    info = real_module("luks_image_info", **disk.region(key_files={"build": str(disk.key)}))
    assert (info["type"], info["opens"]) == (disk.type, {"build": 0})
    assert info["slots"]["0"]["iterations"] == 1000
    closed = disk.options(state="closed")
    ok(real_module("luks_image", _check=True, **closed), changed=True)
    assert len(disk.held()) == 3  # mapping, link, loop device
    ok(real_module("luks_image", **closed), changed=True)
    assert disk.held() == []
    for check in (False, True):
        ok(real_module("luks_image", _check=check, **closed), changed=False)


def test_what_is_written_is_encrypted_and_trimmed_to_holes(
    disks: t.Callable[..., Disk], real_module: Module
) -> None:
    disk = disks()
    ok(real_module("luks_image", **disk.options()), changed=True)
    pattern = b"plaintext marker" * (MIB // 4)  # 4 MiB
    with disk.node.open("r+b", buffering=0) as device:
        device.write(pattern)
        os.fsync(device)
        written = disk.file.stat().st_blocks
    sh("blkdiscard", "--offset", str(MIB), "--length", str(2 * MIB), disk.node)
    ok(real_module("luks_image", **disk.options(state="closed")), changed=True)
    # ext4 can need a block of 4 KiB to say where the holes are.
    assert written - disk.file.stat().st_blocks >= 2 * MIB // 512 - 8
    raw = disk.file.read_bytes()
    assert b"plaintext marker" not in raw
    assert not any(raw[:OFFSET])
    assert not any(raw[OFFSET + SIZE :])
    # By hand, with nothing of the collection.
    loop = sh(*("losetup", "--find", "--show", "-o", str(OFFSET), disk.file)).strip()
    sh("cryptsetup", "open", "--readonly", "--key-file", disk.key, loop, disk.name)
    with disk.node.open("rb", buffering=0) as device:
        assert device.read(MIB) == pattern[:MIB]
    sh("cryptsetup", "close", disk.name)
    sh("losetup", "--detach", loop)


def test_absent_closes_and_destroys(disk: Disk, real_module: Module) -> None:
    ok(real_module("luks_image", **disk.options()), changed=True)
    absent = disk.options(state="absent", key_file=None)
    ok(real_module("luks_image", **absent), changed=True)
    assert disk.held() == []
    for check in (False, True):
        ok(real_module("luks_image", _check=check, **absent), changed=False)
    assert b"LUKS" not in disk.file.read_bytes()


def test_a_wrong_key_leaves_nothing(disks: t.Callable[..., Disk], real_module: Module) -> None:
    disk = disks()
    ok(real_module("luks_image", **disk.options(state="closed")), changed=True)
    disk.key.write_bytes(b"another key")
    said = f"the key in {disk.key} does not open the container in {disk.file}"
    refused(real_module("luks_image", **disk.options()), said)
    assert disk.held() == []


def test_read_only(disks: t.Callable[..., Disk], real_module: Module) -> None:
    disk = disks()
    ok(real_module("luks_image", **disk.options(state="closed")), changed=True)
    before = disk.file.read_bytes()
    ok(real_module("luks_image", **disk.options(read_only=True)), changed=True)
    ok(real_module("luks_image", **disk.options(read_only=True)), changed=False)
    assert sh("blockdev", "--getro", disk.node).strip() == "1"
    refused(real_module("luks_image", **disk.options()), "read-only", "close it")
    ok(real_module("luks_image", **disk.options(state="closed")), changed=True)
    assert disk.file.read_bytes() == before


def test_another_container_of_that_name_is_refused(
    disks: t.Callable[..., Disk], real_module: Module
) -> None:
    one, two = disks("one"), disks("two")
    ok(real_module("luks_image", **one.options()), changed=True)
    for state in ("open", "closed", "absent"):
        refused(real_module("luks_image", **two.options(name=one.name, state=state)), one.name)
        shifted = one.options(state=state, offset=OFFSET + MIB, size=0)
        refused(real_module("luks_image", **shifted), one.name, "another name")
    assert len(one.held()) == 3
    ok(real_module("luks_image", **one.options(state="closed")), changed=True)


def test_a_renamed_file_is_still_the_same(
    disks: t.Callable[..., Disk], real_module: Module
) -> None:
    disk = disks()
    ok(real_module("luks_image", **disk.options()), changed=True)
    disk.file = disk.file.rename(disk.dir / "renamed.raw")
    ok(real_module("luks_image", **disk.options()), changed=False)
    ok(real_module("luks_image", **disk.options(state="closed")), changed=True)


def test_a_block_device_and_a_whole_file(disks: t.Callable[..., Disk], real_module: Module) -> None:
    disk = disks()
    device = sh("losetup", "--find", "--show", disk.file).strip()
    options = disk.options(path=device, offset=0, size=0)
    ok(real_module("luks_image", **options), changed=True)
    ok(real_module("luks_image", **options), changed=False)
    disk.node.open("r+b").write(b"on a block device")
    ok(real_module("luks_image", **{**options, "state": "closed"}), changed=True)
    assert disk.loops() == [device]  # not ours to detach
    sh("losetup", "--detach", device)
    options = disk.options(offset=0, size=0)
    ok(real_module("luks_image", **options), changed=True)
    assert disk.node.open("rb").read(17) == b"on a block device"
    ok(real_module("luks_image", **options), changed=False)
    ok(real_module("luks_image", **{**options, "state": "closed"}), changed=True)


def test_one_that_somebody_opened_by_hand(
    disks: t.Callable[..., Disk], real_module: Module
) -> None:
    """cryptsetup binds a loop device of its own to a file, which goes by itself."""
    disk = disks()
    options = disk.options(offset=0, size=0)
    ok(real_module("luks_image", **{**options, "state": "closed"}), changed=True)
    sh("cryptsetup", "open", "--key-file", disk.key, disk.file, disk.name)
    ok(real_module("luks_image", **options), changed=False)
    ok(real_module("luks_image", **{**options, "state": "closed"}), changed=True)


def mount(disk: Disk) -> pathlib.Path:
    sh("mkfs.ext4", "-q", disk.node)
    root = disk.dir / "root"
    root.mkdir()
    sh("mount", disk.node, root)
    return root


def test_a_mounted_container_is_not_closed(
    disks: t.Callable[..., Disk], real_module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dm_crypt, "BUSY_SECONDS", 0.5)
    disk = disks()
    ok(real_module("luks_image", **disk.options()), changed=True)
    root = mount(disk)
    for state in ("closed", "absent"):
        refused(real_module("luks_image", **disk.options(state=state)), "in use", "unmount")
    (root / "still").write_text("there")
    ok(real_module("luks_image", **disk.options()), changed=False)
    sh("umount", root)
    ok(real_module("luks_image", **disk.options(state="closed")), changed=True)


def test_a_copy_of_the_mount_in_another_namespace_is_waited_for(
    disks: t.Callable[..., Disk], real_module: Module
) -> None:
    """As a command of another build has it, that began just before the file system was unmounted."""
    disk = disks()
    ok(real_module("luks_image", **disk.options()), changed=True)
    root = mount(disk)
    other = subprocess.Popen(["unshare", "--mount", "--propagation=private", "sleep", "3"])
    wait(lambda: pathlib.Path(f"/proc/{other.pid}/comm").read_text() == "sleep\n")
    sh("umount", root)
    try:
        ok(real_module("luks_image", **disk.options(state="closed")), changed=True)
    finally:
        other.wait(timeout=30)


def test_keys_of_an_open_container_are_changed(disk: Disk, real_module: Module) -> None:
    """While a file system on it is mounted and written to."""
    ok(real_module("luks_image", **disk.options(key_slot=7)), changed=True)
    root = mount(disk)
    boot, recovery = disk.add_key("boot"), disk.add_key("recovery")
    ended = threading.Event()

    def write() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            (root / "log").open("a").write(f"{number}\n")
            os.sync()

    writer = threading.Thread(target=write)
    writer.start()
    # By the loop device, as on a running machine, and by the file, as in a build.
    for path in ({"path": disk.loops()[0]}, disk.region()):
        rotation = {
            **path,
            "unlock_key_files": [str(disk.key)],
            "keys": [
                {"slot": 0, "key_file": str(boot)},
                {"slot": 1, "key_file": str(recovery), "iterations": 2000},
            ],
        }
        changed = "offset" not in path
        ok(real_module("keyfile_rotate", _check=True, **rotation), changed=changed)
        ok(real_module("keyfile_rotate", **rotation), changed=changed)
    ended.set()
    writer.join(60)
    lines = (root / "log").read_text().split()
    assert lines == [str(number + 1) for number in range(len(lines))]
    assert len(lines) > 2
    keys = {name: str(disk.key_path(name)) for name in ("build", "boot", "recovery")}
    info = real_module("luks_image_info", **disk.region(key_files=keys))
    assert info["opens"] == {"build": None, "boot": 0, "recovery": 1}
    sh("umount", root)
    ok(real_module("luks_image", **disk.options(state="closed")), changed=True)
    assert [opens(disk, key) for key in (disk.key, boot, recovery)] == [False, True, True]
    ok(real_module("luks_image", **disk.options(key_file=str(boot))), changed=True)
    sh("e2fsck", "-fn", disk.node)
    ok(real_module("luks_image", **disk.options(state="closed")), changed=True)


def test_opened_and_closed_often(disks: t.Callable[..., Disk], real_module: Module) -> None:
    """udev probes what appears and holds it open for a moment, whoever wants it gone."""
    disk = disks()
    for round_ in range(3):
        ok(real_module("luks_image", **disk.options()), changed=True)
        with disk.node.open("r+b", buffering=0) as device:
            device.write(os.urandom(4096))
        ok(real_module("luks_image", **disk.options(state="closed")), changed=True)
        assert disk.held() == []
        if round_ % 2:
            ok(real_module("luks_image", **disk.options(state="absent")), changed=True)


def test_a_killed_build_is_released(disks: t.Callable[..., Disk], real_module: Module) -> None:
    """What a build holds when its controller is killed: mount, mapping, loop device, a command in the image."""
    disk = disks("web-1")
    ok(real_module("luks_image", **disk.options()), changed=True)
    root = mount(disk)
    sleeper = subprocess.Popen(["sleep", "600"], cwd="/")
    inside = subprocess.Popen(
        [
            *("bwrap", "--bind", root, "/", "--ro-bind", "/usr", "/usr", "--proc", "/proc"),
            *("--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"),
            *("/usr/bin/sleep", "600"),
        ]
    )
    wait(lambda: (root / "proc").is_dir() and (root / "usr").is_dir())
    held = disk.held()
    predicted = real_module("build_teardown", _check=True, work_dir=[str(disk.dir)])
    assert disk.held() == held
    kinds = {line.split()[0] for line in predicted["released"]}
    assert kinds >= {"process", "mount", "mapping", "loop"}
    released = ok(real_module("build_teardown", work_dir=[str(disk.dir)]), changed=True)
    assert {line.split()[0] for line in released["released"]} >= {"mount", "mapping", "loop"}
    inside.wait(timeout=30)
    assert disk.held() == []
    assert sleeper.poll() is None
    sleeper.send_signal(signal.SIGTERM)
    sleeper.wait(timeout=30)
    again = real_module("build_teardown", work_dir=[str(disk.dir)])
    ok(again, changed=False)


def test_teardown_waits_for_a_copy_of_the_mount(
    disks: t.Callable[..., Disk], real_module: Module
) -> None:
    disk = disks("web-1")
    ok(real_module("luks_image", **disk.options()), changed=True)
    mount(disk)
    other = subprocess.Popen(["unshare", "--mount", "--propagation=private", "sleep", "4"])
    wait(lambda: pathlib.Path(f"/proc/{other.pid}/comm").read_text() == "sleep\n")
    try:
        result = real_module("build_teardown", work_dir=[str(disk.dir)])
        ok(result, changed=True)
    finally:
        other.wait(timeout=30)
    assert disk.held() == []


def test_teardown_names_who_holds_a_mapping(
    disks: t.Callable[..., Disk], real_module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dm_crypt, "BUSY_SECONDS", 0.5)
    disk = disks("web-1")
    ok(real_module("luks_image", **disk.options()), changed=True)
    holder = subprocess.Popen(["sleep", "600"], stdin=disk.node.open("rb"))
    result = real_module("build_teardown", work_dir=[str(disk.dir)])
    holder.kill()
    holder.wait(timeout=30)
    refused(result, disk.name, f"in use by process {holder.pid} (sleep)")
    result = real_module("build_teardown", work_dir=[str(disk.dir)])
    ok(result, changed=True)


def test_the_probe_leaves_nothing(real_module: Module, disks: t.Callable[..., Disk]) -> None:
    disk = disks()
    info = real_module("builder_info", work_dir=f"{disk.dir}/build", output_dir=f"{disk.dir}/out")
    assert (info["backend"], info["backend_reason"]) == ("dm_crypt", "dm_crypt works here")
    assert not [name for name in os.listdir("/dev/mapper") if name.startswith("sealedroot-probe")]
    assert "sealedroot-probe" not in json.dumps(sh("losetup", "--list"))
