# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Compare a root with what an encrypted boot needs, and name the packages for the rest: pure."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import selinux as etc_selinux
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    core_image,
    signed_chain as grub_signed_chain,
    unlock_ways,
)
from ansible_collections.sealedroot.image.plugins.module_utils._root.tar import Member, pick
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    filesystems,
)

# The programs of a Secure Boot chain; the last one is not needed to boot.
SIGNED = ("shim", "grub", "mok_manager")
SELINUX_CONFIGS = (etc_selinux.CONFIG.lstrip("/"),)
# What a root needs in addition to the generator of its initramfs.
INITRAMFS_NEEDS = {
    "initramfs_tools": ("cryptsetup_initramfs",),
    "dracut": ("cryptsetup", "systemd_cryptsetup"),
    "mkinitcpio": ("cryptsetup",),
}


def paths(family: t.Mapping[str, t.Any], name: str, words: t.Mapping[str, str]) -> t.List[str]:
    """Return the paths where *family* has its signed file *name*, one of SIGNED; the preferred path comes first.

    The family's paths contain names of *words*, the architecture's, in braces.
    """
    candidates = (family.get("secure_boot") or {}).get(name, ())
    return [path.format_map(words).lstrip("/") for path in candidates]


def signed_grubs(families: t.Iterable[t.Mapping[str, t.Any]]) -> t.List[str]:
    """Return the paths of signed GRUBs in all families: the root's family is known only after reading."""
    return [
        path
        for family_ in families
        for arch in architectures.ARCHITECTURES.values()
        for path in paths(family_, "grub", arch.words())
    ]


def signed_chain(
    members: t.Sequence[Member],
    data: t.Mapping[str, bytes],
    family_: t.Mapping[str, t.Any],
    *,
    words: t.Mapping[str, str],
    header: t.Mapping[str, str],
) -> t.Dict[str, t.Any]:
    """Return the path of each signed file, empty if missing, and the modules that the signed GRUB lacks for its disk.

    *data* has the content of the signed GRUB, by name; *header* the luks_type, hash and filesystem to read.
    """
    programs = {name: pick(members, paths(family_, name, words)) for name in SIGNED}
    grub = programs["grub"]
    core = core_image.parse(data[grub.name]) if grub else None
    modules = core.modules if core else frozenset()
    return {
        **{name: f"/{member.name}" if member else "" for name, member in programs.items()},
        "missing_modules": grub_signed_chain.missing_modules(modules, **header) if grub else [],
    }


def cryptodisks(members: t.Iterable[Member]) -> t.List[str]:
    """Return the names of GRUB's module that opens volumes, of each platform."""
    file, places = f"/{unlock_ways.CRYPTODISK}.mod", ("usr/lib/grub/", "usr/share/grub2/")
    return [
        it.name
        for it in members
        if it.type in "-h" and it.name.startswith(places) and it.name.endswith(file)
    ]


def unlocks(members: t.Iterable[Member], data: t.Mapping[str, bytes]) -> t.List[str]:
    """Return the ways to unlock that GRUB in the root is new enough for; *data* has the content of that module."""
    codes = [data.get(name, b"") for name in cryptodisks(members)]
    return [
        name for name, way in unlock_ways.WAYS.items() if all(way.sign in code for code in codes)
    ]


def selinux(members: t.Iterable[Member], config_text: str) -> t.Dict[str, t.Any]:
    """Return the SELinux policy that is effective in the root; *config_text* is ``/etc/selinux/config``.

    *policy* is empty if there is none of that type with file contexts.
    """
    names = {member.name for member in members}
    config = etc_selinux.parse_config(config_text)
    top = config.directory.lstrip("/")
    directory = f"{top}/policy/"
    policy = etc_selinux.newest_policy(
        name[len(directory) :] for name in names if name.startswith(directory)
    )
    if not config_text or f"{top}/contexts/files/file_contexts" not in names:
        policy = ""
    return {
        "mode": config.mode,
        "type": config.type,
        "policy": f"{directory}{policy}" if policy else "",
        "setfiles": bool({"usr/sbin/setfiles", "sbin/setfiles", "usr/bin/setfiles"} & names),
    }


def packages_of(family: t.Mapping[str, t.Any], os_release: t.Mapping[str, str]) -> t.Dict[str, str]:
    """Return *family*'s package names in the distribution that os-release(5) names."""
    others = (family.get("packages_of") or {}).get(os_release.get("ID", ""), {})
    return {**family["packages"], **others}


def unsigned(chain: t.Mapping[str, t.Any], family: t.Mapping[str, t.Any]) -> t.List[str]:
    """Return which of shim and grub Secure Boot needs and the root lacks, if the family has them."""
    known = chain if family.get("secure_boot") else {}
    return [name for name in ("shim", "grub") if name in known and not known[name]]


def missing_packages(
    has: t.Mapping[str, t.Any],
    *,
    has_kernel: bool,
    filesystem: str = "ext4",
    generator: str,
    packages: t.Mapping[str, str],
    words: t.Mapping[str, str],
    without: t.Sequence[str] = (),
) -> t.List[str]:
    """Return the packages that a root lacks to boot encrypted.

    *generator* builds its initramfs; if empty, the family's own is reported, the first in *packages*. *packages* has
    the family's package for each need, with names of the architecture's *words* in braces; every root of the family
    meets a need without a package.
    *without* lists which of shim and grub Secure Boot needs and are missing.
    """
    missing = [] if has["init"] else ["init"]
    if not has_kernel:
        missing.append("kernel")
    if not (has["grub_mkimage"] and has["grub_mkconfig"]):
        missing.append("grub")
    elif words["grub_platform"] not in has["grub_platforms"]:
        missing.append("grub_modules")
    if not generator:
        generator = next(name for name in packages if name in INITRAMFS_NEEDS)
        missing.append(generator)
    needs = INITRAMFS_NEEDS[generator]
    missing += [need for need in needs if not has[need] and need in packages]
    kind = filesystems.find(filesystem)
    if kind.debian_packages and not has[kind.program]:
        missing.append(kind.program)
    missing += [f"signed_{name}" for name in without]
    return [packages.get(need, need.replace("_", " ")).format_map(words) for need in missing]


def unknown_generator(generator: str, family: t.Mapping[str, t.Any]) -> t.List[str]:
    """Report a generator of the initramfs for which the family has no role."""
    known = [name for name in INITRAMFS_NEEDS if name in family["packages"]]
    if not generator or generator in known:
        return []
    return [
        f"Its initramfs is built by {generator}, and for the family {family['name']} only"
        f" {' and '.join(known)} can be used. Install {family['packages'][known[0]]} in the root instead."
    ]


__all__ = (
    "INITRAMFS_NEEDS",
    "SELINUX_CONFIGS",
    "SIGNED",
    "cryptodisks",
    "missing_packages",
    "packages_of",
    "paths",
    "selinux",
    "signed_chain",
    "signed_grubs",
    "unknown_generator",
    "unlocks",
    "unsigned",
)
