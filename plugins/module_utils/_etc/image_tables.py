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

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc.fstab import (
    EARLY,
    OLD_DISK,
    PULLED_IN,
    Row,
    disk_of,
    is_entry,
    is_on_demand,
    is_opened_on_demand,
    mounted,
    options_of,
    own_mappings,
    path_of,
    point_of,
    rows,
    taken,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import filesystems

# Mount points whose lines are replaced by those of the image's own partitions.
OWN_POINTS = ("/", "/boot", "/boot/efi", "/efi", "/usr")
# With these types, a path as source is a file that contains a file system, or swap.
_FILE_TYPES = (
    *("auto", "btrfs", "erofs", "ext2", "ext3", "ext4", "iso9660", "squashfs", "swap", "udf"),
    *("vfat", "xfs"),
)
# One reason to drop a line; fstab.py has the others.
NO_FILE = "the root has no such file"

Exists = t.Callable[[str], bool]


def _everything(_path: str) -> bool:
    return True


def fstab(
    text: str,
    *,
    device: str,
    filesystem: str,
    esp_label: str,
    exists: Exists = _everything,
    crypttab: t.Sequence[Row] = (),
) -> t.Tuple[str, t.List[str]]:
    """Return the new table, and the dropped lines with the reason.

    Comments and all lines that name no disk (tmpfs, zram, network, bind mounts) stay, and so do lines that are mounted
    only on demand. *exists* says whether a file is in the root; *crypttab* is that of the image. Lines that the image's
    own replace are not among the dropped ones.
    """
    own = own_mappings(crypttab, device)
    others = [row for row in rows(text) if point_of(row) not in OWN_POINTS]
    gone: t.Dict[t.Tuple[str, ...], str] = {}
    for row in others:
        reason = _why_unmounted(row, exists, own, on_demand=is_on_demand(row))
        if reason:
            gone[tuple(row)] = reason
    kept_rows = [row for row in others if tuple(row) not in gone]
    for pulled_in in mounted(kept_rows, crypttab):
        reason = _why_unmounted(pulled_in, exists, own, on_demand=False)
        if reason:
            gone[pulled_in] = f"{reason}, {PULLED_IN}"
    kept, dropped = [], []
    for line in text.splitlines():
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
        f"LABEL={esp_label} /boot/efi vfat noauto,nodev,noexec,nosuid,umask=0077 0 0",
    ]
    return "\n".join([*first, *kept]).rstrip("\n") + "\n", dropped


def _why_unmounted(
    fields: Row, exists: Exists, own: t.Container[str], *, on_demand: bool
) -> t.Optional[str]:
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
    for line in text.splitlines():
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


__all__ = ("NO_FILE", "OWN_POINTS", "crypttab", "fstab", "said", "stays_in_crypttab")
