# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""fstab(5) and crypttab(5) of an image: how the tables of an old machine are changed. Pure.

Drop a line if boot would wait for its device, or if a hostile host could supply it. The dropped lines are returned
with the reason, so that the user sees them.
"""

from __future__ import annotations

import collections
import fnmatch
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc.fstab import (
    EARLY,
    FUSE,
    OLD_DISK,
    PULLED_IN,
    Row,
    disk_of,
    is_entry,
    is_on_demand,
    is_opened_on_demand,
    lines,
    mounted,
    options_of,
    own_mappings,
    path_of,
    point_of,
    rows,
    source_of,
    taken,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import filesystems

# Mount points whose lines are replaced by those of the image's own partitions.
OWN_POINTS = ("/", "/boot", "/boot/efi", "/efi", "/usr")
# With these types, a path as source is a file that contains a file system, or swap.
_FILE_TYPES = (
    *filesystems.FILESYSTEMS,
    *("auto", "erofs", "ext2", "ext3", "iso9660", "squashfs", "swap", "udf", "vfat"),
)
# One reason to drop a line; fstab.py has the others.
NO_FILE = "the root has no such file"

# Options of overlay(8), aufs and unions that name directories.
_LAYERS = ("br", "branches", "dirs", "lowerdir", "lowerdir+", "datadir+", "upperdir", "workdir")
# What mounts directories that its source names. Any program of FUSE may (docs/facts.md: fuse-sources).
_STACKED = ("bindfs", "ecryptfs", "mergerfs", "mhddfs", "unionfs", "unionfs-fuse")
# Each of their patterns is compared with each mount point that is lost.
_MOST_GLOBS = 64
# No path is longer (path_resolution(7)).
_PATH_MAX = 4096

Exists = t.Callable[[str], bool]


def _everything(_path: str) -> bool:
    return True


def fstab(
    text: str,
    *,
    device: str,
    filesystem: str,
    exists: Exists = _everything,
    crypttab: t.Sequence[Row] = (),
) -> t.Tuple[str, t.List[str]]:
    """Return the new table, and the dropped lines with the reason.

    Comments and all lines that name no disk (tmpfs, zram, network, bind mounts) stay, and so do lines that are mounted
    only on demand. *exists* says whether a file is in the root; *crypttab* is that of the image. Lines that the image's
    own replace are not among the dropped ones.
    """
    gone = going(rows(text), own_mappings(crypttab, device), exists=exists, crypttab=crypttab)
    kept, dropped = [], []
    for line in lines(text):
        fields = line.split()
        if not is_entry(fields):
            kept.append(line)
        elif tuple(fields) in gone:
            dropped.append(said("fstab", fields, gone[tuple(fields)]))
        elif point_of(fields) not in OWN_POINTS:
            kept.append(line)
    kind = filesystems.find(filesystem)
    first = [
        # By the mapping's name, which the guest gives: any disk of the host can have the same file system UUID.
        f"{device} / {filesystem} {kind.root_options} 0 {int(kind.checked_at_boot)}",
        # noauto: the host can write the EFI system partition, and no running program needs it.
        f"LABEL={filesystems.ESP_LABEL} /boot/efi vfat noauto,nodev,noexec,nosuid,umask=0077 0 0",
    ]
    return "\n".join([*first, *kept]).rstrip("\n") + "\n", dropped


def going(
    table: t.Sequence[Row],
    own: t.Container[str],
    *,
    exists: Exists = _everything,
    crypttab: t.Sequence[Row] = (),
) -> t.Dict[t.Tuple[str, ...], str]:
    """Return the lines of an fstab that have to go, with the reason; *own* are the guest's mappings."""
    others = [row for row in table if point_of(row) not in OWN_POINTS]
    gone: t.Dict[t.Tuple[str, ...], str] = {}
    for row in others:
        reason = why_unmounted(row, exists, own, on_demand=is_on_demand(row))
        if reason:
            gone[tuple(row)] = reason
    kept_rows = [row for row in others if tuple(row) not in gone]
    for pulled_in in mounted(kept_rows, crypttab):
        reason = why_unmounted(pulled_in, exists, own, on_demand=False)
        if reason:
            gone[pulled_in] = f"{reason}, {PULLED_IN}"
    add_dependent(gone, others, exists)
    return gone


def add_dependent(
    gone: t.Dict[t.Tuple[str, ...], str],
    table: t.Iterable[Row],
    exists: Exists,
    points: t.Iterable[str] = (),
) -> None:
    """Add to the lines that are *gone* those that need what was on one of them, or on one of the mount *points*."""
    left = [row for row in table if tuple(row) not in gone and not is_on_demand(row)]
    needing: t.Dict[str, t.List[t.Tuple[Row, str]]] = {}
    globs = []
    places = {*map(point_of, [*left, *gone]), *points}
    for row in left:
        for path in _directories(row):
            if not exists(path):
                for above in filter(places.__contains__, _above(path)):
                    needing.setdefault(above, []).append((row, path))
                globs += [(row, path)] if "*" in path else []
    mounts = collections.Counter(map(point_of, left))
    lost = [point for point in ({*map(point_of, gone)} | {*points}) if point and not mounts[point]]
    while lost:
        point = lost.pop()
        matching = [it for it in globs[:_MOST_GLOBS] if fnmatch.fnmatchcase(point, it[1])]
        for row, path in [*needing.pop(point, ()), *matching]:
            if tuple(row) in gone:
                continue
            gone[tuple(row)] = f"it needs {path}, which was on another file system that is gone"
            mounts[point_of(row)] -= 1
            if not mounts[point_of(row)]:
                lost.append(point_of(row))


def _above(path: str) -> t.Iterator[str]:
    """Return the directories above a path, without /."""
    at = path.find("/", 1)
    while at > 0:
        yield path[:at]
        at = path.find("/", at + 1)


def _directories(fields: Row) -> t.List[str]:
    """Return the directories of the root that a line puts together: by overlay, FUSE or a bind mount."""
    options = options_of(fields)
    kinds = "".join(fields[2:3]).split(",")
    source = source_of(fields[0])
    found = []
    if {"bind", "rbind"} & {*options}:
        found.append(source)
    if any(kind.partition(".")[0] in (*FUSE, *_STACKED) for kind in kinds):
        path = source.rpartition("#")[2]
        # Not of a server, as in HOST:/PATH.
        found += re.split("[:,]", path) if path.startswith("/") else []
    for name, _equals, value in (option.partition("=") for option in options):
        found += value.split(":") if name in _LAYERS else []
    # Behind =, a union says whether it may write to the directory.
    plain = (path.partition("=")[0] for path in found if path.startswith("/"))
    return [path for path in plain if len(path) <= _PATH_MAX]


def why_unmounted(
    fields: Row, exists: Exists, own: t.Container[str], *, on_demand: bool
) -> t.Optional[str]:
    """Return why a boot cannot mount a line; None if it can, or if only a person mounts it."""
    kind, path = "".join(fields[2:3]), path_of(fields[0])
    if kind == "swap" and path:
        return None if exists(path) else NO_FILE
    if on_demand:
        return None
    found = taken(fields, own)
    if found:
        return found.reason
    # systemd makes a missing source of a bind mount; any other missing file ends in its emergency mode.
    is_file = kind in _FILE_TYPES and not {"bind", "rbind"} & {*options_of(fields)}
    return NO_FILE if path and is_file and not exists(path) else None


def crypttab(
    text: str,
    *,
    name: str,
    luks_uuid: str,
    key_file: str,
    options: str,
    exists: Exists = _everything,
) -> t.Tuple[str, t.List[str]]:
    """Return the table with the root's entry, and the dropped lines with the reason.

    Containers in files of the root stay, and so do entries that are opened only on demand.
    """
    own = f"{name} UUID={luks_uuid} {key_file} {options}"
    kept, dropped = [], []
    for line in lines(text):
        fields = line.split()
        if not is_entry(fields):
            kept.append(line)
        elif line != own:
            reason = "its name is that of the root" if fields[0] == name else None
            reason = reason or _why_closed(fields, exists)
            if reason:
                dropped.append(said("crypttab", fields, reason))
            else:
                kept.append(line)
    return "\n".join([*kept, own]).lstrip("\n") + "\n", dropped


def _why_closed(fields: Row, exists: Exists) -> t.Optional[str]:
    if is_opened_on_demand(fields):
        return None
    if disk_of(fields):
        return OLD_DISK
    if not exists(path_of(fields[1])):
        return NO_FILE
    if EARLY & {*options_of(fields)}:
        return "a file of the root cannot be opened before the root"
    return None


def stays_in_crypttab(fields: Row, exists: Exists) -> bool:
    """Say whether an entry is kept, unless its name is that of the root."""
    return _why_closed(fields, exists) is None


def said(table: str, fields: t.Sequence[str], reason: str) -> str:
    """Return why a line is dropped, and of the line only a device and a name or mount point.

    The text goes into the manifest, and options can contain a password.
    """
    return f"{table} line '{' '.join(fields[:2])}': {reason}"


__all__ = (
    "NO_FILE",
    "OWN_POINTS",
    "add_dependent",
    "crypttab",
    "fstab",
    "going",
    "said",
    "stays_in_crypttab",
    "why_unmounted",
)
