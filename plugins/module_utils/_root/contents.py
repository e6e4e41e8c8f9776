# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What a tar of a root contains, judged by the listing of tar(1): pure."""

from __future__ import annotations

import re
import struct
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._grub import unlock_ways
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    boot_files,
    generators,
)
from ansible_collections.sealedroot.image.plugins.module_utils._root import tar
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    filesystems,
)

# Each root has one of these programs as a regular file.
PROGRAMS = (
    *("usr/bin/dash", "bin/dash", "usr/bin/bash", "bin/bash", "usr/bin/busybox", "bin/busybox"),
    *("usr/bin/dpkg", "usr/lib/systemd/systemd", "lib/systemd/systemd", "usr/bin/ls", "bin/ls"),
)
# The root of a container has no init.
INITS = {"sbin/init", "usr/sbin/init", "usr/bin/init", "bin/init", "init"}

# The modules of GRUB that not every GRUB has.
_GRUB_MODULE = re.compile(
    r"usr/(?:lib/grub|share/grub2)/([\w-]+)/"
    r"(normal|luks2?|gcry_sha(?:256|512)|{})\.mod".format(
        "|".join(
            sorted(
                {it for way in unlock_ways.WAYS.values() for it in way.modules}
                | {it.grub_module for it in filesystems.FILESYSTEMS.values()}
            )
        )
    ),
    re.ASCII,
)


def machine(program: bytes) -> str:
    """Return the architecture of an ELF program, or an empty string."""
    if len(program) < 20 or program[:4] != b"\x7fELF":
        return ""
    order = "<" if program[5] == 1 else ">"
    number = struct.unpack(f"{order}H", program[18:20])[0]
    return architectures.of_elf(number)


def kernels(members: t.Iterable[tar.Member]) -> t.List[str]:
    """Return the versions that have both a kernel in /boot and modules.

    Arch names the kernel in /boot by its package, whose name is in the file ``pkgbase`` of the modules (mkinitcpio(8)).
    """
    names = {member.name for member in members}
    modules = {
        match.group(1)
        for match in (re.match(r"(?:usr/)?lib/modules/([^/]+)(?:/|$)", name) for name in names)
        if match
    }
    named_by_package = {
        version for version in modules if f"usr/lib/modules/{version}/pkgbase" in names
    }
    in_boot = boot_files.kernels(name[len("boot/") :] for name in names if name.startswith("boot/"))
    return sorted(modules & ({*in_boot, *named_by_package} if in_boot else set()))


def abilities(members: t.Iterable[tar.Member]) -> t.Dict[str, t.Any]:
    """Say which programs that an encrypted boot may need are there."""
    names = {member.name for member in members}

    def program(*tools: str) -> bool:
        return generators.has_program(names.__contains__, *tools)

    def part_of_systemd(name: str) -> bool:
        return bool({f"usr/lib/systemd/{name}", f"lib/systemd/{name}"} & names)

    modules = [match for match in map(_GRUB_MODULE.fullmatch, names) if match]
    platforms = {match.group(1) for match in modules if match.group(2) == "normal"}
    return {
        "grub_mkimage": program("grub-mkimage", "grub2-mkimage"),
        "grub_mkconfig": program("grub-mkconfig", "grub2-mkconfig"),
        "grub_fstest": program("grub-fstest", "grub2-fstest"),
        "grub_platforms": sorted(platforms),
        "grub_modules": {
            platform: sorted(
                match.group(2)
                for match in modules
                if match.group(1) == platform and match.group(2) != "normal"
            )
            for platform in sorted(platforms)
        },
        **{name: generators.has(names.__contains__, name) for name in generators.PROGRAMS},
        "cryptsetup_initramfs": program("cryptsetup")
        and "usr/share/initramfs-tools/hooks/cryptroot" in names,
        "init": bool(INITS & names),
        **{it.program: program(it.program) for it in filesystems.FILESYSTEMS.values()},
        "sfdisk": program("sfdisk"),
        "partx": program("partx"),
        "cryptsetup": program("cryptsetup"),
        "systemd_cryptsetup": part_of_systemd("systemd-cryptsetup"),
        "python3": program("python3"),
        "tpm2_tools": program("tpm2_create"),
        "openssh_server": program("sshd"),
        "systemd": part_of_systemd("systemd"),
    }


def initramfs(members: t.Iterable[tar.Member]) -> str:
    """Name the generator of the initramfs: ``initramfs_tools``, ``dracut``, ``mkinitcpio``; empty if there is none."""
    return generators.active({member.name for member in members}.__contains__)


__all__ = ("PROGRAMS", "abilities", "initramfs", "kernels", "machine")
