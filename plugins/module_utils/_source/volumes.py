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
# Where systemd mounts a partition by its type (docs/facts.md: partition-types), without the first slash.
_POINTS = {
    "933AC7E1-2EB4-4F13-B844-0E14E2AEF915": "home",
    "3B8F8425-20E0-4F3B-907F-1A25A76F98E8": "srv",
    "7EC6F557-3BC5-4ACA-B293-16EF5DF639D1": "var/tmp",
    "BC13C2FF-59E6-4262-A352-B275FD6F7172": "boot",
}
_NO_AUTO = 63
# A name of a partition by its number: in group 1 its disk, in 2 its number (docs/facts.md: disk-links).
BY_NUMBER = re.compile(
    r"(/dev/(?:[shv]d[a-z]+|xvd[a-z]+|(?:nvme\d+n\d+|mmcblk\d+)(?=p)|disk/by-(?:id|path)/.+(?=-part)))"
    r"(?:p|-part)?([1-9]\d*)"
)
# The kernel's names of the first disk of a machine.
_FIRST = ("/dev/sda", "/dev/vda", "/dev/xvda", "/dev/hda", "/dev/nvme0n1", "/dev/mmcblk0")
# The top level of btrfs, in which all other subvolumes are.
TOP_LEVEL = 5


@dataclasses.dataclass(frozen=True)
class Volume:
    """A region of the disk, in bytes; *number* is the partition's, or 0 for a disk without a partition table.

    *type* and *usage* are of its content, *kind* is the partition's type; *point* is where systemd mounts it by that.
    *logical* is the name of a logical volume. It can be in a separate file, *path*; *problem* says why it cannot be
    read, if that is so. *lost* is how many bytes of a partition lie behind the end of the disk.
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
    usage: str = ""
    kind: str = ""
    point: str = ""
    lost: int = 0

    @property
    def name(self) -> str:
        """Return its name for messages."""
        if self.logical:
            return f"logical volume {self.logical}"
        cut = f", cut off {self.lost} bytes before its end" if self.lost else ""
        return f"partition {self.number}{cut}" if self.number else "the whole disk"


def of_partitions(table: partitions.Table, size: int) -> t.List[Volume]:
    """Return the partitions of a table, except an extended partition, as far as the disk of *size* bytes has them."""
    is_mbr = table.label == "dos"
    volumes = []
    for part in table.partitions:
        if is_mbr and part.type.lower() in _EXTENDED:
            continue
        there = max(0, min(part.size, size - part.offset))
        partuuid = part.uuid.lower()
        if is_mbr:
            partuuid = f"{_disk_id(table):08x}-{part.number:02x}"
        volumes.append(
            Volume(
                part.number,
                part.offset,
                there,
                partuuid=partuuid,
                partlabel=part.name,
                kind=part.type,
                point="" if _NO_AUTO in part.attributes else _POINTS.get(part.type, ""),
                # The entry in front of a GPT is no partition, and may have the largest size that there is.
                lost=0 if is_mbr and part.type == "EE" else part.size - there,
            )
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
    kind, uuid, usage = (fields.get(name, "") for name in ("TYPE", "UUID", "USAGE"))
    return dataclasses.replace(volume, type=kind, uuid=uuid, usage=usage, label=label)


def own_disk(
    rows: t.Sequence[etc_fstab.Row], volumes: t.Sequence[Volume], root: t.Optional[Volume]
) -> str:
    """Return the name of this disk on its machine; empty if the lines do not show it.

    A line shows it if what it mounts by number is known in another way: it is the root, or has a UUID or a label in
    another line. Else this one is the only disk that no line speaks against, if it is a first one.
    """
    known = {} if root is None else {"/": root.number}
    numbered = []
    for row in rows:
        point, source = etc_fstab.point_of(row), etc_fstab.source_of(row[0])
        match = BY_NUMBER.fullmatch(source)
        volume = None if match else named(source, volumes, "")
        if etc_fstab.is_on_demand(row):
            continue
        if match:
            numbered.append((match[1], int(match[2]), point))
        elif volume and point:
            known.setdefault(point, volume.number)
    agrees: t.Dict[str, t.List[bool]] = {disk: [] for disk, _number, _point in numbered}
    for disk, number, point in numbered:
        if point in known or number in known.values():
            agrees[disk].append(known.get(point) == number)
    shown = [disk for disk, found in agrees.items() if any(found)]
    undecided = [disk for disk, found in agrees.items() if not found]
    guess = [disk for disk in undecided if disk in _FIRST and len(undecided) == 1]
    return "".join([*shown, *guess][:1])


def named(source: str, volumes: t.Iterable[Volume], disk: str) -> t.Optional[Volume]:
    """Return the volume that the first field of a line of fstab names; *disk* is the kernel's name of this disk."""
    key, equals, value = source.partition("=")
    value = value.strip('"')
    by_link = re.fullmatch(r"/dev/disk/by-(uuid|label|partuuid|partlabel)/(.+)", source)
    if by_link:
        key, equals, value = by_link[1].upper(), "=", etc_fstab.unescaped(by_link[2])
    by_number = BY_NUMBER.fullmatch(source)
    for volume in volumes:
        if by_number and (disk, volume.number) == (by_number[1], int(by_number[2])):
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
    """A file system that belongs to the root, with the mount point without the leading slash.

    *option* is that of mount(8) for a subvolume; *is_found* says that systemd mounts it by the partition's type, and
    only on an empty directory.
    """

    point: str
    volume: Volume
    option: str = ""
    is_found: bool = False


def parts(
    rows: t.Sequence[etc_fstab.Row], volumes: t.Sequence[Volume], root: t.Optional[Volume] = None
) -> t.List[Part]:
    """Return the file systems of the root on this disk, each after the one that holds its mount point.

    *rows* are the lines of its fstab, and those that are equivalent to its units of systemd.
    """
    found = {}
    points = {etc_fstab.point_of(row).strip("/") for row in rows}
    # systemd takes no partition for /boot if fstab has anything there.
    points |= {"boot"} if any(it.split("/")[0] in ("boot", "efi") for it in points) else set()
    disk = own_disk(rows, volumes, root)
    for row in rows:
        point = etc_fstab.point_of(row).strip("/")
        volume_of_row = named(etc_fstab.source_of(row[0]), volumes, disk)
        if not point or ".." in point.split("/") or etc_fstab.is_on_demand(row):
            continue
        if volume_of_row is None:
            continue
        if volume_of_row.problem:
            raise unreadable("the disk", volume_of_row)
        if volume_of_row.type in FILE_SYSTEMS:
            found[point] = Part(point, volume_of_row, subvolume_option(row))
    for volume in volumes:
        is_root = root is not None and (volume.path, volume.offset) == (root.path, root.offset)
        if volume.point and volume.point not in points and not is_root:
            # The first of a type counts.
            points.add(volume.point)
            if volume.type in FILE_SYSTEMS:
                found[volume.point] = Part(volume.point, volume, is_found=True)
    # What is mounted twice is taken once: at the root, or where the first line has it.
    taken = {} if root is None else {(root.path, root.offset, root_option(rows)): ""}
    for part in found.values():
        taken.setdefault((part.volume.path, part.volume.offset, part.option), part.point)
    once = [found[point] for point in taken.values() if point]
    return sorted(once, key=lambda it: (it.point.count("/"), it.point))


def subvolume_option(row: t.Sequence[str]) -> str:
    """Return the option with which a line of fstab mounts a btrfs subvolume; empty for the default one."""
    given = [it.partition("=") for it in etc_fstab.options_of(row)]
    names = [value.strip("/") for name, _equals, value in given if name == "subvol"]
    if names:
        return option_of(names[-1])
    ids = [value for name, _equals, value in given if name == "subvolid" and value.isdecimal()]
    # 0 is another number of the top level (btrfs(5)).
    return f"subvolid={int(ids[-1]) or TOP_LEVEL}" if ids else ""


def option_of(subvolume: t.Optional[str]) -> str:
    """Return the option that mounts a subvolume by its path: empty for the top level, None for the default one."""
    if subvolume is None:
        return ""
    return f"subvol=/{subvolume}" if subvolume else f"subvolid={TOP_LEVEL}"


def root_option(rows: t.Sequence[etc_fstab.Row]) -> str:
    """Return the option with which the root's own subvolume is mounted; empty if its fstab names none."""
    found = [subvolume_option(row) for row in rows if etc_fstab.point_of(row) == "/"]
    return next(filter(None, found), "")


def subvolumes(text: str) -> t.Dict[int, str]:
    """Parse ``btrfs subvolume list`` (btrfs-subvolume(8)): paths below the top level, by number."""
    found = (re.match(r"ID (\d{1,20}) .*? path (.+)", line) for line in text.splitlines())
    return {int(it[1]): it[2] for it in found if it}


def no_root(path: str, volumes: t.Sequence[Volume]) -> SealedRootError:
    """Return the error for a disk without a root, which lists what the disk has."""
    if len(volumes) == 1 and volumes[0].problem:
        return unreadable(path, volumes[0])
    held = ", ".join(f"{it.name}: {it.problem or it.type or 'nothing known'}" for it in volumes)
    hint = "give a disk that an operating system is installed on"
    if any(it.lost for it in volumes):
        hint = "the file is cut off: get it again"
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
    "BY_NUMBER",
    "FILE_SYSTEMS",
    "TOP_LEVEL",
    "Part",
    "Volume",
    "named",
    "no_root",
    "of_partitions",
    "option_of",
    "own_disk",
    "parts",
    "probed",
    "root_option",
    "subvolume_option",
    "subvolumes",
    "unreadable",
)
