#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: initramfs_unlock
short_description: Let an initramfs unlock the root without asking (for the roles)
description:
  - Runs in the image. Installs the boot key and the pinned header, and configures what builds the initramfs so that
    every one, those that later updates build too, holds both and unlocks the root with them, on whatever machine it is
    built.
  - Writes C(crypttab) and C(fstab), from which an initramfs takes what the root is.
  - With dracut, C(crypttab) names the key file, so that systemd unlocks the root without asking both before version
    246 and since, when it finds the key by its name as well. The kernel command line needs C(rd.luks.uuid=luks-UUID),
    so that the initramfs opens the root alone; see M(sealedroot.image.grub_cryptodisk). Works with dracut 059
    and with dracut-ng.
  - With mkinitcpio, C(HOOKS) gets C(systemd) and C(sd-encrypt). C(udev), C(encrypt) and what else belongs to the
    busybox init goes, since that takes no pinned header and ends in a shell; so does C(autodetect), which would leave
    drivers out that the machine that builds does not need.
  - Builds no initramfs itself.
version_added: 1.0.0
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._filesystem
options:
  generator:
    description: What builds the initramfs; by default, what the root's own updates run.
    type: str
    choices: [dracut, initramfs_tools, mkinitcpio]
  luks_uuid:
    description: The UUID of the LUKS header.
    type: str
    required: true
  key_file:
    description: The boot key.
    type: path
    default: /run/sealedroot/boot.key
  header_file:
    description:
      - The LUKS header, as O(sealedroot.image.keyfile_rotate#module:header) of
        M(sealedroot.image.keyfile_rotate) leaves it.
      - It is put into C(/etc/cryptsetup-headers.d), and every initramfs opens the root with it, never with the
        header on the disk.
    type: path
    default: /run/sealedroot/luks.header
  debug_console:
    description:
      - Whether a boot that fails may end in a shell. With V(false), it ends in a restart.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Put the boot key where the initramfs takes it from
  sealedroot.image.initramfs_unlock:
    luks_uuid: 7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11
  register: unlock

- name: Build the initramfs of every kernel
  ansible.builtin.command:
    argv: [dracut, --force, --no-hostonly, "{{ item.path }}", "{{ item.version }}"]
  loop: "{{ unlock.initramfs }}"
"""

RETURN = r"""
generator:
  description: What builds the initramfs.
  type: str
  returned: success
  sample: initramfs_tools
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
      description: The version of the kernel, as its file is called.
      type: str
    path:
      description: The initramfs that is there, or the one that the distribution would make.
      type: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    dracut,
    initramfs_tools,
    mkinitcpio,
    unlocked_root,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import filesystems
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

GENERATORS = {it.HOW.name: it.HOW for it in (dracut, initramfs_tools, mkinitcpio)}


def ensure(params: t.Mapping[str, t.Any], *, root: str, check_mode: bool) -> t.Dict[str, t.Any]:
    """Configure the tree at *root*."""
    name = params["generator"] or unlocked_root.generator(root)
    return unlocked_root.ensure(GENERATORS[name], params, root=root, check_mode=check_mode)


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "generator": {"type": "str", "choices": sorted(GENERATORS)},
            "luks_uuid": {"type": "str", "required": True},
            "filesystem": filesystems.ARGUMENT,
            "key_file": {"type": "path", "default": "/run/sealedroot/boot.key", "no_log": False},
            "header_file": {"type": "path", "default": "/run/sealedroot/luks.header"},
            "debug_console": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(module.params, root="/", check_mode=module.check_mode))


if __name__ == "__main__":
    main()
