#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: luks_image
short_description: LUKS container in an image file, a partition of one, or a block device
version_added: 1.0.0
description:
  - Makes, opens and closes a LUKS container in a region of an image file or on a block device.
  - The header is always made by C(cryptsetup), with forced PBKDF2 iterations for the key slot and for
    the digest of the volume key, since GRUB computes both.
  - An open container is the block device C(/dev/mapper/NAME), on a kernel without dm-crypt too.
  - The options that describe a header are used to format. O(type), O(cipher), O(key_size), O(hash) and O(uuid) are
    compared with a header that is there if they are given, and a difference is an error. O(key_slot) and
    O(iterations) are not, since keys can be exchanged by M(sealedroot.image.keyfile_rotate).
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._luks_container
options:
  state:
    description:
      - V(open) makes the container if the region is blank, and opens it.
      - V(closed) makes the container if the region is blank, and closes it if it is open as O(name).
      - V(absent) closes the container and overwrites its header, so that no key opens it again.
      - V(opened) is the word of M(community.crypto.luks_device) for V(open), as the aliases of options are its words.
    type: str
    choices: [absent, closed, open, opened]
    default: open
  name:
    description:
      - The name of the open container, a node in C(/dev/mapper).
    type: str
    required: true
  type:
    description:
      - The LUKS version to format with. The signed GRUB of several distributions reads V(luks1) only.
      - The backend V(userspace) opens V(luks2) where the header could be V(luks1) as well. That needs PBKDF2,
        slots 0 to 7, sectors of 512 bytes and no tokens, as this module makes it.
      - V(luks1) by default.
    type: str
    choices: [luks1, luks2]
  cipher:
    description: The cipher to format with, in the notation of cryptsetup(8); V(aes-xts-plain64) by default.
    type: str
  key_size:
    description: The size of the volume key in bits; V(512) by default.
    type: int
    aliases: [keysize]
  hash:
    description:
      - The hash of the header; V(sha256) by default. The signed GRUB of the Red Hat family has no other.
    type: str
  iterations:
    description:
      - PBKDF2 iterations of the key slot; V(1000) by default, which is cryptsetup's minimum and right for a key of
        128 random bits or more.
      - The digest of the volume key, which GRUB computes for each slot it tries, gets V(1000).
    type: int
  key_slot:
    description:
      - The key slot to format with; V(0) by default. A key that is to be replaced is best kept out of the way of
        the others.
    type: int
    aliases: [keyslot]
  uuid:
    description:
      - The UUID to format with; a random one by default.
    type: str
  key_file:
    description:
      - A file with the key, mode 0600; all of its bytes are the key, so it has no newline at its end.
      - Needed to format and to open.
    type: path
    aliases: [keyfile]
  backend:
    description: How the payload becomes a block device; V(auto) takes V(dm_crypt) where it works.
    type: str
    choices: [auto, dm_crypt, userspace]
    default: auto
  work_dir:
    description:
      - A directory for this container alone, where the V(userspace) backend mounts its FUSE export.
    type: path
  read_only:
    description: Open the container read-only. Nothing is formatted then.
    type: bool
    default: false
  force:
    description:
      - Format although the region holds something, another container included, or is no partition.
      - What is open is never formatted. Only for O(state=open), since other states would format with each call.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Make and open an encrypted partition of an image
  sealedroot.image.luks_image:
    path: /var/tmp/disk.raw
    offset: 104857600
    size: 4188012544
    name: cr_root
    key_file: /run/keys/data.key
    work_dir: /var/tmp/build

- name: Close it
  sealedroot.image.luks_image:
    path: /var/tmp/disk.raw
    offset: 104857600
    size: 4188012544
    name: cr_root
    work_dir: /var/tmp/build
    state: closed
"""

RETURN = r"""
device:
  description: The block device of the open container.
  type: str
  returned: always
  sample: /dev/mapper/cr_root
uuid:
  description: The UUID of the LUKS header; empty when there is none.
  type: str
  returned: always
type:
  description: The LUKS version of the header; empty when there is none.
  type: str
  returned: always
state:
  description: The state that the container is in.
  type: str
  returned: always
formatted:
  description: Whether this call made the header.
  type: bool
  returned: always
backend:
  description: The backend that was used.
  type: str
  returned: always
backend_reason:
  description: Why that backend was used.
  type: str
  returned: always
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._disk import luks_region
from ansible_collections.sealedroot.image.plugins.module_utils._luks import container
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import ModuleRunner
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run


def outcome(module: AnsibleModule) -> t.Dict[str, t.Any]:
    """Bring the container into the requested state."""
    params = module.params
    if params["state"] == "opened":
        params = {**params, "state": "open"}
    return luks_region.ensure(ModuleRunner(module), params, check_mode=module.check_mode)


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **container.ARGUMENT_SPEC,
            "state": {
                "type": "str",
                "choices": ["absent", "closed", "open", "opened"],
                "default": "open",
            },
            "name": {"type": "str", "required": True},
            "type": {"type": "str", "choices": ["luks1", "luks2"]},
            "cipher": {"type": "str"},
            "key_size": {"type": "int", "no_log": False, "aliases": ["keysize"]},
            "hash": {"type": "str"},
            "iterations": {"type": "int"},
            "key_slot": {"type": "int", "no_log": False, "aliases": ["keyslot"]},
            "uuid": {"type": "str"},
            "key_file": {"type": "path", "no_log": False, "aliases": ["keyfile"]},
            "backend": {
                "type": "str",
                "choices": ["auto", "dm_crypt", "userspace"],
                "default": "auto",
            },
            "work_dir": {"type": "path"},
            "read_only": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run(module, lambda: outcome(module))


if __name__ == "__main__":
    main()
