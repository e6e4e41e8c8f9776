# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Check whether a root can become the requested image, and plan what the build will do for that. Pure.

A table of checks; each returns a sentence or ''.
"""

from __future__ import annotations

import dataclasses
import math
import typing as t

from ansible.module_utils.common.text.formatters import bytes_to_human
from ansible_collections.sealedroot.image.plugins.module_utils._disk import layout
from ansible_collections.sealedroot.image.plugins.module_utils._grub import unlock_ways
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    filesystems,
)
from ansible_collections.sealedroot.image.plugins.plugin_utils import _specified

MIB = filesystems.MIB
# Beside the root: ESP and GPT, the new initramfs and GRUB's modules.
FIXED_BYTES = layout.BESIDE_ROOT + 64 * MIB
SWITCHED_ON = ("enforcing", "permissive")


@dataclasses.dataclass(frozen=True)
class Wish:
    """The requested image, and the *root* as described by `root_info`.

    *installs* says whether the build can install missing packages.
    """

    root: t.Mapping[str, t.Any]
    inputs: t.Mapping[str, t.Any]
    families: t.Sequence[t.Mapping[str, t.Any]]
    installs: bool

    def is_set(self, name: str) -> bool:
        return _specified.is_set(self.inputs[name])

    @property
    def missing(self) -> t.List[str]:
        """Return the packages that the root lacks to boot and to be unlocked, as far as its family is known."""
        family = next((it for it in self.families if it["name"] == self.root["family"]), None)
        needs = [
            need
            for way in unlock_ways.chosen(self.inputs["image_unlock"])
            for need in way.packages
            if not self.root["has"][need]
        ]
        return [*self.root["missing_packages"], *(family["packages"][it] for it in needs if family)]

    @property
    def luks(self) -> t.Mapping[str, str]:
        return t.cast("t.Mapping[str, str]", self.inputs["__image_luks"])

    @property
    def selinux(self) -> str:
        return str(self.inputs["__image_selinux"])

    @property
    def has_selinux_on(self) -> bool:
        """Say whether SELinux of the root is on when the machine runs."""
        has = self.root["has"]["selinux"]
        return bool(has["policy"]) and has["mode"] in SWITCHED_ON

    @property
    def is_to_be_labelled(self) -> bool:
        """Say whether the stage selinux has to label the image or its first boot."""
        return self.selinux in ("label", "relabel_at_boot") or (
            self.selinux == "auto" and self.has_selinux_on
        )


def plan(wish: Wish) -> t.Dict[str, t.Any]:
    """Return *problems*, sentences that say why the root cannot become the image, and facts for the next stages."""
    grow, required = wish.is_set("__image_grow"), wish.is_set("__image_grow_required")
    lacks = wish.root["missing_growth_packages"]
    return {
        "problems": [it for it in (check(wish) for check in CHECKS) if it],
        "missing_packages": [*wish.missing, *(lacks if required else [])],
        "grows": grow and (not lacks or (required and wish.installs)),
        "selinux_plan": {
            "active": wish.has_selinux_on and wish.selinux != "off",
            "stage": wish.is_to_be_labelled,
        },
    }


def _architecture(wish: Wish) -> str:
    found, wanted = wish.root["architecture"], wish.inputs["image_architecture"]
    if found == wanted:
        return ""
    return (
        f"{wish.root['path']} is a root for {found}, but the image is to be {wanted}. Take a root of that"
        " architecture, or set image_architecture."
    )


def _family(wish: Wish) -> str:
    if wish.root["family"]:
        return ""
    name = wish.root["os_release"].get("PRETTY_NAME", "no os-release")
    known = ", ".join(it for family in wish.families for it in family["ids"])
    return (
        f"{wish.root['path']} holds {name}, which no family of this collection knows. Take a root of one of"
        f" {known}, or of a relative (ID_LIKE in os-release)."
    )


def _secure_boot(wish: Wish) -> str:
    name = wish.root["family"]
    signs = {it["name"] for it in wish.families if "secure_boot" in it}
    if not wish.is_set("image_secure_boot") or not name or name in signs:
        return ""
    return (
        f"Of the family {name}, to which the root in {wish.root['path']} belongs, no boot loader is known that"
        " Microsoft's keys start. Do not set image_secure_boot, or take a root of another family."
    )


def _packages(wish: Wish) -> str:
    if not wish.missing or wish.installs:
        return ""
    return (
        f"{wish.root['path']} lacks what an encrypted boot needs. Install {' '.join(wish.missing)}"
        " in the root and pack it again, or let the build install it with 'image_packages: auto'."
    )


def _growth(wish: Wish) -> str:
    lacks = wish.root["missing_growth_packages"]
    if not wish.is_set("__image_grow_required") or not lacks or wish.installs:
        return ""
    return (
        f"image_grow is true, but {wish.root['path']} lacks what its root needs to grow. Install {' '.join(lacks)}"
        " in the root and pack it again, let the build install it with 'image_packages: auto', or leave image_grow"
        " out."
    )


def _problems(wish: Wish) -> str:
    if not wish.root["problems"]:
        return ""
    return f"{wish.root['path']} cannot become an encrypted image as it is. {' '.join(wish.root['problems'])}"


def _grub_install(wish: Wish) -> str:
    """Debian's grub package runs grub-install at every update."""
    is_known = wish.root["family"] != "debian" or wish.root["has"]["grub_install_luks2"]
    if wish.luks["type"] != "luks2" or is_known:
        return ""
    return (
        f"The GRUB in {wish.root['path']} reads LUKS2, but its grub-install does not know it, so the first"
        " update of GRUB would leave a machine that does not boot. Choose type luks1 in image_luks, the default, or"
        " install a newer GRUB (2.12, or Debian's 2.06) in the root and pack it again."
    )


def _disk_driver(wish: Wish) -> str:
    drivers = [it for disks in wish.root["kernel_disks"].values() for it in disks]
    if not wish.is_set("image_boot_test") or not wish.root["kernels"] or "virtio_blk" in drivers:
        return ""
    return (
        f"No kernel in {wish.root['path']} has the driver virtio_blk, which the boot test needs. Install the"
        " kernel's other modules in the root and pack it again, or set image_boot_test to false."
    )


def _signed_grub(wish: Wish) -> str:
    found = wish.root.get("secure_boot", {})
    lacks = found.get("missing_modules", [])
    if not lacks:
        return ""
    return (
        f"The signed GRUB in {wish.root['path']} ({found.get('grub', '')}) has no {' and no '.join(lacks)}, and"
        " under Secure Boot it loads no module, so it could not read its own disk. Set image_luks to what it can"
        " read (type luks1 and hash sha256, the default), take a root with a newer signed GRUB, or do not set"
        " image_secure_boot."
    )


def _grub_modules(wish: Wish) -> str:
    """If the whole platform is missing, its package is reported instead."""
    modules = wish.root["has"]["grub_modules"]
    platform = architectures.find(wish.inputs["image_architecture"]).grub_platform
    if platform not in modules:
        return ""
    luks = "luks2" if wish.luks["type"] == "luks2" else "luks"
    filesystem = filesystems.find(wish.inputs["image_filesystem"]).grub_module
    needed = (luks, f"gcry_{wish.luks['hash']}", filesystem)
    lacks = [it for it in needed if it not in modules[platform]]
    if not lacks:
        return ""
    return (
        f"The GRUB in {wish.root['path']} has no module {' and no '.join(lacks)}, so it could not read its own"
        " disk. Set image_luks and image_filesystem to what it can read (type luks1, hash sha256 and ext4, the"
        " defaults), or install a GRUB that has it (luks2 is in GRUB 2.06 and later) in the root and pack it"
        " again."
    )


def _unlock(wish: Wish) -> str:
    """If the whole platform is missing, its package is reported instead."""
    has = wish.root["has"]
    modules = has["grub_modules"]
    platform = architectures.find(wish.inputs["image_architecture"]).grub_platform
    for way in unlock_ways.chosen(wish.inputs["image_unlock"]):
        lacks = [it for it in way.modules if it not in modules.get(platform, way.modules)]
        if platform in modules and (lacks or way.name not in has["grub_unlocks"]):
            why = (
                f"has no module {' and no '.join(lacks)}" if lacks else f"is older than {way.grub}"
            )
            return (
                f"The GRUB in {wish.root['path']} {why}, which {way.name} in image_unlock needs. Take a root with GRUB"
                f" {way.grub} or later ({way.distribution}), or another way."
            )
    return ""


def _selinux_policy(wish: Wish) -> str:
    has = wish.root["has"]["selinux"]
    if wish.selinux not in ("label", "relabel_at_boot") or has["policy"]:
        return ""
    return (
        f"image_selinux is {wish.selinux}, but {wish.root['path']} has no policy of the type that its"
        f" /etc/selinux/config names ({has['type']}). Install selinux-policy-default (Debian) or"
        " selinux-policy-targeted (Fedora) in the root and pack it again, or set image_selinux to auto."
    )


def _selinux_off(wish: Wish) -> str:
    policy = wish.root["has"]["selinux"]["policy"]
    if wish.selinux != "relabel_at_boot" or not policy or wish.has_selinux_on:
        return ""
    return (
        f"image_selinux is relabel_at_boot, but /etc/selinux/config in {wish.root['path']} does not switch SELinux"
        " on, so no boot would relabel. Set SELINUX=enforcing or SELINUX=permissive there, or image_selinux to"
        " label."
    )


def _setfiles(wish: Wish) -> str:
    has = wish.root["has"]["selinux"]
    if not wish.is_to_be_labelled or not has["policy"] or has["setfiles"]:
        return ""
    return (
        f"{wish.root['path']} has an SELinux policy but no setfiles, so it cannot be labelled. Install"
        " policycoreutils in the root and pack it again, or set image_selinux to off."
    )


def _size(wish: Wish) -> str:
    """A tenth of the disk is reserved for journal, inode tables and reserved blocks."""
    size = wish.inputs["image_size"]
    disk, unpacked = layout.size_bytes(size), wish.root["unpacked_bytes"]
    overhead = filesystems.find(wish.inputs["image_filesystem"]).overhead
    needed = unpacked + FIXED_BYTES + overhead
    if needed + disk // 10 <= disk:
        return ""
    return (
        f"image_size {size} is too small, since the root takes {bytes_to_human(unpacked)} unpacked. Set image_size"
        f" to at least {math.ceil(needed / 0.9 / MIB)}MiB."
    )


CHECKS: t.Tuple[t.Callable[[Wish], str], ...] = (
    *(_architecture, _family, _secure_boot, _packages, _growth, _problems, _grub_install),
    *(_disk_driver, _signed_grub, _grub_modules, _unlock),
    *(_selinux_policy, _selinux_off, _setfiles, _size),
)

__all__ = ("CHECKS", "Wish", "plan")
