# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What of an untrusted disk image is no part of its root, and why. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._etc import fstab as etc_fstab
from ansible_collections.sealedroot.image.plugins.module_utils._source.volumes import (
    BY_NUMBER,
    FILE_SYSTEMS,
    Volume,
    named,
    own_disk,
)

_ENCRYPTED = ("crypto_LUKS", "BitLocker")
# Types of /usr (x86-64, ARM-64) and /var, which systemd mounts under more conditions than others (volumes.py).
_NOT_FOLLOWED = (
    "8484680C-9521-48C6-9C11-B0720656F69E",
    "B0E01050-EE5F-4390-949A-9101B17104E9",
    "4D21B016-B534-45C2-A9FB-5C16E091FD2D",
)
# Types of the EFI system partition, of which nothing is taken.
_ESP_TYPES = (partitions.ESP_TYPE, "EF")
# What to do if the kernels of a root are on a vfat, of which nothing is taken either.
_KERNELS_ON_VFAT = (
    "an image boots by GRUB, with kernels from /boot of the root. If they are on it as vmlinuz-..., mount it in the"
    " root, and give that as a directory; else install a kernel in the machine while it is not mounted"
)


def left_out(
    volumes: t.Sequence[Volume],
    taken: t.Sequence[Volume],
    rows: t.Sequence[etc_fstab.Row],
    *,
    has_kernel: bool = True,
) -> t.List[str]:
    """Say of each file system that is no part of the root why it is none; also of what could hold one.

    *taken* begins with the root's volume; *rows* are as those of ``volumes.parts``. *has_kernel* says whether /boot of
    the root has a kernel; if it has none, the EFI system partition may hold them.
    """
    places = {(it.path, it.offset) for it in taken}
    disk = own_disk(rows, volumes, next(iter(taken), None))
    unclear = _by_number(rows, disk)
    sources = [etc_fstab.source_of(row[0]) for row in rows if etc_fstab.point_of(row) == "/boot"]

    def why(it: Volume) -> str:
        on_boot = it.point == "boot" or any(named(source, [it], disk) for source in sources)
        is_esp = it.kind in _ESP_TYPES
        if it.type == "vfat" and (on_boot or (is_esp and not has_kernel)):
            where = "it is the root's /boot" if on_boot else "/boot of the root has no kernel"
            return f"its type is not read, and {where}: {_KERNELS_ON_VFAT}"
        return "" if is_esp else _why_not(it, unclear)

    left = (
        (it, why(it))
        for it in volumes
        if (it.path, it.offset) not in places
        and (it.usage in ("crypto", "filesystem", "raid") or it.problem or it.lost)
        and it.type != "LVM2_member"
    )
    return [f"{it.name}{_described(it)}: {reason}" for it, reason in left if reason]


def _by_number(rows: t.Sequence[etc_fstab.Row], own: str) -> t.Dict[int, str]:
    """Return, by each number, the first name that a boot mounts and that may be of this disk or of another one.

    A disk has a name of the kernel and others of links, so *own* rules out the names of its kind only.
    """
    found: t.Dict[int, str] = {}
    for row in rows:
        match = BY_NUMBER.fullmatch(etc_fstab.source_of(row[0]))
        is_mounted = etc_fstab.point_of(row) and not etc_fstab.is_on_demand(row)
        if match and is_mounted and (not own or _is_link(own) != _is_link(match[1])):
            found.setdefault(int(match[2]), match[0])
    return found


def _is_link(disk: str) -> bool:
    return disk.startswith("/dev/disk/")


def _why_not(volume: Volume, unclear: t.Mapping[int, str]) -> str:
    if volume.lost and not volume.type:
        return "what it holds is not in the file: get the file again"
    if volume.type in _ENCRYPTED:
        return "it is encrypted"
    if volume.type and volume.type not in FILE_SYSTEMS:
        return "its type is not read"
    if volume.number in unclear:
        return (
            f"fstab or a unit names {unclear[volume.number]}, which is it or a partition of another disk: name it there"
            " by its UUID if it is meant"
        )
    if volume.kind in _NOT_FOLLOWED:
        return "it has a partition type of /usr or /var, which is not followed: name it in fstab"
    return "nothing in the root mounts it when the machine boots"


def _described(volume: Volume) -> str:
    words = [volume.problem or volume.type, f"label {volume.label}" if volume.label else ""]
    return f" ({', '.join(filter(None, words))})" if any(words) else ""


__all__ = ("left_out",)
