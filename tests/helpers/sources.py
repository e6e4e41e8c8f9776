# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The types of sources that the role source knows, each made of the same root.

A row says how its source is made. The image is built as an operator would build it; then rsync, which takes no part
in any build, compares its tree with that of the root, and the image is booted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import hashlib
import json
import os
import pathlib
import secrets
import shutil
import stat
import subprocess
import tempfile
import typing as t

import lvm
import mkosi
import oci
import waiting
import web
from builds import (
    DEBIAN,
    PLAYBOOK,
    QUICK_INITRAMFS,
    Place,
    add_files,
    held,
    playbook,
    source_tar,
)
from guests import CMDLINE, Guest, hashed, overlay
from image_view import mounted

BUILT = "built"
# What a build writes, by the names in the root.
WRITTEN = (
    *("boot/*", "etc/crypttab", "etc/default/grub*", "etc/fstab", "etc/hostname", "etc/hosts"),
    *("etc/initramfs-tools/*", "etc/cryptsetup-initramfs/*", "etc/machine-id", "etc/shadow*"),
    *("etc/kernel/*", "etc/cryptsetup-keys.d*", "etc/resolv.conf", "var/lib/dbus/machine-id"),
    *("root/.ssh*", "var/lib/initramfs-tools/*", "var/cache/debconf/*", "var/lib/ucf/*"),
    *("etc/systemd/system/*sealedroot-grow.service", "usr/local/sbin/sealedroot-grow"),
)
# Never a part of a root.
LEFT_OUT = ("dev/*", "proc/*", "run/*", "sys/*", "lost+found")


def run(*argv: str | pathlib.Path, timeout: int = 600) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=timeout).stdout


class Root:
    """The root that every source is made of: in a directory, with all that a source has to keep."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.tar = path.with_name("root.tar")
        shutil.copy(source_tar(DEBIAN), self.tar)
        add_files(self.tar, QUICK_INITRAMFS)
        path.mkdir()
        unpack = ("tar", "-C", path, "-xpf", self.tar, "--acls", "--xattrs", "--xattrs-include=*")
        run(*unpack)
        odd = path / "srv/odd"
        odd.mkdir()
        (odd / "capable").write_bytes(b"\x7fELF")
        run("setcap", "cap_net_raw+ep", odd / "capable")
        os.link(odd / "capable", odd / "linked")
        (odd / "noted").write_text("x")
        os.setxattr(odd / "noted", "user.why", b"because")
        run("setfacl", "-m", "u:1234:rw", odd / "noted")
        os.mknod(odd / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mkfifo(odd / "fifo")
        os.chown(odd / "noted", 1234, 77)
        self._pack(self.tar)

    def _pack(self, tar: pathlib.Path) -> None:
        argv = ("tar", "-C", self.path, "-cf", tar, "--acls", "--xattrs", "--xattrs-include=*")
        run(*argv, "--numeric-owner", ".")

    def layers(self) -> list[bytes]:
        """Return two layers that give this root: the lower one has what the upper one takes away."""
        upper = oci.layer(oci.member("srv/odd/.wh.gone"))
        with tempfile.TemporaryDirectory(dir=self.path.parent) as folder:
            lower = pathlib.Path(folder, "lower.tar")
            gone = self.path / "srv/odd/gone"
            gone.touch()
            # Attributes as container engines store them.
            argv = ("tar", "-C", self.path, "-cf", lower, "--format=posix", "--xattrs")
            run(*argv, "--xattrs-include=*", "--numeric-owner", ".")
            gone.unlink()
            return [lower.read_bytes(), upper]


@dataclasses.dataclass(frozen=True)
class Made:
    """A source, the tree that is in it, and a command that succeeds in a machine with that."""

    source: t.Mapping[str, t.Any]
    tree: pathlib.Path
    proof: str = "test -e /srv/odd/linked && test ! -e /srv/odd/gone"
    # Kept from run to run: that of what is made of packages.
    cache: pathlib.Path | None = None


Maker = t.Callable[[Root, pathlib.Path], t.ContextManager[Made]]


@contextlib.contextmanager
def tar(root: Root, _place: pathlib.Path) -> t.Iterator[Made]:
    yield Made({"type": "tar", "path": str(root.tar)}, root.path)


@contextlib.contextmanager
def directory(root: Root, _place: pathlib.Path) -> t.Iterator[Made]:
    yield Made({"type": "directory", "path": str(root.path)}, root.path)


def partitioned(path: pathlib.Path, table: str, size: str = "1536M") -> list[lvm.Region]:
    """Make a disk with this partition table (sfdisk(8)), and return where its partitions are."""
    run("truncate", "-s", size, path)
    subprocess.run(["sfdisk", "-q", path], input=table, text=True, check=True, timeout=60)
    listed = json.loads(run("sfdisk", "--json", path))["partitiontable"]["partitions"]
    return [(it["start"] * 512, it["size"] * 512) for it in listed]


def copied(
    tree: pathlib.Path,
    path: pathlib.Path,
    region: lvm.Region,
    *mkfs: str,
    left_out: str = "/lost+found",
    fstab: str = "",
) -> None:
    """Make a file system in a region of a file, and copy a tree to it, but for what is left out, with an fstab."""
    offset, size = (str(it) for it in region)
    options = ("--find", "--show", "--offset", offset, "--sizelimit", size)
    loop = run("losetup", *options, path).strip()
    point = pathlib.Path(tempfile.mkdtemp(dir=path.parent))
    try:
        run(*mkfs, loop)
        run("mount", loop, point)
        try:
            rsync = ("rsync", "-aHAX", "--numeric-ids", f"--exclude={left_out}")
            run(*rsync, f"{tree}/", f"{point}/")
            if fstab:
                (point / "etc/fstab").write_text(fstab)
        finally:
            run("umount", point)
    finally:
        waiting.detach(loop, path)
    point.rmdir()


@contextlib.contextmanager
def only_read(path: pathlib.Path) -> t.Iterator[None]:
    """Fail when the file is another one afterwards."""
    before = run("sha256sum", path)
    yield
    assert run("sha256sum", path) == before, "the source was written to"


@contextlib.contextmanager
def from_disk(tree: pathlib.Path, raw: pathlib.Path, kind: str) -> t.Iterator[Made]:
    """A disk in the format of a kind of virtual machine."""
    image = raw.with_suffix(f".{kind}")
    run("qemu-img", "convert", "-f", "raw", "-O", kind, raw, image)
    raw.unlink()
    with only_read(image):
        yield Made({"type": "disk", "path": str(image)}, tree)


@contextlib.contextmanager
def disk(root: Root, place: pathlib.Path) -> t.Iterator[Made]:
    """A GPT, an EFI system partition and the root on ext4, as other tools make them."""
    raw = place / "disk.raw"
    _esp, region = partitioned(raw, "label: gpt\nsize=64M, type=uefi\ntype=linux\n")
    copied(root.path, raw, region, "mkfs.ext4", "-q")
    with from_disk(root.path, raw, "qcow2") as made:
        yield made


@contextlib.contextmanager
def disk_mbr(root: Root, place: pathlib.Path) -> t.Iterator[Made]:
    """An MBR with the root on xfs."""
    raw = place / "disk.raw"
    (region,) = partitioned(raw, "label: dos\ntype=83, bootable\n")
    copied(root.path, raw, region, "mkfs.xfs", "-q")
    with from_disk(root.path, raw, "vmdk") as made:
        yield made


@contextlib.contextmanager
def disk_lvm(root: Root, place: pathlib.Path) -> t.Iterator[Made]:
    """As Debian's installer has it, after the root became too small: a /boot, and a root in pieces on LVM."""
    raw, filesystem = place / "disk.raw", place / "root.img"
    table = (
        "label: gpt\nsize=64M, type=uefi\nsize=256M, type=linux\nsize=700M, type=lvm\ntype=lvm\n"
    )
    _esp, boot, *physical = partitioned(raw, table, "2G")
    copied(root.path / "boot", raw, boot, "mkfs.ext4", "-q", "-L", "BOOT")
    fstab = (
        "/dev/mapper/vg--0-root / ext4 errors=remount-ro 0 1\nLABEL=BOOT /boot ext4 defaults 0 2\n"
    )
    with lvm.group(raw, *physical) as group:
        first, second = group.devices
        group.add("root", extents=100, on=(f"{first}:10-109",))
        group.add("swap", extents=20, on=(f"{first}:110-129",))
        group.lvm("lvextend", "-qq", "--extents", "+200", f"{group.name}/root", second)
        assert len(group.pieces("root")) == 2
        size = 300 * 4 << 20
        run("truncate", "-s", str(size), filesystem)
        mkfs = ("mkfs.ext4", "-q")
        copied(root.path, filesystem, (0, size), *mkfs, left_out="/boot/*", fstab=fstab)
        group.fill("root", filesystem)
    filesystem.unlink()
    with from_disk(root.path, raw, "qcow2") as made:
        yield made


@contextlib.contextmanager
def oci_layout(root: Root, place: pathlib.Path) -> t.Iterator[Made]:
    image = oci.layout(place / "image", oci.Image(root.layers(), "web", compression="none"))
    yield Made({"type": "oci", "path": str(image)}, root.path)


@contextlib.contextmanager
def docker_archive(root: Root, place: pathlib.Path) -> t.Iterator[Made]:
    image = oci.docker_archive(place / "image.tar", oci.Image(root.layers(), "web:1"))
    yield Made({"type": "oci", "path": str(image), "reference": "web:1"}, root.path)


@contextlib.contextmanager
def url(root: Root, _place: pathlib.Path) -> t.Iterator[Made]:
    data = root.tar.read_bytes()
    checksum = f"sha256:{hashlib.sha256(data).hexdigest()}"
    with web.serve(web.Site({"/root.tar": data})) as site:
        site.breaks = [len(data) // 2]
        yield Made({"type": "url", "url": site.url("/root.tar"), "checksum": checksum}, root.path)


@contextlib.contextmanager
def bootstrap(_root: Root, place: pathlib.Path) -> t.Iterator[Made]:
    made, tree = source_tar(DEBIAN), place / "bootstrapped"
    tree.mkdir()
    run("tar", "-C", tree, "-xpf", made, "--acls", "--xattrs", "--xattrs-include=*")
    yield Made(DEBIAN, tree, "test ! -e /srv/odd", made.parent)


@contextlib.contextmanager
def from_mkosi(_root: Root, place: pathlib.Path) -> t.Iterator[Made]:
    """A disk that another tool made, and what the kernel sees in it."""
    image = mkosi.disk()
    with only_read(image), mkosi.shown(image, place / "shown") as tree:
        yield Made({"type": "disk", "path": str(image)}, tree, "test -e /srv/mkosi")


@dataclasses.dataclass(frozen=True)
class Row:
    """A source: its name, and what makes it of the root."""

    name: str
    make: Maker


ROWS = (
    Row("tar", tar),
    Row("directory", directory),
    Row("disk", disk),
    Row("disk-mbr", disk_mbr),
    Row("disk-lvm", disk_lvm),
    Row("mkosi", from_mkosi),
    Row("oci-layout", oci_layout),
    Row("docker-archive", docker_archive),
    Row("url", url),
    Row("bootstrap", bootstrap),
)


def select(names: t.Sequence[str]) -> list[Row]:
    """Return the rows of that names, all of them for none; an unknown name is an error."""
    known = [row.name for row in ROWS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"no row is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [row for row in ROWS if not names or row.name in names]


def differences(root: pathlib.Path, image: pathlib.Path) -> list[str]:
    """Return what rsync would change to make the image's tree that of the root, but for what builds write."""
    argv = ["rsync", "--dry-run", "--itemize-changes", "--archive", "--acls", "--xattrs"]
    argv += ["--hard-links", "--checksum", "--numeric-ids", "--delete", "--omit-dir-times"]
    argv += [f"--exclude=/{name}" for name in LEFT_OUT]
    said = run(*argv, f"{root}/", f"{image}/", timeout=1200)
    found = []
    for line in said.splitlines():
        name = line[12:].split(" -> ")[0].split(" => ")[0]
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in WRITTEN):
            found.append(line)
    return found


def boot(place: Place, password: str, proof: str) -> None:
    """Boot the image, and look for what the root had."""
    image = place.out / "image"
    guest = Guest(overlay(image / "disk.qcow2", place.path / "overlay.qcow2"), cpus=2)
    try:
        guest.boot((image / "boot.key").read_text())
        guest.log_in(password)
        guest.run(proof)
        guest.run("systemctl is-active local-fs.target")
    finally:
        guest.end()


def play(row: Row, root: Root, folder: pathlib.Path) -> str:
    """Build from a source, compare and boot; whatever goes wrong is the verdict."""
    password = secrets.token_hex(8)
    place = Place(pathlib.Path(tempfile.mkdtemp(prefix=f"{row.name}-", dir=folder)))
    verdict = BUILT
    try:
        with row.make(root, place.path) as made:
            variables = place.variables(
                image_name="image",
                image_source=made.source,
                image_cache_dir=str(made.cache or place.path / "cache"),
                image_root_password_hash=hashed(password),
                image_kernel_cmdline=CMDLINE,
            )
            done = playbook(PLAYBOOK, variables, timeout=2400)
            assert done.rc == 0, f"the build failed: {done.output[-3000:]}"
            with mounted(place.out / "image") as image:
                found = differences(made.tree, image)
        assert not found, f"the image is not the root: {'; '.join(found[:20])}"
        boot(place, password, made.proof)
    except Exception as exc:  # any other row goes on
        verdict = f"failed: {type(exc).__name__}: {str(exc).strip() or 'for no reason'}"
    left = held(place.path)
    if left:
        return f"failed: left on the builder: {', '.join(left)}"
    shutil.rmtree(place.path, ignore_errors=True)
    return verdict
