# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""fstab(5) and crypttab(5) of an image: what an old machine's tables become. Pure.

A line goes when the new machine would wait at boot for what it names, or would take from its host a disk that
goes by that name. What has to go is returned with the reason, for the person to see.
"""

from __future__ import annotations

import posixpath
import re
import typing as t

# Where systemd-cryptsetup looks for the key of a mapping, NAME.key, since version 246 (crypttab(5)).
KEY_DIRECTORY = "/etc/cryptsetup-keys.d"
# Mount points that the image's own partitions take the place of.
OWN_POINTS = ("/", "/boot", "/boot/efi", "/efi", "/usr")
# What names a disk: gone with the old machine. The kernel makes /dev/zram* of memory.
_DISK = re.compile(r"(UUID|LABEL|PARTUUID|PARTLABEL|ID)=|/dev/(?!zram\d+$|shm|null)")
# With these, a path as source is a file with a file system in it, or swap.
_FILE_TYPES = (
    *("auto", "btrfs", "erofs", "ext2", "ext3", "ext4", "iso9660", "squashfs", "swap", "udf"),
    *("vfat", "xfs"),
)
# File systems that are directories of the host, which has every name.
_HOST_TYPES = ("9p", "fuse.vmhgfs-fuse", "vboxsf", "virtiofs", "vmhgfs")
# With one of these, systemd mounts what is noauto.
_WANTED = ("x-systemd.automount", "x-systemd.wanted-by", "x-systemd.required-by", "x-initrd.mount")
# An entry with one of these is opened in the initramfs.
_EARLY = {"initramfs", "x-initrd.attach", "force"}

ROOT_OPTIONS = {"ext4": "errors=remount-ro"}
# fsck(8) has nothing to do for the others: they are checked as they are mounted.
CHECKED_AT_BOOT = ("ext4",)
OLD_DISK = "a disk of the old machine"
NO_FILE = "the root has no such file"
OF_HOST = "a directory of the host"

Exists = t.Callable[[str], bool]
Rows = t.List[t.List[str]]


def _everything(_path: str) -> bool:
    return True


def rows(text: str) -> Rows:
    """Return the fields of each line that is no comment."""
    return [row for row in map(str.split, text.splitlines()) if _is_entry(row)]


def _is_entry(fields: t.Sequence[str]) -> bool:
    return len(fields) >= 2 and not fields[0].startswith("#")


def _options(fields: t.Sequence[str], number: int) -> t.Set[str]:
    return set(fields[number].split(",")) if len(fields) > number else set()


def path_of(field: str) -> str:
    r"""Return the file that a field names, with the escapes of fstab(5) (``\040``) read; empty for none."""
    if not field.startswith("/") or field.startswith(("//", "/dev/")):
        return ""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)


def source_of(field: str) -> str:
    """Return what a field of fstab(5) names, as whoever mounts it reads it: without escapes, quotes and detours."""
    plain = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)
    plain = plain.replace('"', "")
    path = posixpath.normpath(f"/{plain.lstrip('/')}")
    return path if plain.startswith("/") and path.startswith("/dev/") else plain


def headers(fields: t.Sequence[str]) -> t.List[str]:
    """Return the header files that a line of crypttab names; of several, the last one counts."""
    options = fields[3].split(",") if len(fields) > 3 else []
    return [option[len("header=") :] for option in options if option.startswith("header=")]


def point_of(fields: t.Sequence[str]) -> str:
    """Return where a line of fstab is mounted; empty for swap."""
    return "/" + fields[1].strip("/") if fields[1].startswith("/") else ""


def swap_files(text: str) -> t.List[str]:
    """Return the files of an fstab that are swap."""
    found = [path_of(row[0]) for row in rows(text) if row[2:3] == ["swap"]]
    return [path for path in found if path]


def is_on_demand(fields: t.Sequence[str]) -> bool:
    """Say whether a line of fstab names what nobody asks for but a person (``noauto``)."""
    options = fields[3].split(",") if len(fields) > 3 else []
    # Of the two, the last one counts; and a unit can want it all the same (systemd.mount(5)).
    last = [option for option in options if option in ("auto", "noauto")][-1:]
    return last == ["noauto"] and not any(option.startswith(_WANTED) for option in options)


def is_opened_on_demand(fields: t.Sequence[str]) -> bool:
    """Say the same of a line of crypttab."""
    options = _options(fields, 3)
    return "noauto" in options and not options & _EARLY


def is_memory(source: str) -> bool:
    """Say whether a device is made of memory, so that every machine has it."""
    return bool(re.fullmatch(r"/dev/(?:zram\d+|shm|null)", source))


def is_of_host(fields: t.Sequence[str]) -> bool:
    """Say whether a line of fstab mounts a directory of the machine's host."""
    return "".join(fields[2:3]) in _HOST_TYPES


def fstab(
    text: str,
    *,
    device: str,
    filesystem: str,
    esp_label: str,
    exists: Exists = _everything,
    mappings: t.Container[str] = (),
) -> t.Tuple[str, t.List[str]]:
    """Return the new table, and what had to go with the reason.

    Comments and everything that names no disk (tmpfs, zram, network, bind mounts) stay, and so does what is
    mounted on demand alone. *exists* says whether a file is in the root; *mappings* are the names in crypttab.
    The lines that the image's own take the place of are not among those that had to go.
    """
    kept, dropped = [], []
    for line in text.splitlines():
        fields = line.split()
        if not _is_entry(fields):
            kept.append(line)
        elif point_of(fields) not in OWN_POINTS:
            reason = _why_unmounted(fields, exists, mappings)
            if reason:
                dropped.append(said("fstab", fields, reason))
            else:
                kept.append(line)
    options = ROOT_OPTIONS.get(filesystem, "defaults")
    own = [
        # By the name that the guest gives: every disk of the host can have the UUID of the file system.
        f"{device} / {filesystem} {options} 0 {1 if filesystem in CHECKED_AT_BOOT else 0}",
        # noauto: the EFI system partition is the host's, and nothing that runs needs it.
        f"LABEL={esp_label} /boot/efi vfat noauto,nodev,noexec,nosuid,umask=0077 0 0",
    ]
    return "\n".join([*own, *kept]).rstrip("\n") + "\n", dropped


def _why_unmounted(
    fields: t.Sequence[str], exists: Exists, mappings: t.Container[str]
) -> t.Optional[str]:
    source, kind, options = source_of(fields[0]), "".join(fields[2:3]), _options(fields, 3)
    path = path_of(fields[0])
    if kind == "swap" and path:
        return None if exists(path) else NO_FILE
    if is_on_demand(fields):
        return None
    if source.startswith("/dev/mapper/") and source[len("/dev/mapper/") :] in mappings:
        return None
    if is_of_host(fields):
        return OF_HOST
    if _DISK.match(source) or kind == "zfs":
        return OLD_DISK
    # systemd makes the source of a bind mount when it is missing; a missing file ends in its emergency mode.
    is_file = kind in _FILE_TYPES and not options & {"bind", "rbind"}
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
    """Return the table with the root's entry, and what had to go with the reason.

    Containers in files of the root stay, and so does what is opened on demand alone.
    """
    own = f"{name} UUID={luks_uuid} {key_file} {options}"
    kept, dropped = [], []
    for line in text.splitlines():
        fields = line.split()
        if not _is_entry(fields):
            kept.append(line)
        elif line != own:
            reason = "its name is that of the root" if fields[0] == name else None
            reason = reason or _why_closed(fields, exists)
            if reason:
                dropped.append(said("crypttab", fields, reason))
            else:
                kept.append(line)
    return "\n".join([*kept, own]).lstrip("\n") + "\n", dropped


def _why_closed(fields: t.Sequence[str], exists: Exists) -> t.Optional[str]:
    if is_opened_on_demand(fields):
        return None
    path = path_of(fields[1])
    if not path:
        return OLD_DISK
    if not exists(path):
        return NO_FILE
    if _options(fields, 3) & _EARLY:
        return "a file of the root cannot be opened before the root"
    return None


def stays_in_crypttab(fields: t.Sequence[str], exists: Exists) -> bool:
    """Say whether an entry is kept, unless its name is that of the root."""
    return _why_closed(fields, exists) is None


def key_of(fields: t.Sequence[str]) -> str:
    """Return the file that an entry of crypttab takes its key from; empty when there can be none."""
    named = fields[2] if len(fields) > 2 else "none"
    return f"{KEY_DIRECTORY}/{fields[0]}.key" if named in ("none", "-") else path_of(named)


def said(table: str, fields: t.Sequence[str], reason: str) -> str:
    """Say why a line goes, and name no more of it than a device and a name or mount point.

    The manifest has it, and options can hold a password.
    """
    return f"{table} line '{' '.join(fields[:2])}': {reason}"


__all__ = (
    "CHECKED_AT_BOOT",
    "KEY_DIRECTORY",
    "NO_FILE",
    "OF_HOST",
    "OLD_DISK",
    "OWN_POINTS",
    "ROOT_OPTIONS",
    "crypttab",
    "fstab",
    "headers",
    "is_memory",
    "is_of_host",
    "is_on_demand",
    "is_opened_on_demand",
    "key_of",
    "path_of",
    "point_of",
    "rows",
    "said",
    "source_of",
    "stays_in_crypttab",
    "swap_files",
)
