# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""root_tar on volume groups that lvm2 made; what it finds is what lvm2 says, and the tar is read by Python."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import struct
import subprocess
import tarfile
import types
import typing as t

import lvm
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    lvm as source_lvm,
    mounted_disk,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import command
from builds import held

Pack = t.Callable[..., dict[str, t.Any]]

MIB = 1 << 20
BEGIN = (MIB, 100 * MIB)
END = (101 * MIB, 90 * MIB)


def sh(*argv: t.Any, data: str | None = None) -> str:
    words = [str(it) for it in argv]
    return subprocess.run(
        words, input=data, check=True, text=True, timeout=120, stdout=subprocess.PIPE
    ).stdout


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> pathlib.Path:
    """A disk with two partitions for physical volumes."""
    path = tmp_path / "disk.raw"
    with open(path, "wb") as file:
        file.truncate(192 * MIB)
    rows = [f"start={begin // 512},size={size // 512},type=lvm" for begin, size in (BEGIN, END)]
    sh("sfdisk", "-q", path, data="\n".join(["label: gpt", *rows, ""]))
    return path


def filesystem(path: pathlib.Path, mib: int, *argv: t.Any, kind: str = "ext4") -> pathlib.Path:
    with open(path, "wb") as file:
        file.truncate(mib * MIB)
    sh(f"mkfs.{kind}", "-q", *argv, path)
    return path


def names(found: dict[str, t.Any]) -> list[str]:
    assert found.get("changed"), found
    with tarfile.open(found["path"]) as tar:
        return tar.getnames()


def test_finds_what_lvm_says(disk: pathlib.Path) -> None:
    """Several volumes in several pieces on several physical volumes, by both readers of the metadata."""
    with lvm.group(disk, BEGIN, END, options=("--physicalextentsize", "1M")) as group:
        first, second = group.devices
        group.add("one", extents=10, on=(f"{first}:0-9",))
        group.add(
            "two",
            extents=7,
            on=(
                f"{first}:20-22",
                f"{second}:3-6",
            ),
        )
        group.lvm("lvextend", "-qq", "--extents", "+5", f"{group.name}/one", f"{second}:30-34")
        # Each change writes the whole text behind the last, in a ring, until one lies across its end.
        for number in range(200):
            tag = f"{number}-" + "x" * 1000
            group.lvm("lvchange", "-qq", "--addtag", tag, f"{group.name}/one")
            size, where, length = struct.unpack("<QQQ", held_at(disk, BEGIN[0] + 4096 + 32, 24))
            if where + length > size:
                break
        else:
            pytest.fail("no text lies across the end")
        offsets = {first: BEGIN[0], second: END[0]}
        expected = {
            f"vg-0/{name}": tuple((offsets[it[0]] + it[1], it[2]) for it in group.pieces(name))
            for name in ("one", "two")
        }
    assert [len(it) for it in expected.values()] == [2, 2]
    with open(disk, "rb") as file:
        found = source_lvm.logical_volumes(
            lambda offset, size: os.pread(file.fileno(), size, offset), (BEGIN, END)
        )
    assert {it.name: it.pieces for it in found} == expected


def held_at(path: pathlib.Path, offset: int, size: int) -> bytes:
    with open(path, "rb") as file:
        return os.pread(file.fileno(), size, offset)


@pytest.mark.parametrize("pieces", [1, 3])
def test_packs_a_root_on_lvm(
    tmp_path: pathlib.Path, disk: pathlib.Path, tree: pathlib.Path, pack: Pack, pieces: int
) -> None:
    """With a /boot of its own, by the name of its device, and a root that lies in one piece or in several."""
    (tree / "etc/fstab").write_text(
        "/dev/mapper/vg--0-root / ext4 defaults 0 1\n/dev/mapper/vg--0-boot /boot ext4 defaults 0 2\n"
        "/dev/vg-0/swap none swap sw 0 0\n"
    )
    boot = tmp_path / "boot"
    boot.mkdir()
    (boot / "vmlinuz-6").write_text("kernel")
    with lvm.group(disk, BEGIN, END) as group:
        first, second = group.devices
        where = [f"{first}:0-9"]
        if pieces == 3:
            where = [f"{first}:12-14", f"{second}:0-3", f"{second}:7-9"]
        group.add("root", extents=10, on=where)
        group.add("boot", extents=3, on=(f"{second}:15-17",))
        group.add("swap", extents=2, on=(f"{second}:18-19",))
        assert len(group.pieces("root")) == pieces
        group.fill("root", filesystem(tmp_path / "root.img", 40, "-d", tree))
        group.fill("boot", filesystem(tmp_path / "boot.img", 12, "-d", boot))
    found = pack(disk)
    assert {"./boot/vmlinuz-6", "./srv/link"} <= set(names(found))
    with tarfile.open(found["path"]) as tar:
        assert tar.getmember("./srv/big").size == 3 << 30
        assert tar.extractfile("./srv/file").read() == b"content"  # type: ignore[union-attr]
    assert not pack(disk, logical_volume="vg-0/root").get("failed")
    assert "has no logical volume vg-0/boots" in pack(disk, logical_volume="vg-0/boots")["msg"]


def test_replays_the_journal_of_a_volume_in_pieces(
    tmp_path: pathlib.Path, disk: pathlib.Path, tree: pathlib.Path, pack: Pack
) -> None:
    live, dirty, point = tmp_path / "live.img", tmp_path / "dirty.img", tmp_path / "mnt"
    point.mkdir()
    filesystem(live, 40, "-d", tree)
    sh("mount", "-o", "loop,commit=300", live, point)
    try:
        with open(point / "srv/late", "w", encoding="ascii") as file:
            file.write("late")
            os.fsync(file.fileno())
        sh("cp", live, dirty)
    finally:
        sh("umount", point)
    with lvm.group(disk, BEGIN, END) as group:
        first, second = group.devices
        group.add(
            "root",
            extents=10,
            on=(
                f"{first}:0-4",
                f"{second}:0-4",
            ),
        )
        group.fill("root", dirty)
    assert "./srv/late" in names(pack(disk))


def test_a_physical_volume_without_a_table(
    tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack
) -> None:
    disk = tmp_path / "whole.raw"
    with open(disk, "wb") as file:
        file.truncate(64 * MIB)
    with lvm.group(disk, (0, 64 * MIB)) as group:
        group.add("root", extents=10)
        group.fill("root", filesystem(tmp_path / "root.img", 40, "-d", tree))
    assert "./srv/link" in names(pack(disk))


def striped(group: lvm.Group) -> None:
    group.add("root", "--stripes", "2", extents=10)


def hidden(name: str, number: int, segment: str) -> str:
    identity = f"aaaaaa-aaaa-aaaa-aaaa-aaaa-aaaa-aaaaa{number}"
    head = f'id = "{identity}" status = ["READ", "WRITE"] flags = [] segment_count = 1'
    return f"{name} {{ {head} segment1 {{ start_extent = 0 {segment} }} }}\n"


def raid(group: lvm.Group) -> None:
    """lvm makes one with the kernel's help only, but takes it from a backup of the metadata."""
    group.add("root", extents=5)
    parts = [f"root_{kind}_{number}" for number in (0, 1) for kind in ("rmeta", "rimage")]
    linear = 'type = "striped" stripe_count = 1 stripes = ["pv1", {}] extent_count = {}'
    spans = [(0, 1), (1, 5), (6, 1), (7, 5)]
    made = "".join(
        hidden(name, number, linear.format(*span))
        for number, (name, span) in enumerate(zip(parts, spans, strict=True))
    )
    names = ", ".join(f'"{name}"' for name in parts)
    raids = f'type = "raid1" device_count = 2 region_size = 1024 raids = [{names}]'
    group.edit(
        r'type = "striped"\s+stripe_count = 1[^\n]*\s+stripes = \[[^\]]*\]',
        raids,
        r"(?<=logical_volumes \{\n)",
        made,
    )


def snapshot(group: lvm.Group) -> None:
    group.add("base", extents=5)
    group.add("root", extents=5)
    segment = 'extent_count = 5 type = "snapshot" chunk_size = 8 origin = "base" cow_store = "root"'
    group.edit(r"(?<=logical_volumes \{\n)", hidden("snapshot0", 0, segment))


@pytest.mark.parametrize(
    ("make", "says"),
    [(striped, "striped"), (raid, "of the type raid1"), (snapshot, "a snapshot")],
)
def test_refuses_what_is_not_linear(
    disk: pathlib.Path, pack: Pack, make: t.Callable[[lvm.Group], None], says: str
) -> None:
    with lvm.group(disk, BEGIN, END) as group:
        make(group)
    said = pack(disk)["msg"]
    assert f"logical volume vg-0/root: {says}" in said
    assert "only linear logical volumes are read" in said
    said = pack(disk, logical_volume="vg-0/root")["msg"]
    assert f"logical volume vg-0/root in {disk} is {says}" in said
    assert "qemu-img convert -O qcow2 /dev/vg-0/root" in said


def test_a_part_of_the_root_that_cannot_be_read(
    tmp_path: pathlib.Path, disk: pathlib.Path, tree: pathlib.Path, pack: Pack
) -> None:
    """Nothing is lost silently."""
    (tree / "etc/fstab").write_text("/dev/mapper/vg--0-data /srv ext4 defaults 0 2\n")
    with lvm.group(disk, BEGIN, END) as group:
        group.add("root", extents=10)
        group.add("data", "--stripes", "2", extents=4)
        group.fill("root", filesystem(tmp_path / "root.img", 40, "-d", tree))
    assert "logical volume vg-0/data in the disk is striped" in pack(disk)["msg"]


def test_a_group_of_several_disks(disk: pathlib.Path, pack: Pack) -> None:
    with lvm.group(disk, BEGIN, END) as group:
        group.add(
            "root",
            extents=10,
            on=(
                f"{group.devices[0]}:0-4",
                f"{group.devices[1]}:0-4",
            ),
        )
    with open(disk, "r+b") as file:  # the second label goes
        file.seek(END[0])
        file.write(bytes(4096))
    assert "partly on another disk" in pack(disk, logical_volume="vg-0/root")["msg"]


def test_what_a_killed_run_left_goes(
    tmp_path: pathlib.Path, disk: pathlib.Path, tree: pathlib.Path, pack: Pack
) -> None:
    with lvm.group(disk, BEGIN, END) as group:
        first, second = group.devices
        group.add("root", extents=10, on=[f"{first}:0-4", f"{second}:0-4"])
        group.fill("root", filesystem(tmp_path / "root.img", 40, "-d", tree))
    module = types.SimpleNamespace(get_bin_path=lambda name, opt_dirs: shutil.which(name))
    scratch = tmp_path / "work" / "disk-source"
    scratch.mkdir(parents=True)
    killed = mounted_disk.Disk(command.ModuleRunner(t.cast(t.Any, module)), str(scratch))
    killed.open(str(disk), "raw")
    (volume,) = (it for it in killed.volumes() if it.logical)
    killed.mount(volume, killed.root)
    assert len(held(tmp_path)) >= 5  # two daemons and what they show, a loop device, a mount
    assert "./srv/link" in names(pack(disk))


@contextlib.contextmanager
def at(path: pathlib.Path, offset: int) -> t.Iterator[t.BinaryIO]:
    with open(path, "r+b") as file:
        file.seek(offset)
        yield file


def test_damaged_metadata(disk: pathlib.Path, pack: Pack) -> None:
    with lvm.group(disk, BEGIN) as group:
        group.add("root", extents=10)
    with at(disk, BEGIN[0] + 4096) as file:
        file.write(b"\xff" * 16)
    said = pack(disk)["msg"]
    assert "the LVM of the disk cannot be read: the header of a metadata area is damaged" in said
