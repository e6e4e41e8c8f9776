# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How image_convert closes and converts a disk with XFS, which an unmount writes to, and how it fails."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import threading
import typing as t

import pytest
from builds import held

MIB = 1 << 20
ROOT = {"offset": 100 * MIB, "size": 330 * MIB}
FORMATS = {"qcow2": "qcow2", "raw": "raw", "vhd": "vpc", "vhdx": "vhdx", "vmdk": "vmdk"}
# Stand in front of qemu-img. Whenever the disk has been converted, this one writes something else to it;
WRITER = """\
#!/bin/sh
{tool} "$@" || exit 1
case "$*" in convert*) printf '%s' $$ | dd of={disk} bs=1 seek={offset} conv=notrunc status=none ;; esac
"""
# this one has no space for one of the formats.
FULL = """\
#!/bin/sh
case "$*" in *disk.vhdx) echo full >&2; exit 1 ;; esac
exec {tool} "$@"
"""


def sh(*argv: str | os.PathLike[str], check: bool = True) -> None:
    subprocess.run(argv, check=check, timeout=60, stdout=subprocess.DEVNULL)


class Seal:
    """An open disk with a root on it that is mounted read-only, and the module that closes it."""

    def __init__(self, path: pathlib.Path, real_module: t.Callable[..., dict[str, t.Any]]) -> None:
        self.path, self.work, self.module = path, path / "work" / "web-1", real_module
        self.disk, self.root = self.work / "disk.raw", self.work / "root"
        self.partial = path / "out" / ".web-1.partial"
        for directory in (self.root, self.work / "run", path / "tools"):
            directory.mkdir(parents=True)
        self.key = path / "boot.key"
        self.key.touch(0o600)
        self.key.write_text("the key")
        with self.disk.open("wb") as file:
            file.truncate(431 * MIB)
            for offset in (0, 40 * MIB, 430 * MIB):
                file.seek(offset)
                file.write(os.urandom(MIB))
        # What there is of the disk when its own name is gone.
        self.closed = path / "closed"
        os.link(self.disk, self.closed)

    def luks(self, state: str) -> None:
        region = {"path": str(self.closed), **ROOT}
        done = self.module(
            "luks_image",
            name="image-convert",
            work_dir=str(self.work),
            key_file=str(self.key),
            state=state,
            force=state == "open",
            **region,
        )
        assert not done.get("failed"), done

    def open(self) -> None:
        self.luks("open")
        sh("mkfs.xfs", "-q", "/dev/mapper/image-convert")
        sh("mount", "/dev/mapper/image-convert", self.root)
        for number in range(100):
            (self.root / f"file{number}").write_text(str(number))
        sh("mount", "-o", "remount,ro", self.root)

    def release(self) -> None:
        sh("umount", "--quiet", self.root, check=False)
        if os.path.exists("/dev/mapper/image-convert"):
            self.luks("closed")
        assert held(self.path) == []

    def tool(self, text: str, **words: object) -> None:
        """Put a stand-in for qemu-img in front of it."""
        file = self.path / "tools" / "qemu-img"
        file.write_text(text.format(tool=shutil.which("qemu-img"), disk=self.closed, **words))
        file.chmod(0o755)

    def run(self, *formats: str) -> dict[str, t.Any]:
        place = {"path": str(self.disk), "mapping": "image-convert", "dest": str(self.partial)}
        path = f"{self.path}/tools:{os.environ['PATH']}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", path)
            return self.module("image_convert", **place, formats=formats, remove_disk=True)


@pytest.fixture
def seal(tmp_path: pathlib.Path, real_module: t.Callable[..., t.Any]) -> t.Iterator[Seal]:
    it = Seal(tmp_path, real_module)
    try:
        it.open()
        yield it
    finally:
        it.release()


def test_every_format_is_the_closed_disk(seal: Seal) -> None:
    """Converted back, by bytes and not by QEMU's comparison, which the role made."""
    mounted = seal.path / "mounted"
    sh("cp", "--sparse=always", seal.disk, mounted)
    run = seal.run(*FORMATS)
    assert not run.get("failed"), run
    names = {path.name for path in seal.partial.iterdir()}
    assert names == {f"disk.{name}" for name in FORMATS}
    assert seal.partial.stat().st_mode & 0o777 == 0o700
    assert not seal.disk.exists()
    for name, driver in FORMATS.items():
        file, back = seal.partial / f"disk.{name}", seal.path / "back"
        sh("qemu-img", "convert", "-f", driver, "-O", "raw", file, back)
        sh("cmp", seal.closed, back)
    # The unmount has written, or this test would show nothing.
    assert subprocess.run(["cmp", "-s", mounted, back], check=False).returncode == 1


def test_a_mount_that_ends_later(seal: Seal) -> None:
    """A mount namespace of another build has the mount, too, so umount(8) does not end it."""
    namespace = ["unshare", "--mount", "--propagation", "private", "sleep", "120"]
    with subprocess.Popen(namespace) as holder:
        try:
            while namespace_of(holder.pid) == namespace_of("self"):
                assert holder.poll() is None
            threading.Timer(4, holder.kill).start()
            run = seal.run("qcow2")
        finally:
            holder.kill()
    assert not run.get("failed"), run
    back = seal.path / "back"
    sh("qemu-img", "convert", "-O", "raw", seal.partial / "disk.qcow2", back)
    sh("cmp", seal.closed, back)


def namespace_of(pid: int | str) -> str:
    return os.readlink(f"/proc/{pid}/ns/mnt")


@pytest.mark.parametrize(
    ("name", "offset", "part"),
    [
        ("qcow2", 50 * MIB, f"byte {49 * MIB} of the EFI system partition"),
        ("vhdx", 101 * MIB + 512, f"byte {MIB + 512} of the LUKS header"),
        ("vmdk", 120 * MIB, f"byte {18 * MIB} of the encrypted data"),
    ],
)
def test_a_disk_that_is_written_meanwhile(seal: Seal, name: str, offset: int, part: str) -> None:
    seal.tool(WRITER, offset=offset)
    run = seal.run(name)
    said = f"/disk.{name} is not the same disk: Content mismatch at offset {offset} ({part})!"
    assert f"{seal.partial}{said}" in run["msg"]
    assert "Something wrote to one of the two" in run["msg"]
    assert seal.disk.exists()


def test_one_of_several_formats_that_fails(seal: Seal) -> None:
    """Others are made at the same time, and their success does not hide it."""
    seal.tool(FULL)
    run = seal.run("vhdx", "qcow2")
    assert "the disk could not be converted" in run["msg"]
    assert "full" in run["msg"]
