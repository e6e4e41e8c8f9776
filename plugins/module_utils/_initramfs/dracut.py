# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Configure dracut so that every initramfs unlocks the root: 059 of dracutdevs, and dracut-ng.

The kernel command line needs ``rd.luks.uuid``, so that the initramfs opens only the root and not the other disks of
crypttab(5); ``guest.py`` has it.
"""

from __future__ import annotations

import glob
import itertools
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import drop_ins, os_release
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    boot_files,
    generators,
    unlocked_root,
)

MODULES = "/usr/lib/dracut/modules.d"


def configuration(tree: Tree, params: t.Mapping[str, t.Any]) -> str:
    """Return the configuration of dracut, which later updates use as well."""
    # dracut-ng has a separate module that opens the disk; naming a module that does not exist stops dracut.
    split = glob.glob(tree.path(f"{MODULES}/[0-9][0-9]systemd-cryptsetup"))
    modules = " ".join(["systemd", "crypt", *(["systemd-cryptsetup"] if split else [])])
    key = unlocked_root.key_path(params["luks_uuid"])
    # Packages leave out the drivers of their own hardware, and no others are left out (docs/facts.md: dracut-lists).
    needed = {"dm_crypt", params["filesystem"], *itertools.chain(*boot_files.DISKS.values())}
    drivers = " | ".join(sorted({*needed, *(it.replace("_", "-") for it in needed)}))
    items = " ".join(["/etc/crypttab", key, *unlocked_root.installed("dracut", params)])
    return f"""\
# The root is encrypted, and GRUB has asked for the passphrase already.
# The machine that builds the initramfs need not be the one that boots it.
hostonly="no"
hostonly_cmdline="no"
add_dracutmodules+=" {modules} "
kept=
for word in ${{omit_dracutmodules-}}; do
    case $word in
        {modules.replace(" ", " | ")}) ;;
        *) kept+=" $word " ;;
    esac
done
omit_dracutmodules=$kept
kept=
for word in ${{omit_drivers-}}; do
    case $word in
        # An expression may be for any.
        *[!A-Za-z0-9_-]* | {drivers}) ;;
        *) kept+=" $word " ;;
    esac
done
omit_drivers=$kept
unset kept word
# Lists that narrow what it takes, to the disks of one machine, and lines of fstab for the initramfs. Empty ones are
# the default (docs/facts.md: dracut-lists).
drivers=""
dracutmodules=""
filesystems=""
add_fstab=""
fstab_lines=()
add_drivers+=" {params["filesystem"]} "
install_items+=" {items} "
# Words of the kernel in an initramfs would come to those of GRUB; these may be another machine's.
kernel_cmdline=""
# GRUB starts a kernel and an initramfs.
uefi="no"
# It would hold the key as well, and keep the old one when that is exchanged.
dracut_rescue_image="no"
"""


def missing(tree: Tree) -> t.List[str]:
    """Return the packages that the root lacks."""

    def exists(path: str) -> bool:
        return tree.exists(f"/{path}")

    packages = [
        name for name in ("dracut", "cryptsetup") if not generators.has_program(exists, name)
    ]
    opener = "lib/systemd/systemd-cryptsetup"
    return packages + ([] if exists(f"usr/{opener}") or exists(opener) else ["systemd-cryptsetup"])


def form(tree: Tree) -> str:
    """Return the name pattern of an initramfs if /boot has none yet."""
    # Debian's package has this hook.
    if any(tree.exists(f"/{top}/kernel/postinst.d/dracut") for top in ("etc", "usr/share")):
        return boot_files.DEBIAN
    release = os_release.parse_os_release(tree.text("/etc/os-release"))
    is_suse = "suse" in [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return boot_files.SUSE if is_suse else boot_files.FEDORA


def plan(tree: Tree, params: t.Mapping[str, t.Any]) -> t.List[str]:
    """Plan the configuration of dracut; return the missing packages."""
    tree.write(drop_ins.DRACUT, configuration(tree, params))
    return missing(tree)


HOW = unlocked_root.Generator(
    "dracut",
    unlocked_root.SYSTEMD_OPTIONS,
    plan,
    lambda tree: unlocked_root.kernels(tree, form(tree), others=True),
)

__all__ = ("HOW",)
