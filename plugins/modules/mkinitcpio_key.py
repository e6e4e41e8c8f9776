#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mkinitcpio_key
short_description: Let an initramfs of mkinitcpio unlock the root without asking
version_added: 1.0.0
description:
  - Runs in the image. Installs the boot key and configures C(mkinitcpio) so that every initramfs, the ones that
    later updates build too, holds the key and unlocks the root with it.
  - C(HOOKS) gets C(systemd) and C(sd-encrypt), which opens the root as C(/etc/crypttab.initramfs) says. C(udev),
    C(encrypt) and what else belongs to the busybox init goes, since that takes no pinned header and ends in a shell.
    So does C(autodetect), which would leave drivers out that the machine that builds does not need.
  - Builds no initramfs itself; that is C(mkinitcpio).
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._unlocked_root
options:
  mapping:
    description: The name that the open root has in the running machine; C(luks-) and the UUID by default.
    type: str
"""

EXAMPLES = r"""
- name: Put the boot key where the initramfs takes it from
  sealedroot.image.mkinitcpio_key:
    luks_uuid: 7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11
"""

RETURN = r"""
files:
  description: The files that were changed.
  type: list
  elements: str
  returned: success
dropped:
  description: Lines of the old crypttab and fstab that had to go, by their first two fields, each with the reason.
  type: list
  elements: str
  returned: success
"""

import glob
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._etc import fstab
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    generators,
    guest,
    mkinitcpio,
    unlocked_root,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import pinned_header
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

OWN_DROP_IN = f"{mkinitcpio.DROP_INS}/zz-sealedroot.conf"
HOOKS = ("/usr/lib/initcpio/install", "/etc/initcpio/install")


def configure(tree: Tree, installed: t.Sequence[str]) -> None:
    """Plan mkinitcpio.conf with the files *installed*, and a drop-in where another one would have the last word."""
    text = tree.text(mkinitcpio.CONF)
    have = mkinitcpio.wanted(mkinitcpio.arrays(text, mkinitcpio.NOTHING), installed)
    for name, words in have.items():
        text = mkinitcpio.assign(text, name, words)
    tree.write(mkinitcpio.CONF, text)
    paths = glob.glob(tree.path(f"{mkinitcpio.DROP_INS}/*.conf"))
    others = sorted({os.path.basename(path) for path in paths} - {os.path.basename(OWN_DROP_IN)})
    for name in others:
        have = mkinitcpio.arrays(tree.text(f"{mkinitcpio.DROP_INS}/{name}"), have)
    want = mkinitcpio.wanted(have, installed)
    if want != have:
        lines = [mkinitcpio.assign("", name, words) for name, words in want.items()]
        comment = "# Settings of the encrypted root that other files here would override.\n"
        tree.write(OWN_DROP_IN, comment + "".join(lines))


def ensure(params: t.Mapping[str, t.Any], *, root: str, check_mode: bool) -> t.Dict[str, t.Any]:
    """Configure the tree at *root*."""
    mapping = params["mapping"] or guest.mapping("mkinitcpio", params["luks_uuid"])

    def plan(tree: Tree, params: t.Mapping[str, t.Any]) -> t.List[str]:
        path = unlocked_root.key_path(params["luks_uuid"])
        configure(tree, [path, *unlocked_root.installed("mkinitcpio", params)])
        table, _old = fstab.crypttab(
            "",
            name=mapping,
            luks_uuid=params["luks_uuid"],
            key_file=path,
            options=f"{unlocked_root.SYSTEMD_OPTIONS},header={pinned_header.path(params['luks_uuid'])}",
        )
        tree.write(mkinitcpio.CRYPTTAB, table)
        if not generators.has(lambda name: tree.exists(f"/{name}"), "mkinitcpio"):
            return ["mkinitcpio"]
        # The hook was in the package cryptsetup before it was in mkinitcpio.
        return [] if any(tree.exists(f"{it}/sd-encrypt") for it in HOOKS) else ["cryptsetup"]

    return unlocked_root.ensure(
        "mkinitcpio",
        params,
        mapping=mapping,
        options=unlocked_root.SYSTEMD_OPTIONS,
        plan=plan,
        root=root,
        check_mode=check_mode,
    )


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**unlocked_root.ARGUMENTS, "mapping": {"type": "str"}},
        supports_check_mode=True,
    )
    run(module, lambda: ensure(module.params, root="/", check_mode=module.check_mode))


if __name__ == "__main__":
    main()
