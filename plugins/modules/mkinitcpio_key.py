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
  - C(HOOKS) gets C(sd-encrypt) where it has C(systemd), and C(encrypt) where it has not. It loses
    C(autodetect), which would leave drivers out that the machine that builds does not need.
  - C(sd-encrypt) finds the root in C(/etc/crypttab.initramfs); C(encrypt) takes it from the kernel command line,
    which is to have C(cryptdevice=UUID=UUID:luks-UUID:allow-discards) and
    C(cryptkey=rootfs:/etc/cryptsetup-keys.d/luks-UUID.key); the role C(bootloader) sees to that.
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
    root_uuid: 0f0d9ab5-2f3c-5b5e-8a0e-6b8f2f4b7f10
"""

RETURN = r"""
files:
  description: The files that were changed.
  type: list
  elements: str
  returned: success
dropped:
  description: Lines of the old crypttab and fstab that named disks of another machine.
  type: list
  elements: str
  returned: success
"""

import glob
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils import (
    _fstab,
    _generators,
    _mkinitcpio,
    _unlocked_root,
)
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError
from ansible_collections.sealedroot.image.plugins.module_utils._files import Tree

OWN_DROP_IN = f"{_mkinitcpio.DROP_INS}/zz-sealedroot.conf"
# What the hook sd-encrypt takes as the crypttab of the initramfs (mkinitcpio -H sd-encrypt).
INITRAMFS_TABLE = "/etc/crypttab.initramfs"
HOOKS = ("/usr/lib/initcpio/install", "/etc/initcpio/install")


def configure(tree: Tree, key: str) -> t.List[str]:
    """Plan mkinitcpio.conf, and a drop-in where another one would have the last word; return the hooks."""
    text = tree.text(_mkinitcpio.CONF)
    have = _mkinitcpio.wanted(_mkinitcpio.arrays(text, _mkinitcpio.NOTHING), key)
    for name, words in have.items():
        text = _mkinitcpio.assign(text, name, words)
    tree.write(_mkinitcpio.CONF, text)
    paths = glob.glob(tree.path(f"{_mkinitcpio.DROP_INS}/*.conf"))
    others = sorted({os.path.basename(path) for path in paths} - {os.path.basename(OWN_DROP_IN)})
    for name in others:
        have = _mkinitcpio.arrays(tree.text(f"{_mkinitcpio.DROP_INS}/{name}"), have)
    want = _mkinitcpio.wanted(have, key)
    if want != have:
        lines = [_mkinitcpio.assign("", name, words) for name, words in want.items()]
        comment = "# Settings of the encrypted root that other files here would override.\n"
        tree.write(OWN_DROP_IN, comment + "".join(lines))
    return want["HOOKS"]


def ensure(params: t.Mapping[str, t.Any], *, root: str, check_mode: bool) -> t.Dict[str, t.Any]:
    """Configure the tree at *root*."""
    mapping = params["mapping"] or _unlocked_root.volume(params["luks_uuid"])

    def plan(tree: Tree, params: t.Mapping[str, t.Any]) -> t.List[str]:
        path = _unlocked_root.key_path(params["luks_uuid"])
        hooks = configure(tree, path)
        table, _old = _fstab.crypttab(
            "",
            name=mapping,
            luks_uuid=params["luks_uuid"],
            key_file=path,
            options=_unlocked_root.SYSTEMD_OPTIONS,
        )
        tree.write(INITRAMFS_TABLE, table)
        if not _generators.has(lambda name: tree.exists(f"/{name}"), "mkinitcpio"):
            return ["mkinitcpio"]
        unlock = next(name for name in hooks if name in ("encrypt", "sd-encrypt"))
        # The hooks were in the package cryptsetup before they were in mkinitcpio.
        return [] if any(tree.exists(f"{it}/{unlock}") for it in HOOKS) else ["cryptsetup"]

    return _unlocked_root.ensure(
        params,
        mapping=mapping,
        options=_unlocked_root.SYSTEMD_OPTIONS,
        plan=plan,
        root=root,
        check_mode=check_mode,
    )


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**_unlocked_root.ARGUMENTS, "mapping": {"type": "str"}},
        supports_check_mode=True,
    )
    try:
        outcome = ensure(module.params, root="/", check_mode=module.check_mode)
    except SealedRootError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
