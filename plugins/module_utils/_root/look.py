# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Everything that a build needs to know about a root, from its file names and the content of a few files: pure."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import formats
from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    fstab,
    os_release as etc_os_release,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import boot_files
from ansible_collections.sealedroot.image.plugins.module_utils._root import (
    contents,
    findings,
    growth,
    needs,
    tar,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    filesystems,
    printable,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# Largest program or table that is read from a root, in bytes.
MOST = 16 << 20
# The arguments of the modules root_info and root_tar that :func:`describe` gets; a fragment documents them.
ARGUMENTS: t.Dict[str, t.Any] = {
    "filesystem": filesystems.ARGUMENT,
    "families": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "ids": {"type": "list", "elements": "str", "required": True},
            "boot_entries": {"type": "bool", "default": False},
            "package_list": {"type": "dict", "default": {}},
            "packages": {"type": "dict", "required": True},
            "packages_of": {"type": "dict", "default": {}},
            "secure_boot": {"type": "dict", "default": {}},
        },
    },
    "secure_boot": {
        "type": "dict",
        "options": {
            "luks_type": {"type": "str", "choices": ["luks1", "luks2"], "default": "luks1"},
            "hash": {"type": "str", "default": "sha256"},
            "filesystem": filesystems.ARGUMENT,
        },
    },
}


def asked(params: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Return those parameters of a module that :func:`describe` gets."""
    return {name: params[name] for name in ARGUMENTS}


def wanted(
    members: t.Sequence[tar.Member],
    families: t.Sequence[t.Mapping[str, t.Any]],
    *,
    signed: bool,
) -> t.List[t.Tuple[str, ...]]:
    """Return the files whose content :func:`describe` needs, each with its possible names."""
    names = [contents.PROGRAMS, etc_os_release.OS_RELEASES, needs.SELINUX_CONFIGS]
    names += [*findings.wanted(members), *((it,) for it in needs.cryptodisks(members))]
    return names + [(name,) for name in needs.signed_grubs(families)] if signed else names


def describe(
    path: str,
    members: t.Sequence[tar.Member],
    data: t.Mapping[str, bytes],
    *,
    families: t.Sequence[t.Mapping[str, t.Any]],
    filesystem: str,
    secure_boot: t.Optional[t.Mapping[str, str]],
) -> t.Dict[str, t.Any]:
    """Describe the root in *path*; *data* has the content of the files that :func:`wanted` returns."""
    program = next((data[name] for name in contents.PROGRAMS if name in data), b"")
    release = next((data[name] for name in etc_os_release.OS_RELEASES if name in data), b"")
    architecture = contents.machine(program)
    root = findings.Root(members, data)
    if not architecture:
        lost = "/usr" in map(fstab.point_of, fstab.rows(root.text(findings.FSTAB)))
        if lost and not root.holds("/usr"):
            raise SealedRootError(f"{path} is not a whole root. {findings.elsewhere('/usr')}")
        other = formats.in_archive(member.name for member in members)
        if other:
            raise SealedRootError(f"{path} {other}")
        raise SealedRootError(
            f"{path} has no shell and no other program in usr/bin or bin: pack the root directory"
            " itself, so that its members are ./usr, ./etc and so on"
        )
    os_release = etc_os_release.parse_os_release(release.decode("utf-8", "replace"))
    family = etc_os_release.family(os_release, families)
    selinux = data.get(needs.SELINUX_CONFIGS[0], b"").decode("utf-8", "replace")
    try:
        has = {**contents.abilities(members), "selinux": needs.selinux(members, selinux)}
    except SealedRootError as exc:
        raise SealedRootError(f"{path} cannot be used: {exc}, and pack the root again") from exc
    kernels = contents.kernels(members)
    generator = contents.initramfs(members)
    judged = findings.judge(root, kernels, filesystem)
    modules = findings.drivers(root)
    excluded = set(judged.excluded)
    missing: t.List[str] = []
    chain: t.Dict[str, t.Any] = {}
    # A root of an unknown architecture is refused anyway.
    if family and architecture in architectures.ARCHITECTURES:
        words = architectures.find(architecture).words()
        if secure_boot:
            chain = needs.signed_chain(members, data, family, words=words, header=secure_boot)
        missing = needs.missing_packages(
            has,
            # Do not report a missing kernel if a problem already explains it.
            has_kernel=bool(kernels) or judged.tells_of_kernel,
            filesystem=filesystem,
            generator=generator,
            packages=needs.packages_of(family, os_release),
            words=words,
            without=needs.unsigned(chain, family),
        )
        judged.problems += needs.unknown_generator(generator, family)
    return {
        **({"secure_boot": chain} if secure_boot else {}),
        "entries": len(members),
        "unpacked_bytes": tar.unpacked_bytes(
            member for member in members if tar.plain(member.raw) not in excluded
        ),
        "architecture": architecture,
        "os_release": os_release,
        "family": family.get("name", ""),
        "kernels": kernels,
        "kernel_disks": {
            it: findings.disks(modules.get(it, ()))
            for it in kernels
            # A name that is no version is one of the problems.
            if boot_files.VERSION.fullmatch(it)
        },
        "has": {
            **has,
            "grub_install_luks2": findings.grub_install_knows_luks2(root),
            "grub_unlocks": needs.unlocks(members, data),
        },
        "initramfs": generator,
        "missing_packages": missing,
        "missing_growth_packages": growth.missing_packages(
            has,
            filesystem=filesystem,
            packages=needs.packages_of(family, os_release) if family else {},
        ),
        "problems": printable.result(judged.problems),
        "notes": printable.result(judged.notes),
        "left_out": printable.result(judged.left_out),
        "excluded": judged.excluded,
    }


__all__ = ("ARGUMENTS", "MOST", "asked", "describe", "wanted")
