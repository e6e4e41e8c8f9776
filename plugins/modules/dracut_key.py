#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dracut_key
short_description: Let an initramfs of dracut unlock the root without asking
description:
  - Runs in the image. Installs the boot key and configures dracut so that every initramfs, the ones that later
    updates build too, holds the key and unlocks the root with it, on whatever machine it is built.
  - Writes C(crypttab), which names the key file and goes into the initramfs, so that systemd unlocks the root without
    asking both before version 246 and since, when it finds the key by its name as well.
  - The kernel command line needs C(rd.luks.uuid=luks-UUID), so that the initramfs opens the root alone and not the
    other disks of C(crypttab). That is for who makes GRUB's configuration; see M(sealedroot.image.grub_cryptodisk).
  - Works with dracut 059 of dracutdevs and with dracut-ng.
  - Builds no initramfs itself; that is C(dracut).
version_added: 1.0.0
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._unlocked_root
options:
  mapping:
    description:
      - The name that the open root has in the running machine, V(luks-UUID) by default.
      - By another one, systemd does not find the key should C(crypttab) be missing in the initramfs.
    type: str
"""

EXAMPLES = r"""
- name: Put the boot key where the initramfs takes it from
  sealedroot.image.dracut_key:
    luks_uuid: 7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11
  register: key

- name: Build the initramfs of every kernel
  ansible.builtin.command:
    argv: [dracut, --force, --no-hostonly, "{{ item.path }}", "{{ item.version }}"]
  loop: "{{ key.initramfs }}"
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
initramfs:
  description: The initramfs that each kernel in C(/boot) is to have.
  type: list
  elements: dict
  returned: success
  contains:
    version:
      description: The version of the kernel.
      type: str
    path:
      description: The initramfs that is there, or the one that the distribution would make.
      type: str
"""

import glob
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._etc import os_release
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    boot_files,
    generators,
    guest,
    unlocked_root,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

# Read after what distributions and most people name theirs, which begin with a digit (dracut.conf(5)).
CONF = "/etc/dracut.conf.d/sealedroot.conf"
MODULES = "/usr/lib/dracut/modules.d"


def configuration(tree: Tree, params: t.Mapping[str, t.Any]) -> str:
    """Return what dracut is told, now and in every later update."""
    # In dracut-ng, what opens the disk is a module of its own; one that is not there stops dracut.
    split = glob.glob(tree.path(f"{MODULES}/[0-9][0-9]systemd-cryptsetup"))
    modules = " ".join(["systemd", "crypt", *(["systemd-cryptsetup"] if split else [])])
    key = unlocked_root.key_path(params["luks_uuid"])
    items = " ".join(["/etc/crypttab", key, *unlocked_root.installed("dracut", params)])
    return f"""\
# The root is encrypted, and GRUB has asked for the passphrase already.
# The machine that builds the initramfs need not be the one that boots it.
hostonly="no"
hostonly_cmdline="no"
add_dracutmodules+=" {modules} "
add_drivers+=" {params["filesystem"]} "
install_items+=" {items} "
# It would hold the key as well, and keep the old one when that is exchanged.
dracut_rescue_image="no"
"""


def missing(tree: Tree) -> t.List[str]:
    """Return the packages that the root lacks."""

    def exists(path: str) -> bool:
        return tree.exists(f"/{path}")

    found = [name for name in ("dracut", "cryptsetup") if not generators.has_program(exists, name)]
    opener = "lib/systemd/systemd-cryptsetup"
    return found + ([] if exists(f"usr/{opener}") or exists(opener) else ["systemd-cryptsetup"])


def images(tree: Tree) -> t.List[t.Dict[str, str]]:
    """Return the initramfs of each kernel that has its modules; there must be one."""
    names = os.listdir(tree.path("/boot")) if tree.exists("/boot") else []
    release = os_release.parse_os_release(tree.text("/etc/os-release"))
    # The hook of Debian's package.
    if any(tree.exists(f"/{top}/kernel/postinst.d/dracut") for top in ("etc", "usr/share")):
        form = boot_files.DEBIAN
    elif "suse" in [release.get("ID", ""), *release.get("ID_LIKE", "").split()]:
        form = boot_files.SUSE
    else:
        form = boot_files.FEDORA
    found = []
    for version in boot_files.kernels(names):
        if tree.exists(f"/lib/modules/{version}"):
            mine = boot_files.initramfs(names, version) or [form.format(version)]
            found += [{"version": version, "path": f"/boot/{name}"} for name in mine]
    if not found:
        raise SealedRootError("the root has no kernel in /boot with its modules: install one in it")
    return found


def ensure(params: t.Mapping[str, t.Any], *, root: str, check_mode: bool) -> t.Dict[str, t.Any]:
    """Configure the tree at *root*."""

    def plan(tree: Tree, params: t.Mapping[str, t.Any]) -> t.List[str]:
        tree.write(CONF, configuration(tree, params))
        return missing(tree)

    found = images(Tree(root))
    outcome = unlocked_root.ensure(
        "dracut",
        params,
        mapping=params["mapping"] or guest.mapping("dracut", params["luks_uuid"]),
        options=unlocked_root.SYSTEMD_OPTIONS,
        plan=plan,
        root=root,
        check_mode=check_mode,
    )
    return {**outcome, "initramfs": found}


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={**unlocked_root.ARGUMENTS, "mapping": {"type": "str"}},
        supports_check_mode=True,
    )
    run(module, lambda: ensure(module.params, root="/", check_mode=module.check_mode))


if __name__ == "__main__":
    main()
