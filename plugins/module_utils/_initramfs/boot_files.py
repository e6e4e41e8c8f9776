# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Names of kernels and their initramfs in /boot. Pure."""

from __future__ import annotations

import re
import typing as t

# SUSE has vmlinux-VERSION.gz in addition to the kernel that boots, for crash(8).
_KERNEL = re.compile(r"vmlinu[xz]-(.+)(?<!\.[gx]z)")
# Accepted kernel versions, which become parts of file names and arguments of commands.
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}")
DEBIAN, FEDORA, SUSE = "initrd.img-{}", "initramfs-{}.img", "initrd-{}"
# Arch's default initramfs is named like Fedora's.
ARCH_FALLBACK = "initramfs-{}-fallback.img"
FORMS = (DEBIAN, FEDORA, SUSE, ARCH_FALLBACK)


def kernels(names: t.Iterable[str]) -> t.List[str]:
    """Return the versions of the kernels among the file *names* of a directory."""
    return sorted({match.group(1) for match in map(_KERNEL.fullmatch, names) if match})


def initramfs(names: t.Container[str], version: str) -> t.List[str]:
    """Return the names of the initramfs of a kernel version."""
    return [form.format(version) for form in FORMS if form.format(version) in names]


__all__ = ("ARCH_FALLBACK", "DEBIAN", "FEDORA", "FORMS", "SUSE", "VERSION", "initramfs", "kernels")
