# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""How the root file system of an image is made.

The builder's defaults do not fit: with features that the image's GRUB or kernel does not know, it would not boot. And
every block that is written is ciphertext, which makes the image larger for good. So mkfs leaves to the guest what the
guest can write itself, and discards nothing, because nothing was written there before.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import Runner

LABEL = "root"
TIB = 1 << 40
# "none" clears the defaults of mke2fs.conf(5), so this list is complete; GRUB 2.02 and later read all of it.
EXT4_FEATURES = (
    *("none", "64bit", "dir_index", "dir_nlink", "ext_attr", "extent", "extra_isize", "filetype"),
    *("flex_bg", "has_journal", "huge_file", "large_file", "metadata_csum", "resize_inode"),
    "sparse_super",
)
# ext4 stores in its superblock where the first file was opened (ext4_sample_last_mounted in the kernel), so the first
# file is opened where the directory of the build is bound to /root.
FIRST_FILE = 'mount --bind "$1" /root; : >/root/.first; rm /root/.first'
# The option of mkfs.xfs for each feature, and the features that are made. GRUB 2.04 and Linux 4.19 read all of them
# except bigtime, which needs GRUB 2.06 and Linux 5.10; without it, times end in 2038.
XFS_OPTIONS = {
    "autofsck": "-m",
    "bigtime": "-m",
    "crc": "-m",
    "exchange": "-i",
    "finobt": "-m",
    "inobtcount": "-m",
    "metadir": "-m",
    "nrext64": "-i",
    "parent": "-n",
    "reflink": "-m",
    "rmapbt": "-m",
    "sparse": "-i",
}
XFS_FEATURES = ("bigtime", "crc", "finobt", "reflink", "sparse")
# With no-holes, GRUB before 2.12 cannot read a file that has a hole; block-group-tree needs Linux 6.1.
BTRFS_LEFT_OUT = ("no-holes", "block-group-tree")


@dataclasses.dataclass(frozen=True)
class Request:
    """A file system to make.

    *size* is the size of the whole disk in bytes. A feature that begins with ``^`` is to be off. *hash_seed* is the
    UUID that ext4 mixes into the order of names in a directory; if it is empty, mkfs takes a random one.
    """

    device: str
    uuid: str
    size: int
    features: t.Tuple[str, ...] = ()
    hash_seed: str = ""


def ext4(request: Request, _known: str = "") -> t.List[str]:
    """Return the command that makes an ext4.

    The guest initialises inode tables and journal. Until then their blocks are holes, which decrypt to noise, so that
    no stale journal can be found there.
    """
    extended = ["lazy_itable_init=1", "lazy_journal_init=1", "nodiscard"]
    if request.hash_seed:
        extended.append(f"hash_seed={request.hash_seed}")
    argv = ["mkfs.ext4", "-q", "-L", LABEL, "-U", request.uuid]
    argv += ["-b", "4096", "-i", "16384", "-I", "256", "-m", "1", "-E", ",".join(extended)]
    return [*argv, "-O", ",".join((*EXT4_FEATURES, *request.features)), request.device]


def xfs(request: Request, known: str) -> t.List[str]:
    """Return the command that makes an XFS; *known* is the usage that the builder's mkfs.xfs prints.

    mkfs.xfs does not make a feature that it does not know, so such a feature is not named, unless it was requested:
    then mkfs.xfs refuses it. The number of groups and the size of the log do not depend on the processors and the disks
    of the builder; sectors of 4096 bytes fit every disk. The log is written, at least 64 MiB.
    """
    asked = {name.lstrip("^"): int(name[:1] != "^") for name in request.features}
    made = {name: int(name in XFS_FEATURES) for name in XFS_OPTIONS if f"{name}=0|1" in known}
    groups = max(4, -(-request.size // TIB))
    argv = ["mkfs.xfs", "-q", "-K", "-L", LABEL, "-m", f"uuid={request.uuid}", "-b", "size=4096"]
    argv += ["-s", "size=4096", "-l", "size=64m", "-d", f"agcount={groups},noalign"]
    for name, value in {**asked, **{it: made[it] for it in made if it not in asked}}.items():
        argv += [XFS_OPTIONS.get(name, "-m"), f"{name}={value}"]
    return [*argv, request.device]


def btrfs(request: Request, known: str) -> t.List[str]:
    """Return the command that makes a Btrfs; *known* is the list of features that the builder's mkfs.btrfs prints.

    The top level is the root, so grub-mkconfig, initramfs-tools and dracut need no option for a subvolume. A snapshot
    tool that wants another layout can move the content of the image.
    """
    names = {line.split(" ")[0] for line in known.splitlines()}
    left_out = [it for it in BTRFS_LEFT_OUT if it in names and it not in request.features]
    features = [*(f"^{name}" for name in left_out), *request.features]
    argv = ["mkfs.btrfs", "-q", "-K", "-L", LABEL, "-U", request.uuid, "--csum", "crc32c"]
    argv += ["-n", "16384", "-s", "4096", "-m", "dup", "-d", "single"]
    return [*argv, *(["-O", ",".join(features)] if features else []), request.device]


@dataclasses.dataclass(frozen=True)
class Maker:
    """How one file system is made.

    *command* makes it, *asked* is the command whose output names the features that mkfs knows, and *mount_options* are
    those of the first mount. *first_mount* is a shell script that is run after it, with the mount point in ``$1``.
    """

    command: t.Callable[[Request, str], t.List[str]]
    asked: t.Tuple[str, ...] = ()
    mount_options: t.Tuple[str, ...] = ()
    first_mount: str = ""


MAKERS = {
    "ext4": Maker(ext4, mount_options=("noinit_itable",), first_mount=FIRST_FILE),
    "xfs": Maker(xfs, asked=("mkfs.xfs",)),
    "btrfs": Maker(btrfs, asked=("mkfs.btrfs", "-O", "list-all")),
}


def make(
    runner: Runner, name: str, request: Request, env: t.Optional[t.Mapping[str, str]] = None
) -> None:
    """Make the file system *name* on a device."""
    maker = MAKERS[name]
    known = ""
    if maker.asked:
        said = runner.run([runner.find(maker.asked[0]), *maker.asked[1:]], check=False, timeout=60)
        known = said.stdout + said.stderr
    program, *options = maker.command(request, known)
    runner.run([runner.find(program), *options], timeout=600, env=env)


__all__ = ("MAKERS", "Request", "btrfs", "ext4", "make", "xfs")
