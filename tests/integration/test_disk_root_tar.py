# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""disk_root_tar on disks made with the tools alone; the tar is read by Python."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import tarfile
import typing as t

import pytest

Pack = t.Callable[..., dict[str, t.Any]]

MIB = 1 << 20
ROOT_START = 12 * MIB


def sh(*argv: t.Any, data: str | None = None) -> None:
    subprocess.run([str(it) for it in argv], input=data, check=True, text=True, timeout=120)


def disk(tmp_path: pathlib.Path, tree: pathlib.Path, label: str) -> pathlib.Path:
    path = tmp_path / "disk.raw"
    with open(path, "wb") as file:
        file.truncate(100 * MIB)
    kinds = f"label: {label}\nstart=2048,size=20480\nstart={ROOT_START // 512},size=163840\n"
    sh("sfdisk", "-q", path, data=kinds)
    sh("mkfs.ext4", "-q", "-d", tree, "-E", f"offset={ROOT_START}", path, "80M")
    return path


@pytest.mark.parametrize("label", ["gpt", "dos"])
@pytest.mark.parametrize("kind", ["raw", "qcow2", "vmdk", "vdi", "vhdx", "vpc"])
def test_packs_every_format(
    tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack, kind: str, label: str
) -> None:
    source = tmp_path / "source"
    sh("qemu-img", "convert", "-f", "raw", "-O", kind, disk(tmp_path, tree, label), source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    found = pack(source, digest=f"sha256:{digest}")
    assert found["changed"], found
    assert hashlib.sha256(source.read_bytes()).hexdigest() == digest
    with tarfile.open(found["path"]) as tar:
        members = {it.name: it for it in tar.getmembers()}
        assert members["./srv/link"].islnk()
        assert members["./srv/file"].pax_headers["SCHILY.xattr.user.mark"] == "value"
        assert members["./srv/null"].ischr()
        assert members["./srv/big"].size == 3 << 30
        assert members["./etc/os-release"].linkname == "../usr/lib/os-release"
    assert os.stat(found["path"]).st_mode & 0o777 == 0o600
    assert os.stat(found["path"]).st_size < 10 * MIB
    assert not pack(source)["changed"]


def test_refuses_a_disk_without_a_root(
    tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack
) -> None:
    (tree / "etc/os-release").unlink()
    (tree / "usr/lib/os-release").unlink()
    found = pack(disk(tmp_path, tree, "gpt"))
    assert "has no root with an os-release" in found["msg"]
    assert not list((tmp_path / "cache").glob("*.tar"))


def test_refuses_a_backing_file(tmp_path: pathlib.Path, pack: Pack) -> None:
    secret, source = tmp_path / "secret", tmp_path / "hostile.qcow2"
    secret.write_bytes(b"x" * MIB)
    sh("qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", source)
    assert "a qcow2 with a backing file" in pack(source)["msg"]


def test_folds_a_separate_boot_in(tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack) -> None:
    boot = tmp_path / "boot"
    boot.mkdir()
    (boot / "vmlinuz-6").write_text("kernel")
    (tree / "etc/fstab").write_text("LABEL=BOOT /boot ext4 defaults 0 2\n")
    path = disk(tmp_path, tree, "gpt")
    sh("mkfs.ext4", "-q", "-L", "BOOT", "-d", boot, "-E", f"offset={MIB}", path, "10M")
    found = pack(path)
    assert found["changed"], found
    with tarfile.open(found["path"]) as tar:
        assert "./boot/vmlinuz-6" in tar.getnames()


def test_names_the_roots_to_choose_from(
    tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack
) -> None:
    path = disk(tmp_path, tree, "gpt")
    (tree / "srv/second").touch()
    sh("mkfs.ext4", "-q", "-d", tree, "-E", f"offset={MIB}", path, "10M")
    assert "more than one root (partition 1; partition 2)" in pack(path)["msg"]
    found = pack(path, partition=1)
    with tarfile.open(found["path"]) as tar:
        assert "./srv/second" in tar.getnames()


def test_refuses_a_mount_point_that_leads_out(
    tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack
) -> None:
    (tree / "boot").rmdir()
    (tree / "boot").symlink_to("/mnt")
    (tree / "etc/fstab").write_text("LABEL=BOOT /boot ext4 defaults 0 2\n")
    path = disk(tmp_path, tree, "gpt")
    sh("mkfs.ext4", "-q", "-L", "BOOT", "-E", f"offset={MIB}", path, "10M")
    assert "which is no directory there" in pack(path)["msg"]


def test_finds_the_btrfs_subvolume(tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack) -> None:
    path, point = tmp_path / "btrfs.raw", tmp_path / "mnt"
    point.mkdir()
    (tree / "etc/fstab").write_text("LABEL=SYS / btrfs subvol=@ 0 0\n")
    with open(path, "wb") as file:
        file.truncate(200 * MIB)
    sh("mkfs.btrfs", "-q", "-L", "SYS", path)
    sh("mount", "-o", "loop", path, point)
    try:
        sh("btrfs", "subvolume", "create", point / "@")
        sh("cp", "-a", "--sparse=always", f"{tree}/.", point / "@")
        sh("btrfs", "subvolume", "snapshot", point / "@", point / "before")
        (point / "@/srv/current").touch()
    finally:
        sh("umount", point)
    found = pack(path)
    assert found["changed"], found
    with tarfile.open(found["path"]) as tar:
        assert "./srv/current" in tar.getnames()


def test_replays_a_dirty_journal(tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack) -> None:
    path, live, point = tmp_path / "dirty.raw", tmp_path / "live.raw", tmp_path / "mnt"
    point.mkdir()
    with open(live, "wb") as file:
        file.truncate(80 * MIB)
    sh("mkfs.ext4", "-q", "-d", tree, live)
    sh("mount", "-o", "loop,commit=300", live, point)
    try:
        with open(point / "srv/late", "w", encoding="ascii") as file:
            file.write("late")
            os.fsync(file.fileno())
        # As the disk is when the power goes: the journal is on it, the directory is not.
        sh("cp", live, path)
    finally:
        sh("umount", point)
    header = subprocess.run(["dumpe2fs", "-h", path], capture_output=True, text=True, check=True)
    assert "needs_recovery" in header.stdout
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    found = pack(path)
    assert found["changed"], found
    with tarfile.open(found["path"]) as tar:
        assert "./srv/late" in tar.getnames()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
