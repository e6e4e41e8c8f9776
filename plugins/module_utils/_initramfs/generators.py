# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Find the generator that kernel updates of a root run to build its initramfs. Pure."""

from __future__ import annotations

import typing as t

_FOLDERS = ("usr/bin", "usr/sbin", "bin", "sbin")
# Each generator and its own programs. If no hook decides, the first generator in this order is taken.
# update-initramfs alone is no proof, because dracut has its own in Debian 14.
PROGRAMS: t.Dict[str, t.Tuple[str, ...]] = {
    "initramfs_tools": ("update-initramfs", "mkinitramfs"),
    "dracut": ("dracut",),
    "mkinitcpio": ("mkinitcpio",),
}
# Hooks that a new kernel runs. In Debian, initramfs-tools and dracut have one each and conflict, but
# dracut-core, which has the program, can be installed with initramfs-tools. A hook that was left behind as a
# configuration file does nothing without its program.
HOOKS: t.Tuple[t.Tuple[str, str], ...] = (
    ("etc/kernel/postinst.d/initramfs-tools", "initramfs_tools"),
    ("usr/share/kernel/postinst.d/initramfs-tools", "initramfs_tools"),
    ("etc/kernel/postinst.d/dracut", "dracut"),
    ("usr/share/kernel/postinst.d/dracut", "dracut"),
    # Arch: hooks of pacman, from packages and from the administrator.
    *(
        (f"{folder}/90-{name}-install.hook", name)
        for folder in ("usr/share/libalpm/hooks", "etc/pacman.d/hooks")
        for name in ("mkinitcpio", "dracut")
    ),
)

Exists = t.Callable[[str], bool]


def has_program(exists: Exists, *names: str) -> bool:
    """Say whether one of the programs exists; *exists* takes paths relative to the root."""
    return any(exists(f"{folder}/{name}") for folder in _FOLDERS for name in names)


def has(exists: Exists, generator: str) -> bool:
    """Say whether all programs of a generator exist."""
    return all(has_program(exists, name) for name in PROGRAMS[generator])


def active(exists: Exists) -> str:
    """Return the generator that the root's own updates run; empty if there is none."""
    for hook, name in HOOKS:
        if exists(hook) and has(exists, name):
            return name
    return next((name for name in PROGRAMS if has(exists, name)), "")


__all__ = ("HOOKS", "PROGRAMS", "active", "has", "has_program")
