# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A disk that mkosi made of Debian's packages, with all that an encrypted boot takes; made once on a machine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import subprocess
import tempfile
import typing as t

from builds import QUICK_INITRAMFS

CACHE = pathlib.Path("/var/cache/sealedroot")
PACKAGES = (
    *("ca-certificates", "cryptsetup-initramfs", "dbus", "e2fsprogs", "grub-efi-amd64"),
    *("initramfs-tools", "iproute2", "kmod", "linux-image-cloud-amd64", "login", "passwd"),
    *("systemd-sysv", "udev", "zstd"),
)
# For Debian 12's mkosi (14). Without a boot loader of its own: for that it mounts an EFI system partition, and
# not every kernel has vfat.
CONFIG = f"""\
[Distribution]
Distribution=debian
Release=bookworm

[Output]
Format=gpt_ext4
Bootable=no
ManifestFormat=

[Content]
BasePackages=conditional
Packages={",".join(PACKAGES)}
WithDocs=yes

[Partitions]
RootSize=1200M
"""
FILES = {**QUICK_INITRAMFS, "srv/mkosi": "made by mkosi\n"}
# mkosi adds these, at a host that is written in it; files of these names in a skeleton are the image's in their place.
SUITES = ("bookworm-security.list", "bookworm-updates.list")
# systemd-nspawn wants this on no disk, which it is on a machine that was not booted by systemd.
# The copies of the mounts of other tests would keep their disks in use.
RUN = (
    "findmnt --raw --noheadings --output SOURCE,TARGET |"
    " sed -n 's,^/dev/loop[^ ]* ,,p' | xargs --no-run-if-empty umount --lazy &&"
    " mkdir -p /run/systemd/nspawn && mount -t tmpfs tmpfs /run/systemd/nspawn &&"
    ' exec mkosi --nspawn-keep-unit "$@"'
)


def disk() -> pathlib.Path:
    """Return a raw disk with a GPT and the root on ext4."""
    determined = [CONFIG, FILES, SUITES, RUN]
    name = hashlib.sha256(json.dumps(determined).encode()).hexdigest()[:16]
    path = CACHE / f"mkosi-{name}.raw"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="mkosi-", dir=CACHE) as folder:
            os.rename(_make(pathlib.Path(folder)), path)
    return path


def _make(folder: pathlib.Path) -> pathlib.Path:
    version = subprocess.run(["mkosi", "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.split() == ["mkosi", "14"], "this takes the mkosi of Debian 12"
    lists, files = folder / "skeleton/etc/apt/sources.list.d", folder / "extra"
    lists.mkdir(parents=True)
    for suite in SUITES:
        (lists / suite).write_text("# not used\n")
    for file, text in FILES.items():
        (files / file).parent.mkdir(parents=True, exist_ok=True)
        (files / file).write_text(text)
    (folder / "mkosi.conf").write_text(CONFIG)
    argv = ["timeout", "--signal=INT", "--kill-after=60", "1200", "unshare", "--mount"]
    argv += ["sh", "-c", RUN, "mkosi"]
    argv += ["--default=mkosi.conf", f"--mirror={_mirror()}", "--output=disk.raw"]
    argv += [f"--skeleton-tree={lists.parents[2]}", f"--extra-tree={files}"]
    argv += [f"--workspace-dir={folder}", "build"]
    done = subprocess.run(
        argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"mkosi failed: {done.stdout[-1000:]}{done.stderr[-3000:]}"
    return folder / "disk.raw"


def _mirror() -> str:
    """Return the mirror that this machine installs its own packages from."""
    argv = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    argv += ["Identifier: Packages", "Origin: Debian"]
    said = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60).stdout
    return next(line for line in said.splitlines() if "security" not in line)


@contextlib.contextmanager
def shown(path: pathlib.Path, point: pathlib.Path) -> t.Iterator[pathlib.Path]:
    """Mount the root of the disk, without writing to it."""
    text = subprocess.run(
        ["sfdisk", "--json", path], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    (partition,) = json.loads(text)["partitiontable"]["partitions"]
    region = f"offset={partition['start'] * 512},sizelimit={partition['size'] * 512}"
    point.mkdir()
    argv = ["mount", "-o", f"ro,loop,noload,{region}", str(path), str(point)]
    subprocess.run(argv, check=True, timeout=60)
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True, timeout=60)
