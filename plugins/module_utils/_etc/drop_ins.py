# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The names of our drop-ins, which tools read after those of others, and the names that would come later. Pure.

The last file that sets a value counts. A name fits the order in which the tool reads (docs/facts.md: drop-in-order).
"""

from __future__ import annotations

import os
import re
import typing as t

INITRAMFS_TOOLS = "/etc/initramfs-tools/conf.d/zzzz-sealedroot"
GRUB = "/etc/default/grub.d/zzzz-sealedroot.cfg"
SYSCTL = "/etc/sysctl.d/zzzz-sealedroot.conf"
# These tools sort as "sort -V", which puts _ after all letters and digits.
DRACUT = "/etc/dracut.conf.d/_sealedroot.conf"
MKINITCPIO = "/etc/mkinitcpio.conf.d/_sealedroot.conf"
# Other directories whose files are read in one order with those of ours: that of initramfs-tools in the initramfs.
_ALSO = {
    DRACUT: ("/usr/lib/dracut/dracut.conf.d",),
    INITRAMFS_TOOLS: ("/usr/share/initramfs-tools/conf.d",),
}
# What ours sets for initramfs-tools, and the values that are as good.
INITRAMFS_SETTINGS = {
    # "dep" would take those of the running machine, the builder, and mkinitramfs fails on that.
    "MODULES": ("most", "list"),
    # The initramfs holds the key, so only root may read it, also after an update rebuilds it.
    "UMASK": ("0077", "077"),
    # Otherwise the boot waits for the swap of another machine.
    "RESUME": ("none",),
    # "nfs" would mount a root of the network.
    "BOOT": ("local",),
}
# Its init takes these from the same files (docs/facts.md: initramfs-variables): what starts, what is mounted and where,
# who gets a shell, and the drivers and the network of one machine. Ours sets the defaults of that init; words of the
# kernel come after them.
INITRAMFS_VARIABLES = {
    "init": ("/sbin/init",),
    "drop_caps": ("",),
    "break": ("",),
    "ROOT": ("",),
    "ROOTFLAGS": ("",),
    "ROOTFSTYPE": ("",),
    "UBIMTD": ("",),
    "rootmnt": ("/root",),
    "resume": ("",),
    "blacklist": ("",),
    "IP": ("",),
    "IP6": ("",),
}
# mkinitramfs(8) reads no file of another name.
_OF_INITRAMFS_TOOLS = re.compile(r"(?!.*\.dpkg-)[A-Za-z0-9][A-Za-z0-9._-]*")

_Key = t.List[t.Tuple[t.List[int], int]]


def _weight(letter: str) -> int:
    if letter == "~":
        return -1
    is_letter = letter.isascii() and letter.isalpha()
    return ord(letter) + (0 if is_letter else 256)


def version_key(name: str) -> _Key:
    """Return a key that sorts names as ``sort -V`` does, without what looks like a suffix."""
    stem = re.sub(r"(\.[A-Za-z~][A-Za-z0-9~]*)*$", "", name)
    pieces = re.findall(r"([^0-9]*)([0-9]*)", stem)
    return [([*map(_weight, text), 0], int(number or 0)) for text, number in pieces]


def is_later(own: str, name: str) -> bool:
    """Say whether a file called *name* is read after our drop-in *own*, which is a path."""
    ours = os.path.basename(own)
    suffix = os.path.splitext(ours)[1]
    if name == ours or not name.endswith(suffix) or name.startswith("."):
        return False
    if own == INITRAMFS_TOOLS and not _OF_INITRAMFS_TOOLS.fullmatch(name):
        return False
    if own in (DRACUT, MKINITCPIO):
        return version_key(name) >= version_key(ours)
    return name > ours


def later(own: str, paths: t.Iterable[str]) -> t.List[str]:
    """Return those of the absolute *paths* that are read after our drop-in *own*."""
    tops = (os.path.dirname(own), *_ALSO.get(own, ()))
    return sorted(
        path
        for path in paths
        if os.path.dirname(path) in tops and is_later(own, os.path.basename(path))
    )


__all__ = (
    "DRACUT",
    "GRUB",
    "INITRAMFS_SETTINGS",
    "INITRAMFS_TOOLS",
    "INITRAMFS_VARIABLES",
    "MKINITCPIO",
    "SYSCTL",
    "is_later",
    "later",
    "version_key",
)
