# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""All that a build has to know of a root, from its files' names and a few of their contents: pure."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils import (
    _architectures,
    _fstab,
    _growth,
    _root_findings,
    _root_needs,
    _root_tar,
)
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError
from ansible_collections.sealedroot.image.plugins.module_utils._system import printable

# What a program or a table of a root has at the most, in bytes.
MOST = 16 << 20
# What both modules that look are told; their documentation is theirs.
ARGUMENTS: t.Dict[str, t.Any] = {
    "filesystem": {"type": "str", "default": "ext4"},
    "families": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "name": {"type": "str", "required": True},
            "ids": {"type": "list", "elements": "str", "required": True},
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
            "filesystem": {"type": "str", "default": "ext4"},
        },
    },
}


def wanted(
    members: t.Sequence[_root_tar.Member],
    families: t.Sequence[t.Mapping[str, t.Any]],
    *,
    signed: bool,
) -> t.List[t.Tuple[str, ...]]:
    """Return the files whose content :func:`describe` needs, each as the names that it can have."""
    names = [_root_tar.PROGRAMS, _root_tar.OS_RELEASES, _root_needs.SELINUX_CONFIGS]
    names += _root_findings.wanted(members)
    return names + [(name,) for name in _root_needs.signed_grubs(families)] if signed else names


def describe(
    path: str,
    members: t.Sequence[_root_tar.Member],
    data: t.Mapping[str, bytes],
    *,
    families: t.Sequence[t.Mapping[str, t.Any]],
    filesystem: str,
    secure_boot: t.Optional[t.Mapping[str, str]],
) -> t.Dict[str, t.Any]:
    """Return what is in the root that *path* has; *data* has the content of what :func:`wanted` names."""
    asked = secure_boot
    program = next((data[name] for name in _root_tar.PROGRAMS if name in data), b"")
    release = next((data[name] for name in _root_tar.OS_RELEASES if name in data), b"")
    architecture = _root_tar.machine(program)
    root = _root_findings.Root(members, data)
    if not architecture:
        lost = "/usr" in map(_fstab.point_of, _fstab.rows(root.text(_root_findings.FSTAB)))
        if lost and not root.holds("/usr"):
            raise SealedRootError(f"{path} is not a whole root. {_root_findings.elsewhere('/usr')}")
        raise SealedRootError(
            f"{path} has no shell and no other program in usr/bin or bin: pack the root directory"
            " itself, so that its members are ./usr, ./etc and so on"
        )
    os_release = _root_tar.parse_os_release(release.decode("utf-8", "replace"))
    family = _root_tar.family(os_release, families)
    selinux = data.get(_root_needs.SELINUX_CONFIGS[0], b"").decode("utf-8", "replace")
    try:
        has = {**_root_tar.abilities(members), "selinux": _root_needs.selinux(members, selinux)}
    except SealedRootError as exc:
        raise SealedRootError(f"{path} cannot be used: {exc}, and pack the root again") from exc
    kernels = _root_tar.kernels(members)
    generator = _root_tar.initramfs(members)
    found = _root_findings.judge(root, kernels, filesystem)
    modules = _root_findings.drivers(root)
    excluded = set(found.excluded)
    missing: t.List[str] = []
    chain: t.Dict[str, t.Any] = {}
    # A root of another architecture is refused as it is.
    if family and architecture in _architectures.ARCHITECTURES:
        words = _architectures.find(architecture).words()
        if asked:
            chain = _root_needs.signed_chain(members, data, family, words=words, header=asked)
        # Why there is none is said better already.
        versions = kernels or (["explained"] if found.kernel_explained else [])
        missing = _root_needs.missing_packages(
            has,
            versions,
            filesystem=filesystem,
            generator=generator,
            packages=_root_needs.packages_of(family, os_release),
            words=words,
            without=_root_needs.unsigned(chain, family),
        )
        found.problems += _root_needs.unknown_generator(generator, family)
    return {
        **({"secure_boot": chain} if asked else {}),
        "entries": len(members),
        "unpacked_bytes": _root_tar.unpacked_bytes(
            member for member in members if _root_tar.plain(member.raw) not in excluded
        ),
        "architecture": architecture,
        "os_release": os_release,
        "family": family.get("name", ""),
        "kernels": kernels,
        "kernel_disks": {it: _root_findings.disks(modules.get(it, ())) for it in kernels},
        "has": {**has, "grub_install_luks2": _root_findings.grub_install_knows_luks2(root)},
        "initramfs": generator,
        "missing_packages": missing,
        "missing_growth_packages": _growth.missing_packages(
            has,
            filesystem=filesystem,
            packages=_root_needs.packages_of(family, os_release) if family else {},
        ),
        "problems": printable.result(found.problems),
        "notes": printable.result(found.notes),
        "left_out": printable.result(found.left_out),
        "excluded": found.excluded,
    }


__all__ = ("ARGUMENTS", "MOST", "describe", "wanted")
