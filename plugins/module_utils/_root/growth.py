# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Let a machine grow its encrypted root to the size of its disk: the script and unit, and what they need. Pure.

docs/growth.md gives the reason for each step.
"""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import fstab
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header
from ansible_collections.sealedroot.image.plugins.module_utils._system import filesystems

# A directory for the administrator's programs: no package uses it, and SELinux policies label its files as programs.
SCRIPT = "/usr/local/sbin/sealedroot-grow"
UNIT = "/etc/systemd/system/sealedroot-grow.service"
ENABLED = "/etc/systemd/system/sysinit.target.wants/sealedroot-grow.service"

_GROW = "\n".join(f"  {it.name}) {it.grow} ;;" for it in filesystems.FILESYSTEMS.values())
SCRIPT_TEXT = f"""\
#!/bin/sh
# Grows the encrypted root to its disk: partition, LUKS mapping, file system. Each step looks at what is there, so this
# can run at any time and again, and goes on where it was interrupted. sealedroot-grow.service runs it at boot.
set -eu
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
# Nothing may ask.
exec </dev/null

leave() {{
  echo "nothing to do: $1"
  exit 0
}}

# Without the subvolume that findmnt adds for Btrfs.
device=$(findmnt --noheadings --nofsroot --output SOURCE /)
mapping=/sys/class/block/$(basename "$(readlink -f "$device")")
case $(cat "$mapping/dm/uuid" 2>/dev/null) in
  CRYPT-LUKS*) name=$(cat "$mapping/dm/name") ;;
  *) leave "the root is not on a LUKS mapping" ;;
esac
set -- "$mapping"/slaves/*
partition=/sys/class/block/$(basename "$1")
if [ $# -ne 1 ] || [ ! -e "$partition/partition" ]; then
  leave "$name is not on one partition"
fi
number=$(cat "$partition/partition")
disk=$(basename "$(dirname "$(readlink -f "$partition")")")
start=$(cat "$partition/start")

# In sectors of 512 bytes, as sysfs counts, whatever the disk has. Whole MiB, and the last one is the backup table's.
mib=$((($(cat "/sys/class/block/$disk/size") - start) / 2048 - 1))
last=$(cat "/sys/class/block/$disk"/*/start | sort -n | tail -n 1)
if [ "$((mib * 2048))" -gt "$(cat "$partition/size")" ] && [ "$last" -eq "$start" ]; then
  echo "growing partition $number of $disk to $mib MiB"
  # Writes the backup of the table at the disk's new end, too. The kernel is told by partx, since it reads no table anew
  # of a disk in use. Locked, or udev would look at it meanwhile.
  echo ",${{mib}}MiB" | flock "/dev/$disk" sfdisk --quiet --no-reread --no-tell-kernel \\
    --wipe never --wipe-partitions never -N "$number" "/dev/$disk"
  partx --update --nr "$number" "/dev/$disk"
fi

# The header that the initramfs opened the disk with; the one on the disk is the host's.
header=$(ls {pinned_header.DIRECTORY}/*.header)
offset=$(cryptsetup status --header "$header" "$name" | sed -n 's/^ *offset: *\\([0-9]*\\) .*/\\1/p')
: "${{offset:?cryptsetup does not say where the data of $name begin}}"
if [ "$((offset + $(cat "$mapping/size")))" -lt "$(cat "$partition/size")" ]; then
  echo "growing the mapping $name"
  # The key is for LUKS2, whose volume key is in the kernel's keyring. It is the one that the initramfs has.
  uuid=$(cryptsetup luksUUID "$header")
  cryptsetup resize --header "$header" --key-file "{fstab.KEY_DIRECTORY}/luks-$uuid.key" "$name"
fi

kind=$(findmnt --noheadings --output FSTYPE /)
case $kind in
{_GROW}
  *) echo "this does not grow a file system of type $kind" >&2; exit 1 ;;
esac
"""

UNIT_TEXT = f"""\
# No boot fails or waits for ever because of this: what went wrong is in the journal, and the next boot tries again.
[Unit]
Description=Grow the encrypted root to its disk
DefaultDependencies=no
Conflicts=shutdown.target
# cryptsetup waits for udev.
After=systemd-remount-fs.service systemd-udevd.service
# So that every service finds the room, and cloud-init nothing to grow.
Before=sysinit.target cloud-init-local.service shutdown.target
ConditionPathIsReadWrite=/

[Service]
Type=oneshot
ExecStart={SCRIPT}
TimeoutStartSec=5min

[Install]
WantedBy=sysinit.target
"""

# Requirements of the script that not every root has, besides what opens the root; named as in contents.abilities.
_NEEDS = ("systemd", "sfdisk", "partx")


def missing_packages(
    has: t.Mapping[str, t.Any], *, filesystem: str, packages: t.Mapping[str, str]
) -> t.List[str]:
    """Return the packages that a root lacks to grow itself."""
    needs = [need for need in (*_NEEDS, filesystems.find(filesystem).program) if not has[need]]
    return sorted({packages.get(need, need) for need in needs})


def plan(tree: Tree, *, wanted: bool) -> None:
    """Plan the files that grow the root, or their removal."""
    if wanted:
        tree.write(SCRIPT, SCRIPT_TEXT, mode=0o755)
        tree.write(UNIT, UNIT_TEXT, mode=0o644)
        tree.link(ENABLED, UNIT)
        return
    for path in (ENABLED, UNIT, SCRIPT):
        tree.remove(path)


__all__ = (
    "ENABLED",
    "SCRIPT",
    "SCRIPT_TEXT",
    "UNIT",
    "UNIT_TEXT",
    "missing_packages",
    "plan",
)
