# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images that attacks are played on: as an operator builds them, and without the defences."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import pathlib
import secrets
import shutil
import struct
import subprocess
import tempfile
import time
import typing as t

from builds import (
    DEBIAN,
    PLAYBOOK,
    QUICK_DRACUT,
    QUICK_INITRAMFS,
    Place,
    add_files,
    playbook,
    source_tar,
)
from guests import CMDLINE, hashed

SECTOR = 512
BLOCK = 4096
# What changes together when one byte of the ciphertext does.
XTS_BLOCK = 16
# The room that a LUKS header and its key slots can take.
HEADER = 16 << 20
# Built by the same roles, and then relieved of every defence before the disk is closed.
UNDEFENDED = pathlib.Path(__file__).resolve().parents[1] / "attacks" / "undefended.yml"


@dataclasses.dataclass(frozen=True)
class Kind:
    """What kind of image it is; its initramfs is small, since every instruction of a guest is emulated."""

    initramfs: str
    luks: str
    # Programs in it that do what the host says.
    agents: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"{self.initramfs}-{self.luks}{'-agents' if self.agents else ''}"

    @property
    def source(self) -> dict[str, t.Any]:
        if self.initramfs == "dracut":
            return {**DEBIAN, "release": "trixie", "initramfs": "dracut"}
        return {**DEBIAN, "packages": list(self.agents)} if self.agents else dict(DEBIAN)

    @property
    def cmdline(self) -> str:
        """Some patience, where a boot that the host has broken waits for a disk."""
        words = CMDLINE.replace("timeout_sec=900", "timeout_sec=150")
        return f"{words} rd.retry=20 rd.timeout=90" if self.initramfs == "dracut" else words

    @property
    def quick(self) -> dict[str, str]:
        return QUICK_DRACUT if self.initramfs == "dracut" else QUICK_INITRAMFS


PLAIN = tuple(
    Kind(initramfs, luks)
    for initramfs in ("initramfs-tools", "dracut")
    for luks in ("luks1", "luks2")
)
WITH_AGENTS = Kind("initramfs-tools", "luks1", ("cloud-init", "qemu-guest-agent"))
KINDS = (*PLAIN, WITH_AGENTS)
ALL = tuple(kind.name for kind in PLAIN)
INITRAMFS_TOOLS = tuple(kind.name for kind in PLAIN if kind.initramfs == "initramfs-tools")
DRACUT = tuple(kind.name for kind in PLAIN if kind.initramfs == "dracut")
AGENTS = (WITH_AGENTS.name,)
# One for each version of GRUB and each initramfs, where the type of LUKS makes no difference.
ONE_EACH = ("initramfs-tools-luks1", "dracut-luks2")


@dataclasses.dataclass(frozen=True)
class Partition:
    """Where a partition is, in bytes, and what its table calls it."""

    start: int
    size: int
    uuid: str


@dataclasses.dataclass(frozen=True)
class Image:
    """A sealed image. The host has the disk; the keys and the password are the owner's."""

    kind: Kind
    defended: bool
    directory: pathlib.Path
    password: str

    @property
    def name(self) -> str:
        return self.kind.name if self.defended else f"{self.kind.name}, undefended"

    @property
    def boot_key(self) -> str:
        return (self.directory / "boot.key").read_text()

    @functools.cached_property
    def manifest(self) -> dict[str, t.Any]:
        return t.cast(
            "dict[str, t.Any]", json.loads((self.directory / "manifest.json").read_text())
        )

    @functools.cached_property
    def raw(self) -> pathlib.Path:
        """The disk as plain sectors, which a host can change while a guest runs."""
        path = self.directory / "disk.raw"
        if not path.exists():
            partial = path.with_suffix(".part")
            argv = [
                "qemu-img",
                "convert",
                "-O",
                "raw",
                f"{self.directory}/disk.qcow2",
                str(partial),
            ]
            subprocess.run(argv, check=True)
            partial.rename(path)
        return path

    @functools.cached_property
    def partitions(self) -> list[Partition]:
        """The EFI system partition and that of the LUKS volume."""
        return partitions(self.raw)

    @property
    def luks(self) -> Partition:
        return self.partitions[1]

    @property
    def kernels(self) -> list[pathlib.Path]:
        """The kernels, under their own names."""
        folder = self.directory.parent.parent / f"{self.directory.name}.kernels"
        return sorted(folder.iterdir())

    @functools.cached_property
    def payload(self) -> int:
        """Where the encrypted sectors begin, in bytes of the disk."""
        with self.raw.open("rb") as disk:
            disk.seek(self.luks.start)
            header = disk.read(HEADER)
        if self.kind.luks == "luks1":
            return self.luks.start + int(struct.unpack_from(">I", header, 104)[0]) * SECTOR
        area = json.loads(header[4096:].split(b"\0", 1)[0])
        return self.luks.start + int(area["segments"]["0"]["offset"])

    @functools.cached_property
    def luks_uuid(self) -> str:
        return str(self.manifest["luks_uuid"])

    @functools.cached_property
    def root_uuid(self) -> str:
        """The UUID of the root file system, which is no secret to a host that has seen a machine of the same image."""
        with decrypted(self) as view:
            argv = ["blkid", "--probe", "--match-tag", "UUID", "--output", "value", str(view)]
            return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def partitions(disk: pathlib.Path) -> list[Partition]:
    """Return the partitions of a disk."""
    argv = ["sfdisk", "--json", str(disk)]
    said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    rows = json.loads(said)["partitiontable"]["partitions"]
    return [Partition(r["start"] * SECTOR, r["size"] * SECTOR, r["uuid"]) for r in rows]


def build(kind: Kind, place: Place, *, defended: bool) -> Image:
    """Build an image, or take that of an earlier run in the same place."""
    name = kind.name if defended else f"{kind.name}-undefended"
    directory = place.out / name
    secret = place.path / f"{name}.password"
    if not (directory / "manifest.json").exists():
        password = secrets.token_hex(8)
        secret.touch(0o600)
        secret.write_text(password)
        tar = place.path / "root.tar"
        shutil.copy(source_tar(kind.source), tar)
        kernels = place.path / f"{name}.kernels"
        kernels.mkdir(exist_ok=True)
        argv = ["tar", "-C", str(kernels), "--strip-components=2", "--wildcards", "-xf", str(tar)]
        subprocess.run([*argv, "./boot/vmlinuz-*"], check=True)
        add_files(tar, kind.quick)
        variables = place.variables(
            image_name=name,
            image_source={"type": "tar", "path": str(tar)},
            image_luks={"type": kind.luks},
            image_root_password_hash=hashed(password),
            image_kernel_cmdline=kind.cmdline,
        )
        if not defended:
            variables["image_host_agents"] = list(kind.agents)
        run = playbook(PLAYBOOK if defended else str(UNDEFENDED), variables, timeout=1800)
        tar.unlink()
        assert run.rc == 0, run.output[-6000:]
    return Image(kind, defended, directory, secret.read_text())


@contextlib.contextmanager
def decrypted(image: Image, disk: pathlib.Path | None = None) -> t.Iterator[pathlib.Path]:
    """Show the root file system of an image as a file, by QEMU's code, which reads LUKS1 only.

    It can be changed where *disk* is given: a copy of the disk, whose header may be another one afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="attack-view-") as name:
        folder = pathlib.Path(name)
        writable = "off" if disk is None else "on"
        key, view = image.directory / "boot.key", folder / "view"
        if disk is None and image.kind.luks == "luks2":
            disk = pathlib.Path(shutil.copy(image.raw, folder / "disk.raw"))
        if disk is not None and image.kind.luks == "luks2":
            header = folder / "header"
            with disk.open("r+b") as file:
                file.seek(image.luks.start)
                header.write_bytes(file.read(HEADER))
                convert = ["cryptsetup", "convert", "--batch-mode", "--type", "luks1", str(header)]
                subprocess.run(convert, check=True)
                file.seek(image.luks.start)
                file.write(header.read_bytes())
        view.touch()
        reads = "off" if writable == "on" else "on"
        daemon = subprocess.Popen(
            [
                *("qemu-storage-daemon", "--object", f"secret,id=key,file={key}"),
                "--blockdev",
                f"driver=file,node-name=f,filename={disk or image.raw},read-only={reads}",
                "--blockdev",
                f"driver=raw,node-name=r,file=f,offset={image.luks.start},size={image.luks.size},read-only={reads}",
                *("--blockdev", f"driver=luks,node-name=l,file=r,key-secret=key,read-only={reads}"),
                *(
                    "--export",
                    f"type=fuse,id=e,node-name=l,mountpoint={view},writable={writable}",
                ),
            ]
        )
        try:
            deadline = time.monotonic() + 60
            while not view.stat().st_size:
                assert daemon.poll() is None, "the view ended"
                assert time.monotonic() < deadline, "there is no view"
                time.sleep(0.05)
            yield view
        finally:
            daemon.terminate()
            daemon.wait(30)


def blocks(image: Image, name: str) -> list[int]:
    """Return where the blocks of a file are, in bytes of the disk.

    A host learns that from a machine of its own with the same image, or by what GRUB reads before its menu.
    """
    with decrypted(image) as view:
        argv = ["debugfs", "-R", f"blocks {name}", str(view)]
        said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    return [image.payload + int(number) * BLOCK for number in said.split()]


def ciphertext(image: Image, name: str, offset: int, text: bytes) -> tuple[int, bytes]:
    """Return where 16 bytes of a file are on the disk, and what has to be there for them to be *text*.

    A host cannot say what it gets, since it has no key; it tries until it is lucky. Tests need not wait for that.
    """
    assert len(text) == XTS_BLOCK
    assert offset % XTS_BLOCK == 0
    place = blocks(image, name)[offset // BLOCK] + offset % BLOCK
    with tempfile.TemporaryDirectory(prefix="attack-words-") as folder:
        disk = pathlib.Path(shutil.copy(image.raw, folder))
        with decrypted(image, disk) as view, view.open("r+b") as file:
            file.seek(place - image.payload)
            file.write(text)
        with disk.open("rb") as file:
            file.seek(place)
            return place, file.read(XTS_BLOCK)


def content(image: Image, name: str) -> bytes:
    """Return what is in a file of the root."""
    with decrypted(image) as view:
        argv = ["debugfs", "-R", f"cat {name}", str(view)]
        return subprocess.run(argv, check=True, capture_output=True).stdout


def kernel(image: Image) -> bytes:
    """Return a kernel of the root."""
    with decrypted(image) as view:
        argv = ["debugfs", "-R", "ls -p /boot", str(view)]
        said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    # /inode/mode/uid/gid/name/size/
    names = [line.split("/")[5] for line in said.splitlines() if line.count("/") > 5]
    return content(image, f"/boot/{next(it for it in names if it.startswith('vmlinuz-'))}")
