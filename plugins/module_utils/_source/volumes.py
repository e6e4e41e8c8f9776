# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The volumes of an untrusted disk image, and what is on them. Pure."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._etc import fstab as etc_fstab
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# File systems that the builder's kernel can mount and that can hold a root.
FILE_SYSTEMS = ("btrfs", "ext2", "ext3", "ext4", "xfs")
_EXTENDED = ("5", "f", "85")


@dataclasses.dataclass(frozen=True)
class Volume:
    """A region of the disk, in bytes; *number* is the partition's, or 0 for a disk without a partition table.

    *logical* is the name of a logical volume. It can be in a separate file, *path*; *problem* says why it cannot be
    read, if that is so.
    """

    number: int
    offset: int
    size: int
    type: str = ""
    uuid: str = ""
    label: str = ""
    partuuid: str = ""
    partlabel: str = ""
    logical: str = ""
    path: str = ""
    problem: str = ""

    @property
    def name(self) -> str:
        """Return its name for messages."""
        if self.logical:
            return f"logical volume {self.logical}"
        return f"partition {self.number}" if self.number else "the whole disk"


def of_partitions(table: partitions.Table) -> t.List[Volume]:
    """Return the partitions of a table, except an extended partition."""
    is_mbr = table.label == "dos"
    volumes = []
    for part in table.partitions:
        if is_mbr and part.type.lower() in _EXTENDED:
            continue
        partuuid = part.uuid.lower()
        if is_mbr:
            partuuid = f"{_disk_id(table):08x}-{part.number:02x}"
        volumes.append(
            Volume(part.number, part.offset, part.size, partuuid=partuuid, partlabel=part.name)
        )
    return volumes


def _disk_id(table: partitions.Table) -> int:
    try:
        return int(table.id, 16)
    except ValueError:
        raise SealedRootError("the partition table has no number: write it anew (sfdisk)") from None


def probed(volume: Volume, text: str) -> Volume:
    """Add the output of ``blkid --probe --output export`` (blkid(8)) to a volume."""
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    label = re.sub(r"\\(.)", r"\1", fields.get("LABEL", ""))
    return dataclasses.replace(
        volume, type=fields.get("TYPE", ""), uuid=fields.get("UUID", ""), label=label
    )


def named(source: str, volumes: t.Iterable[Volume]) -> t.Optional[Volume]:
    """Return the volume that the first field of a line of fstab names; the machine is taken to have only this disk."""
    key, equals, value = source.partition("=")
    value = value.strip('"')
    by_link = re.fullmatch(r"/dev/disk/by-(uuid|label|partuuid|partlabel)/(.+)", source)
    if by_link:
        key, equals, value = by_link[1].upper(), "=", by_link[2]
    by_number = re.fullmatch(
        r"/dev/(?:[shv]d[a-z]|xvd[a-z]|(?:nvme0n1|mmcblk0)p)([1-9]\d*)", source
    )
    for volume in volumes:
        if by_number and volume.number == int(by_number[1]):
            return volume
        if volume.logical and source in _device_names(volume.logical):
            return volume
        names = {
            "UUID": volume.uuid.lower(),
            "LABEL": volume.label,
            "PARTUUID": volume.partuuid,
            "PARTLABEL": volume.partlabel,
        }
        wanted = value.lower() if key in ("UUID", "PARTUUID") else value
        if equals and wanted and names.get(key) == wanted:
            return volume
    return None


def _device_names(logical: str) -> t.Tuple[str, str]:
    """Return the device names of a logical volume on its machine."""
    group, _slash, name = logical.partition("/")
    mapper = f"{group.replace('-', '--')}-{name.replace('-', '--')}"
    return f"/dev/{logical}", f"/dev/mapper/{mapper}"


def unreadable(path: str, volume: Volume) -> SealedRootError:
    """Return the error for a logical volume that is needed but cannot be read."""
    return SealedRootError(
        f"{volume.name} in {path} is {volume.problem}, and only linear ones are read: copy it in its machine"
        f" to a file (qemu-img convert -O qcow2 /dev/{volume.logical} ...) and give that, or the root as a tar"
    )


class Part(t.NamedTuple):
    """A file system that the root's fstab mounts; *point* is the mount point without the leading slash."""

    point: str
    volume: Volume
    subvolume: str


def parts(fstab: str, volumes: t.Sequence[Volume]) -> t.List[Part]:
    """Return the file systems of the root on this disk, each after the one that holds its mount point."""
    found = {}
    for row in etc_fstab.rows(fstab):
        point = etc_fstab.point_of(row).strip("/")
        volume = named(row[0], volumes)
        if not point or ".." in point.split("/") or volume is None or etc_fstab.is_on_demand(row):
            continue
        if volume.problem:
            raise unreadable("the disk", volume)
        if volume.type in FILE_SYSTEMS:
            found[point] = Part(point, volume, subvolume_of(row))
    return [found[point] for point in sorted(found, key=lambda it: (it.count("/"), it))]


def subvolume_of(row: t.Sequence[str]) -> str:
    """Return the btrfs subvolume that a line of fstab mounts; empty for the default one."""
    options = row[3].split(",") if len(row) > 3 else []
    names = [it.partition("=")[2] for it in options if it.startswith("subvol=")]
    return names[-1].strip("/") if names else ""


def root_subvolume(fstab: str) -> t.Optional[str]:
    """Return the subvolume from which an fstab mounts the root; None if it names none."""
    for row in etc_fstab.rows(fstab):
        if etc_fstab.point_of(row) == "/" and subvolume_of(row):
            return subvolume_of(row)
    return None


def subvolumes(text: str) -> t.List[str]:
    """Parse ``btrfs subvolume list`` (btrfs-subvolume(8)): paths below the top level."""
    return [line.split(" path ", 1)[1] for line in text.splitlines() if " path " in line]


def no_root(path: str, volumes: t.Sequence[Volume]) -> SealedRootError:
    """Return the error for a disk without a root, which lists what the disk has."""
    if len(volumes) == 1 and volumes[0].problem:
        return unreadable(path, volumes[0])
    held = ", ".join(f"{it.name}: {it.problem or it.type or 'nothing known'}" for it in volumes)
    hint = "give a disk that an operating system is installed on"
    types = {it.type for it in volumes}
    if "crypto_LUKS" in types:
        hint = "its LUKS container cannot be read: decrypt it first, and give the result"
    elif "linux_raid_member" in types:
        hint = (
            "members of a software RAID are not put together: copy the array in its machine to a file (qemu-img convert"
            " -O qcow2 /dev/md0 ...) and give that, or the root as a tar"
        )
    elif any(it.problem for it in volumes):
        hint = (
            "only linear logical volumes are read: give the root's as a file of its own (qemu-img"
            " convert), or as a tar"
        )
    elif types == {"LVM2_member"}:
        hint = "choose the root's volume by logical_volume"
    return SealedRootError(f"{path} has no root with an os-release ({held}): {hint}")


__all__ = (
    "FILE_SYSTEMS",
    "Part",
    "Volume",
    "named",
    "no_root",
    "of_partitions",
    "parts",
    "probed",
    "root_subvolume",
    "subvolume_of",
    "subvolumes",
    "unreadable",
)
