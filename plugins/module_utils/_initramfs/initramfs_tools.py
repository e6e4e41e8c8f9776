# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Configure initramfs-tools and cryptsetup-initramfs so that every initramfs unlocks the root."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import drop_ins, fstab
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    boot_files,
    generator_commands,
    unlocked_root,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header

CONF_HOOK = "/etc/cryptsetup-initramfs/conf-hook"
# initramfs: include the entry without asking the kernel which device / is on, which a build cannot tell
# (docs/facts.md: initramfs-option). discard: freed blocks of the guest become free on the host, as in the build.
OPTIONS = "luks,initramfs,discard"
CONF_TEXT = "".join(
    f"{name}={values[0]}\n"
    for settings in (drop_ins.INITRAMFS_SETTINGS, drop_ins.INITRAMFS_VARIABLES)
    for name, values in settings.items()
)
# The initramfs also reads this file (initramfs-tools, init). The kernel command line has the same word, but an attacker
# can garble that on the disk; garbling this file would break the whole compressed initramfs.
CLOSED_TEXT = "panic=5\n"
# cryptsetup-initramfs copies the key, but not the header that crypttab names (cryptsetup 2.6 to 2.8, hooks/cryptroot).
HEADER_HOOK_TEXT = f"""\
#!/bin/sh
# Puts the pinned LUKS header into the initramfs, which never reads the one on the disk.
set -e
if [ "$1" = prereqs ]; then
    exit 0
fi
mkdir -p "$DESTDIR{pinned_header.DIRECTORY}"
chmod 0700 "$DESTDIR{pinned_header.DIRECTORY}"
for header in {pinned_header.DIRECTORY}/*.header; do
    if [ ! -s "$header" ]; then
        echo "{pinned_header.DIRECTORY} has no LUKS header: the machine would not boot" >&2
        exit 1
    fi
    cp -p --sparse=always "$header" "$DESTDIR$header"
done
"""
PATTERN = f'KEYFILE_PATTERN="{fstab.KEY_DIRECTORY}/*"\n'
PACKAGES = {
    "/usr/share/initramfs-tools/hooks/cryptroot": "cryptsetup-initramfs",
    "/usr/sbin/update-initramfs": "initramfs-tools",
}


def conf_hook(text: str) -> str:
    """Return conf-hook, which is shell, with the pattern for key files to copy into the initramfs as its end."""
    if text.endswith(PATTERN):
        return text
    return text + ("" if text.endswith("\n") or not text else "\n") + PATTERN


def update_conf(text: str) -> str:
    """Return update-initramfs.conf, so that updates and the rotation of keys make the initramfs again."""
    if generator_commands.updates(text):
        return text
    return f"{text.rstrip(chr(10))}\nupdate_initramfs=yes\n"


def plan(tree: Tree, params: t.Mapping[str, t.Any]) -> t.List[str]:
    """Plan the configuration of initramfs-tools; return the missing packages."""
    tree.write(CONF_HOOK, conf_hook(tree.text(CONF_HOOK)))
    conf = generator_commands.UPDATE_CONF
    if tree.exists(conf):
        tree.write(conf, update_conf(tree.text(conf)))
    tree.write(
        drop_ins.INITRAMFS_TOOLS, CONF_TEXT + ("" if params["debug_console"] else CLOSED_TEXT)
    )
    tree.write(pinned_header.HOOK, HEADER_HOOK_TEXT, mode=0o755)
    # It names the swap of another machine.
    tree.remove("/etc/initramfs-tools/conf.d/resume")
    return [package for path, package in PACKAGES.items() if not tree.exists(path)]


HOW = unlocked_root.Generator(
    "initramfs_tools", OPTIONS, plan, lambda tree: unlocked_root.kernels(tree, boot_files.DEBIAN)
)

__all__ = ("HEADER_HOOK_TEXT", "HOW", "conf_hook", "update_conf")
