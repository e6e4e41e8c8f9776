# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Table of the file systems that a root can have: everything that differs between them. Pure.

The code that makes one, and that reads one without mounting it, is in ``_filesystem``.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

MIB = 1 << 20
# The label of the EFI system partition, which is none of these.
ESP_LABEL = "ESP"


@dataclasses.dataclass(frozen=True)
class Filesystem:
    """How to recognise a file system, and what it needs.

    *magic* is an offset and the bytes found there. *grub_module* reads the file system. *tools* create and read it on
    a builder, and *version* is the option with which its mkfs says its version. *program* checks, repairs or grows it
    in a machine, and *debian_packages* provide it; if they are empty, only a root that grows needs it. *grow* is the
    command to grow it, with the device in ``$device``.

    *root_options* are for fstab(5); *checked_at_boot* says whether fsck(8) has anything to do. In bytes: *overhead*
    is its space on disk besides files and their entries, *least_disk* the smallest disk that can hold it.
    """

    name: str
    magic: t.Tuple[int, bytes]
    grub_module: str
    tools: t.Tuple[str, ...]
    program: str
    grow: str
    version: str = "-V"
    debian_packages: t.Tuple[str, ...] = ()
    root_options: str = "defaults"
    checked_at_boot: bool = False
    overhead: int = 0
    least_disk: int = 0

    def words(self) -> t.Dict[str, t.List[str]]:
        """Return the fields that roles use."""
        return {
            "tools": list(self.tools),
            "debian_packages": list(self.debian_packages),
        }


EXT4 = Filesystem(
    name="ext4",
    magic=(0x438, b"\x53\xef"),
    grub_module="ext2",
    tools=("debugfs", "e2fsck", "mkfs.ext4"),
    program="resize2fs",
    grow='resize2fs "$device"',
    root_options="errors=remount-ro",
    checked_at_boot=True,
)
XFS = Filesystem(
    name="xfs",
    magic=(0, b"XFSB"),
    grub_module="xfs",
    tools=("mkfs.xfs", "xfs_db", "xfs_repair"),
    program="xfs_repair",
    grow="xfs_growfs /",
    debian_packages=("xfsprogs",),
    # The log.
    overhead=64 * MIB,
    # mkfs.xfs refuses less than 300 MiB, and the rest of a disk takes 101 MiB.
    least_disk=401 * MIB,
)
BTRFS = Filesystem(
    name="btrfs",
    magic=(0x10040, b"_BHRfS_M"),
    grub_module="btrfs",
    tools=("btrfs", "mkfs.btrfs"),
    program="btrfs",
    grow="btrfs filesystem resize max /",
    version="--version",
    debian_packages=("btrfs-progs",),
    # Metadata is stored twice.
    overhead=128 * MIB,
)
FILESYSTEMS = {it.name: it for it in (EXT4, XFS, BTRFS)}
# The option of modules that names one.
ARGUMENT: t.Dict[str, t.Any] = {"type": "str", "choices": sorted(FILESYSTEMS), "default": "ext4"}


def find(name: str) -> Filesystem:
    """Return the file system that mount(8) calls *name*; raise an error if the table has none."""
    if name not in FILESYSTEMS:
        known = ", ".join(FILESYSTEMS)
        raise SealedRootError(f"a root on {name} cannot be made: choose one of {known}")
    return FILESYSTEMS[name]


__all__ = (
    "ARGUMENT",
    "BTRFS",
    "ESP_LABEL",
    "EXT4",
    "FILESYSTEMS",
    "MIB",
    "XFS",
    "Filesystem",
    "find",
)
