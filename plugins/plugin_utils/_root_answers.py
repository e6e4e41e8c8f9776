# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Check what an image says about itself before it is used in a command or path, or selects a role. Pure functions.

An impossible answer is an error: a program of the root has made it up.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import boot_files
from ansible_collections.sealedroot.image.plugins.module_utils._root import needs
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures
from ansible_collections.sealedroot.image.plugins.plugin_utils._answers import short
from ansible_collections.sealedroot.image.plugins.plugin_utils._printed import (
    ImpossibleError,
    check_each,
)

Values = t.Mapping[str, t.Any]

# Answers that can change when packages are installed or the user's own steps run. What was left out of the tar, and its
# notes, stay true; the tables of file systems are written later.
CHANGES = (
    *("has", "initramfs", "kernel_disks", "kernels", "missing_growth_packages", "missing_packages"),
    *("os_release", "problems", "secure_boot", "unpacked_bytes"),
)
_WORD = re.compile(r"[a-z0-9_]{1,64}")
_PLATFORM = re.compile(r"[a-z0-9_-]{1,64}")
_POLICY = re.compile(r"(etc/selinux/[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}/policy/policy\.[0-9]{1,4})?")
_POLICY_TYPE = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]{0,63})?")


def root_now(tar: Values, found: Values, families: t.Sequence[Values]) -> t.Dict[str, t.Any]:
    """Return the facts of a root: those of the *tar*, updated by what was *found* in the image since then."""
    family = next((it for it in families if it["name"] == tar["family"]), None)
    if family is None:
        raise ImpossibleError(f"No family is called {short(tar['family'], 64)!r}")
    for key in ("architecture", "family"):
        if found[key] != tar[key]:
            said = short(found[key], 64)
            raise ImpossibleError(
                f"The {key} of the image was {tar[key]!r}, and now it is {said!r}"
            )
    words = architectures.find(tar["architecture"]).words()
    _check_programs(found, family)
    _check_packages(found, family, words)
    _check_signed(found.get("secure_boot", {}), family, words)
    return {**tar, **{key: found[key] for key in CHANGES if key in found}}


def _check_programs(found: Values, family: Values) -> None:
    generators = [name for name in needs.INITRAMFS_NEEDS if name in family["packages"]]
    # A generator that only another family has is reported in the problems.
    if found["initramfs"] and not found["problems"]:
        check_each("what builds the initramfs", [found["initramfs"]], generators)
    check_each("a kernel", [*found["kernels"], *found["kernel_disks"]], boot_files.VERSION)
    for disks in found["kernel_disks"].values():
        check_each("a driver of a kernel", disks, boot_files.DISKS)
    has = found["has"]
    check_each("a platform of GRUB", [*has["grub_platforms"], *has["grub_modules"]], _PLATFORM)
    for modules in has["grub_modules"].values():
        check_each("a module of GRUB", modules, _WORD)
    check_each("the policy of SELinux", [has["selinux"]["policy"]], _POLICY)
    check_each("the type of SELinux's policy", [has["selinux"]["type"]], _POLICY_TYPE)


def _check_packages(found: Values, family: Values, words: t.Mapping[str, str]) -> None:
    tables = (family["packages"], *(family.get("packages_of") or {}).values())
    names = {name.format_map(words) for table in tables for name in table.values()}
    for key in ("missing_packages", "missing_growth_packages"):
        check_each("a package that is missing", found[key], names)


def _check_signed(found: Values, family: Values, words: t.Mapping[str, str]) -> None:
    """Check the paths of signed boot files: each is one of the family's, or empty."""
    for name in needs.SIGNED if found else ():
        paths = [f"/{path}" for path in needs.paths(family, name, words)]
        check_each("a signed boot file", [found[name]], ["", *paths])
    check_each("a module of the signed GRUB", found.get("missing_modules", ()), _WORD)


__all__ = ("CHANGES", "root_now")
