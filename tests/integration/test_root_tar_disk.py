# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""root_tar on disks made with the tools alone; the tar is read by Python."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import subprocess
import tarfile
import typing as t

import pytest
import waiting
from ansible_collections.sealedroot.image.plugins.module_utils._source import tree_tar
from whole_tree import fill, survived, unpacked

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
        waiting.unmount(point, path)
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
    found = pack(path)
    assert found["changed"], found
    with tarfile.open(found["path"]) as tar:
        assert "./srv/late" in tar.getnames()


@pytest.mark.parametrize("kind", ["btrfs", "ext4", "xfs"])
def test_refuses_a_broken_file_system(
    tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack, kind: str
) -> None:
    """The file system's own checker looks at it before the kernel does, and writes nothing to the disk."""
    path = blank(tmp_path / "broken.raw", 320)
    sh(f"mkfs.{kind}", "-q", path)
    with mounted(path, tmp_path / "mnt", "loop") as point:
        sh("cp", "-a", "--sparse=always", f"{tree}/.", point)
    if kind == "ext4":
        sh("debugfs", "-w", "-R", "sif /etc block[0] 7", path)
    elif kind == "xfs":
        sh("xfs_db", "-x", "-c", "agi 0", "-c", "write -d freecount 77", path)
    else:
        with path.open("r+b") as file:
            # Behind the first superblock, and not the second, which is at 64 MiB.
            for place in range(1 * MIB, 64 * MIB, 16384):
                file.seek(place + 200)
                file.write(b"\xff" * 100)
    before = path.read_bytes()
    found = pack(path)
    assert found["failed"]
    assert "is damaged" in found["msg"]
    assert "repair the file system in its machine" in found["msg"]
    assert path.read_bytes() == before


def test_errors_that_are_to_stop_the_machine(
    tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = blank(tmp_path / "panic.raw", 80)
    sh("mkfs.ext4", "-q", "-d", tree, "-e", "panic", path)
    seen = []
    scan = tree_tar.scan

    def look(root: str, *more: t.Any) -> t.Any:
        (line,) = [
            it for it in pathlib.Path("/proc/self/mounts").read_text().splitlines() if root in it
        ]
        seen.append(line.split()[3].split(","))
        return scan(root, *more)

    monkeypatch.setattr(tree_tar, "scan", look)
    assert pack(path)["changed"]
    assert "errors=panic" not in seen[0]


@contextlib.contextmanager
def mounted(path: pathlib.Path, point: pathlib.Path, options: str) -> t.Iterator[pathlib.Path]:
    point.mkdir(exist_ok=True)
    sh("mount", "-o", options, path, point)
    try:
        yield point
    finally:
        waiting.unmount(point, path)


def blank(path: pathlib.Path, mib: int) -> pathlib.Path:
    with open(path, "wb") as file:
        file.truncate(mib * MIB)
    return path


def test_replays_a_dirty_log(tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack) -> None:
    live, path = blank(tmp_path / "live.raw", 320), tmp_path / "dirty.raw"
    sh("mkfs.xfs", "-q", live)
    with mounted(live, tmp_path / "mnt", "loop") as point:
        sh("cp", "-a", "--sparse=always", f"{tree}/.", point)
        sh("sync", "--file-system", point)
        (point / "srv/late").write_text("late")
        with open(point / "srv/late", "rb") as file:
            os.fsync(file.fileno())
        # As the disk is when the power goes: the log is on it, the directory is not.
        sh("cp", "--sparse=always", live, path)
    # Without the log there is no such file, and xfs_repair does not touch a file system with one.
    with mounted(path, tmp_path / "mnt", "loop,ro,norecovery,nouuid") as point:
        assert not (point / "srv/late").exists()
    repair = subprocess.run(["xfs_repair", path], capture_output=True, text=True, check=False)
    assert repair.returncode == 2
    found = pack(path)
    assert found["changed"], found
    with tarfile.open(found["path"]) as tar:
        late = tar.extractfile("./srv/late")
        assert late is not None
        assert late.read() == b"late"


@pytest.mark.parametrize("kind", ["btrfs", "ext4", "xfs"])
def test_everything_survives(tmp_path: pathlib.Path, pack: Pack, kind: str) -> None:
    root = fill(tmp_path / "root")
    (root / "usr/lib").mkdir()
    (root / "usr/lib/os-release").write_text("ID=debian\n")
    path = blank(tmp_path / "disk.raw", 400)
    sh("sfdisk", "-q", path, data=f"label: dos\nstart={ROOT_START // 512}\n")
    region = f"loop,offset={ROOT_START},sizelimit={388 * MIB}"
    made = blank(tmp_path / "part.raw", 388)
    sh(f"mkfs.{kind}", "-q", made)
    sh("dd", f"if={made}", f"of={path}", "bs=1M", "seek=12", "conv=notrunc,sparse", "status=none")
    with mounted(path, tmp_path / "mnt", region) as point:
        sh("rsync", "-aHAXS", "--numeric-ids", f"{root}/", f"{point}/")
    found = pack(path)
    assert found.get("changed"), found
    other = unpacked(found["path"], tmp_path / "other")
    if kind == "ext4":
        (other / "lost+found").rmdir()
    survived(root, other)


@pytest.mark.long
def test_a_file_of_more_than_2_gib(tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack) -> None:
    """All of it data, which takes the disk no more than one piece of it."""
    block, pieces = os.urandom(64 * MIB), 34
    path = blank(tmp_path / "disk.raw", 400)
    sh("mkfs.xfs", "-q", path)
    with mounted(path, tmp_path / "mnt", "loop") as point:
        sh("cp", "-a", "--sparse=always", f"{tree}/.", point)
        (point / "srv/block").write_bytes(block)
        dense = ["xfs_io", "-f"]
        for number in range(pieces):
            dense += ["-c", f"reflink {point}/srv/block 0 {number * 64 * MIB} {64 * MIB}"]
        sh(*dense, point / "srv/dense")
    found = pack(path)
    assert found["changed"], found
    expected, digest = hashlib.sha256(), hashlib.sha256()
    for _number in range(pieces):
        expected.update(block)
    with tarfile.open(found["path"]) as tar:
        assert tar.getmember("./srv/dense").size == pieces * 64 * MIB > 2 << 30
        file = tar.extractfile("./srv/dense")
        assert file is not None
        while data := file.read(MIB):
            digest.update(data)
    assert digest.digest() == expected.digest()
    os.unlink(found["path"])


def test_a_file_system_whose_first_sector_looks_like_a_table(
    tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack
) -> None:
    path, table = blank(tmp_path / "bare.raw", 80), blank(tmp_path / "table.raw", 80)
    sh("mkfs.ext4", "-q", "-d", tree, path)
    sh("sfdisk", "-q", table, data="label: dos\nstart=2048,size=4096\n")
    sh("dd", f"if={table}", f"of={path}", "count=1", "conv=notrunc", "status=none")
    assert "bare.raw1" in subprocess.run(
        ["sfdisk", "--json", path], capture_output=True, text=True, check=True
    ).stdout.replace("\n", "")
    found = pack(path)
    assert found["changed"], found
    with tarfile.open(found["path"]) as tar:
        assert "./srv/link" in tar.getnames()


def test_a_disk_of_large_sectors_with_mounts_beside_fstab(
    tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack
) -> None:
    """/boot by a unit of systemd, /home by the type of its partition, and a file system that nothing mounts."""
    system = tree / "etc/systemd/system"
    (system / "local-fs.target.requires").mkdir(parents=True)
    (system / "boot.mount").write_text("[Mount]\nWhat=LABEL=BOOT\nWhere=/boot\nType=ext4\n")
    (system / "local-fs.target.requires/boot.mount").symlink_to("../boot.mount")
    (tree / "home").mkdir()
    path = blank(tmp_path / "disk.raw", 100)
    rows = (
        f"start={MIB // 4096},size=512,type=933AC7E1-2EB4-4F13-B844-0E14E2AEF915\n"
        "start=768,size=512\nstart=1280,size=512\n"
        f"start={ROOT_START // 4096},size=20480\n"
    )
    argv = ["losetup", "--show", "--find", "--sector-size", "4096", str(path)]
    loop = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    try:
        sh("sfdisk", "-q", "--no-reread", "--no-tell-kernel", loop, data=f"label: gpt\n{rows}")
    finally:
        sh("losetup", "-d", loop)
    sh("mkfs.ext4", "-q", "-d", tree, "-E", f"offset={ROOT_START}", path, "80M")
    for number, (name, label) in enumerate((("me", "H"), ("vmlinuz-6", "BOOT"), ("x", "DATA"))):
        content = tmp_path / label
        content.mkdir()
        (content / name).touch()
        offset = MIB + number * 2 * MIB
        made = blank(tmp_path / f"{label}.raw", 2)
        sh("mkfs.ext4", "-q", "-L", label, "-d", content, made)
        at = f"seek={offset // MIB}"
        sh("dd", f"if={made}", f"of={path}", "bs=1M", at, "conv=notrunc", "status=none")
    found = pack(path)
    assert found.get("changed"), found
    with tarfile.open(found["path"]) as tar:
        assert {"./boot/vmlinuz-6", "./home/me"} <= {*tar.getnames()}
    assert found["left_out"] == [
        "partition 3 (ext4, label DATA): nothing in the root mounts it when the machine boots"
    ]


@pytest.mark.parametrize(("line", "has"), [("subvolid=5", "top"), ("subvolid=256", "first")])
def test_the_root_that_its_fstab_names_by_number(
    tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack, line: str, has: str
) -> None:
    path = blank(tmp_path / "btrfs.raw", 200)
    (tree / "etc/fstab").write_text(f"LABEL=SYS / btrfs {line} 0 0\n")
    sh("mkfs.btrfs", "-q", "-L", "SYS", path)
    with mounted(path, tmp_path / "mnt", "loop") as point:
        for name in ("first", "second"):
            sh("btrfs", "subvolume", "create", point / name)
            sh("cp", "-a", "--sparse=always", f"{tree}/.", point / name)
            (point / name / "srv" / name).touch()
        sh("cp", "-a", "--sparse=always", f"{tree}/.", point)
        (point / "srv/top").touch()
        sh("btrfs", "subvolume", "set-default", point / "second")
    found = pack(path)
    assert found.get("changed"), found
    with tarfile.open(found["path"]) as tar:
        assert {"./srv/top", "./srv/first", "./srv/second"} & {*tar.getnames()} == {f"./srv/{has}"}


def test_folds_a_separate_usr_in(tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack) -> None:
    usr = tmp_path / "usr"
    (tree / "usr/lib").rename(tree / "lib")
    usr.mkdir()
    (tree / "lib").rename(usr / "lib")
    (tree / "etc/fstab").write_text("PARTLABEL=my-usr /usr ext4 ro 0 2\n")
    path = blank(tmp_path / "disk.raw", 100)
    rows = f"start=2048,size=20480,name=my-usr\nstart={ROOT_START // 512},size=163840\n"
    sh("sfdisk", "-q", path, data=f"label: gpt\n{rows}")
    sh("mkfs.ext4", "-q", "-d", tree, "-E", f"offset={ROOT_START}", path, "80M")
    sh("mkfs.ext4", "-q", "-d", usr, "-E", f"offset={MIB}", path, "10M")
    # That of /usr has an os-release as well, but is no root: it is found where its fstab says.
    found = pack(path)
    assert found.get("changed"), found
    with tarfile.open(found["path"]) as tar:
        member = tar.extractfile("./usr/lib/os-release")
        assert member is not None
        assert member.read() == b"ID=debian\n"


def test_a_digest_that_it_has_not(tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack) -> None:
    path = disk(tmp_path, tree, "gpt")
    said = pack(path, digest="sha256:" + "0" * 64)["msg"]
    assert f"{path} has the SHA-256" in said
    assert "get the file again, or correct the digest" in said
    assert not (tmp_path / "cache").exists()


def test_check_mode_touches_nothing(tmp_path: pathlib.Path, tree: pathlib.Path, pack: Pack) -> None:
    path = disk(tmp_path, tree, "gpt")
    planned = pack(path, _check=True)
    assert planned["changed"]
    assert not (tmp_path / "cache").exists()
    assert pack(path)["path"] == planned["path"]
    again = pack(path, _check=True)
    assert (again["path"], again["changed"]) == (planned["path"], False)
