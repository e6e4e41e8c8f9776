# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What kernels and their initramfs are called in /boot. Pure."""

from __future__ import annotations

import re
import typing as t

# SUSE keeps vmlinux-VERSION.gz beside the kernel that boots, for crash(8).
_KERNEL = re.compile(r"vmlinu[xz]-(.+)(?<!\.[gx]z)")
# What a kernel can be called, since that becomes the name of files and a word of commands.
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}")
DEBIAN, FEDORA, SUSE = "initrd.img-{}", "initramfs-{}.img", "initrd-{}"
# Arch's first one is called as Fedora's.
ARCH_FALLBACK = "initramfs-{}-fallback.img"
FORMS = (DEBIAN, FEDORA, SUSE, ARCH_FALLBACK)


def kernels(names: t.Iterable[str]) -> t.List[str]:
    """Return the versions of the kernels among the *names* of a directory."""
    return sorted({match.group(1) for match in map(_KERNEL.fullmatch, names) if match})


def initramfs(names: t.Container[str], version: str) -> t.List[str]:
    """Return the names that are an initramfs of that kernel."""
    return [form.format(version) for form in FORMS if form.format(version) in names]


__all__ = ("ARCH_FALLBACK", "DEBIAN", "FEDORA", "FORMS", "SUSE", "VERSION", "initramfs", "kernels")
