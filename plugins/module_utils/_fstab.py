# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""fstab(5) and crypttab(5) of an image: what an old machine's tables become. Pure."""

from __future__ import annotations

import re
import typing as t

# Where systemd-cryptsetup looks for the key of a mapping, NAME.key, since version 246 (crypttab(5)).
KEY_DIRECTORY = "/etc/cryptsetup-keys.d"
# Mount points that the image's own partitions take the place of.
OWN_POINTS = ("/", "/boot", "/boot/efi", "/efi", "/usr")
# What names a disk: gone with the old machine.
_DISK = re.compile(r"(UUID|LABEL|PARTUUID|PARTLABEL|ID)=|/dev/(?!fd|shm|null)")

ROOT_OPTIONS = {"ext4": "errors=remount-ro"}
# fsck(8) has nothing to do for the others: they are checked as they are mounted.
CHECKED_AT_BOOT = ("ext4",)


def fstab(
    text: str, *, root_uuid: str, filesystem: str, esp_label: str
) -> t.Tuple[str, t.List[str]]:
    """Return the new table and the lines that had to go.

    Comments and everything that names no disk (tmpfs, network, bind mounts) stay.
    """
    kept, dropped = [], []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 2 or line.lstrip().startswith("#"):
            kept.append(line)
            continue
        disk = bool(_DISK.match(fields[0]))
        if fields[1] in OWN_POINTS or disk:
            dropped.append(line)
        else:
            kept.append(line)
    options = ROOT_OPTIONS.get(filesystem, "defaults")
    own = [
        f"UUID={root_uuid} / {filesystem} {options} 0 {1 if filesystem in CHECKED_AT_BOOT else 0}",
        # nofail: nothing that runs needs the EFI system partition, and no boot should fail for it.
        f"LABEL={esp_label} /boot/efi vfat umask=0077,nofail 0 2",
    ]
    dropped = [line for line in dropped if line not in own]
    return "\n".join([*own, *kept]).rstrip("\n") + "\n", dropped


def crypttab(
    text: str, *, name: str, luks_uuid: str, key_file: str, options: str
) -> t.Tuple[str, t.List[str]]:
    """Return the table with the root's entry, and the lines of disks of an old machine that had to go."""
    own = f"{name} UUID={luks_uuid} {key_file} {options}"
    kept, dropped = [], []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 2 or line.lstrip().startswith("#"):
            kept.append(line)
        elif line != own:
            dropped.append(line)
    return "\n".join([*kept, own]).lstrip("\n") + "\n", dropped


__all__ = ("KEY_DIRECTORY", "OWN_POINTS", "ROOT_OPTIONS", "crypttab", "fstab")
