# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Check what an image says about itself before it is used in a command or path, or selects a role. Pure functions.

An impossible answer is an error: a program of the root has made it up.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    boot_files,
    generator_commands,
)
from ansible_collections.sealedroot.image.plugins.module_utils._root import findings, needs
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures
from ansible_collections.sealedroot.image.plugins.plugin_utils._answers import short

Values = t.Mapping[str, t.Any]

# Answers that can change when packages are installed or the user's own steps run. What was left out of the tar, and its
# notes, stay true; the tables of file systems are written later.
CHANGES = (
    *("has", "initramfs", "kernel_disks", "kernels", "missing_growth_packages", "missing_packages"),
    *("os_release", "problems", "secure_boot", "unpacked_bytes"),
)
_WORD = re.compile(r"[a-z0-9_]{1,64}")
_PLATFORM = re.compile(r"[a-z0-9_-]{1,64}")
_BOOT_FILE = re.compile(rf"/boot(/{boot_files.VERSION.pattern}){{1,4}}")
_POLICY = re.compile(r"(etc/selinux/[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}/policy/policy\.[0-9]{1,4})?")
_POLICY_TYPE = re.compile(r"([A-Za-z0-9_-][A-Za-z0-9._-]{0,63})?")

MOST_PACKAGES = 50_000
# Lines of each package manager: name, version and, if it lists it, architecture.
_PACKAGES = {
    "alpm": re.compile(r"[A-Za-z0-9@_+][A-Za-z0-9@._+-]* [A-Za-z0-9:._+~-]+"),
    "deb": re.compile(r"[a-z0-9][a-z0-9+.-]* [A-Za-z0-9][A-Za-z0-9:.+~-]* [a-z0-9-]+"),
    "rpm": re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]* [A-Za-z0-9:._+~^-]+ ([A-Za-z0-9_]+|\(none\))"),
}


class ImpossibleError(Exception):
    """No image can give this answer about itself."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}. A program in the root answered what it liked, so nothing of it was used: look at where the root"
            " is from, and at what was installed in it."
        )


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


def _each(
    what: str, values: t.Iterable[str], allowed: t.Union[t.Container[str], t.Pattern[str]]
) -> None:
    """Refuse a value that is not in a list of allowed values, or does not match a pattern."""
    for value in values:
        fits = allowed.fullmatch(value) if isinstance(allowed, re.Pattern) else value in allowed
        if not fits:
            raise ImpossibleError(f"In the image {what} is {short(value, 128)!r}")


def _check_programs(found: Values, family: Values) -> None:
    generators = [name for name in needs.INITRAMFS_NEEDS if name in family["packages"]]
    # A generator that only another family has is reported in the problems.
    if found["initramfs"] and not found["problems"]:
        _each("what builds the initramfs", [found["initramfs"]], generators)
    _each("a kernel", [*found["kernels"], *found["kernel_disks"]], boot_files.VERSION)
    for disks in found["kernel_disks"].values():
        _each("a driver of a kernel", disks, findings.DISKS)
    has = found["has"]
    _each("a platform of GRUB", [*has["grub_platforms"], *has["grub_modules"]], _PLATFORM)
    for modules in has["grub_modules"].values():
        _each("a module of GRUB", modules, _WORD)
    _each("the policy of SELinux", [has["selinux"]["policy"]], _POLICY)
    _each("the type of SELinux's policy", [has["selinux"]["type"]], _POLICY_TYPE)


def _check_packages(found: Values, family: Values, words: t.Mapping[str, str]) -> None:
    tables = (family["packages"], *(family.get("packages_of") or {}).values())
    names = {name.format_map(words) for table in tables for name in table.values()}
    for key in ("missing_packages", "missing_growth_packages"):
        _each("a package that is missing", found[key], names)


def _check_signed(found: Values, family: Values, words: t.Mapping[str, str]) -> None:
    """Check the paths of signed boot files: each is one of the family's, or empty."""
    for name in needs.SIGNED if found else ():
        paths = [f"/{path}" for path in needs.paths(family, name, words)]
        _each("a signed boot file", [found[name]], ["", *paths])
    _each("a module of the signed GRUB", found.get("missing_modules", ()), _WORD)


def initramfs_script(generator: str, kernels: t.Sequence[Values], epoch: int = 0) -> str:
    """Return the script that makes the initramfs of each kernel, after checking every word used in it."""
    _each("what builds the initramfs", [generator], needs.INITRAMFS_NEEDS)
    _each("a kernel", [row["version"] for row in kernels], boot_files.VERSION)
    _each("an initramfs", [row["path"] for row in kernels], _BOOT_FILE)
    return generator_commands.script(generator, kernels, epoch)


def package_list(lines: t.Sequence[str], kind: str) -> t.List[str]:
    """Return the packages that the image's package manager listed, one per line, in order: rpm has none of its own."""
    if len(lines) > MOST_PACKAGES:
        raise ImpossibleError(f"The image lists more than {MOST_PACKAGES} packages")
    for line in lines:
        if len(line) > 512 or not _PACKAGES[kind].fullmatch(line):
            raise ImpossibleError(f"The image lists a package as {short(line, 128)!r}")
    return sorted(lines)


__all__ = ("CHANGES", "ImpossibleError", "initramfs_script", "package_list", "root_now")
