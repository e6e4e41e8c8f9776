# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Configure mkinitcpio so that every initramfs unlocks the root.

HOOKS gets ``systemd`` and ``sd-encrypt``, which opens the root according to /etc/crypttab.initramfs;
``mkinitcpio_conf.py`` says which hooks they replace.
"""

from __future__ import annotations

import glob
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import drop_ins, image_tables
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    boot_files,
    generators,
    guest,
    mkinitcpio_conf,
    unlocked_root,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header

HOOKS = ("/usr/lib/initcpio/install", "/etc/initcpio/install")


def configure(tree: Tree, installed: t.Sequence[str]) -> None:
    """Plan mkinitcpio.conf with the files *installed*, and a drop-in if another one would override it."""
    text = tree.text(mkinitcpio_conf.CONF)
    have = mkinitcpio_conf.wanted(mkinitcpio_conf.arrays(text, mkinitcpio_conf.NOTHING), installed)
    for name, words in have.items():
        text = mkinitcpio_conf.assign(text, name, words)
    tree.write(mkinitcpio_conf.CONF, text)
    paths = glob.glob(tree.path(f"{mkinitcpio_conf.DROP_INS}/*.conf"))
    own = os.path.basename(drop_ins.MKINITCPIO)
    others = {os.path.basename(path) for path in paths} - {own}
    for name in sorted(others, key=drop_ins.version_key):
        have = mkinitcpio_conf.arrays(tree.text(f"{mkinitcpio_conf.DROP_INS}/{name}"), have)
    want = mkinitcpio_conf.wanted(have, installed)
    if want != have:
        lines = [mkinitcpio_conf.assign("", name, words) for name, words in want.items()]
        comment = "# Settings of the encrypted root that other files here would override.\n"
        tree.write(drop_ins.MKINITCPIO, comment + "".join(lines))


def plan(tree: Tree, params: t.Mapping[str, t.Any]) -> t.List[str]:
    """Plan the configuration of mkinitcpio; return the missing packages."""
    path = unlocked_root.key_path(params["luks_uuid"])
    configure(tree, [path, *unlocked_root.installed("mkinitcpio", params)])
    table, _old = image_tables.crypttab(
        "",
        name=guest.volume(params["luks_uuid"]),
        luks_uuid=params["luks_uuid"],
        key_file=path,
        options=f"{unlocked_root.SYSTEMD_OPTIONS},header={pinned_header.path(params['luks_uuid'])}",
    )
    tree.write(mkinitcpio_conf.CRYPTTAB, table)
    if not generators.has(lambda name: tree.exists(f"/{name}"), "mkinitcpio"):
        return ["mkinitcpio"]
    # Older versions have the hook in the package cryptsetup, newer ones in mkinitcpio.
    return [] if any(tree.exists(f"{it}/sd-encrypt") for it in HOOKS) else ["cryptsetup"]


# Arch names kernels by package, but module directories by version, so the two cannot be matched.
HOW = unlocked_root.Generator(
    "mkinitcpio",
    unlocked_root.SYSTEMD_OPTIONS,
    plan,
    lambda tree: unlocked_root.kernels(tree, boot_files.FEDORA, modules=False),
)

__all__ = ("HOW",)
