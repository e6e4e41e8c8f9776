#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_disk
short_description: The raw disk of a build, with an encrypted root file system
version_added: 1.0.0
description:
  - Makes a disk with a GPT, an EFI system partition from 1 MiB to 100 MiB and a LUKS partition from there to the last
    MiB, makes the root file system in it, and mounts that.
  - The file system is made so that older GRUBs and kernels in the image read it, and with few blocks written, since
    ciphertext does not compress.
  - The root is mounted with C(nodev) and C(nosuid), since a device node in a hostile root must not open the builder's
    devices.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._filesystem
attributes:
  check_mode:
    support: partial
    details: What is inside a container is not seen, which is its keys and the type of its file system.
options:
  work_dir:
    description:
      - The directory of the build, which is there already and which only root can enter. The disk is C(disk.raw) in it,
        and the root is mounted on C(root) there.
    type: path
    required: true
  name:
    description: The name of the open LUKS container, a node in C(/dev/mapper).
    type: str
    required: true
  state:
    description:
      - V(open) makes what is not there yet, and mounts the root.
      - V(closed) unmounts the root and closes the LUKS container.
    type: str
    choices: [closed, open]
    default: open
  size:
    description:
      - The size of the disk, a number with a unit; a part of a MiB counts as a whole one. Needed with O(state=open).
    type: str
  filesystem_features:
    description: Features of the file system in the words of its C(mkfs), with C(^) before those that are to be off.
    type: list
    elements: str
    default: []
  luks:
    description: What the LUKS header is made with, as M(sealedroot.image.luks_image) has it.
    type: dict
    default: {}
    suboptions:
      type:
        description: The LUKS version.
        type: str
        choices: [luks1, luks2]
      cipher:
        description: The cipher, in the notation of cryptsetup(8).
        type: str
      hash:
        description: The hash of the header.
        type: str
  keys:
    description:
      - The keys of the LUKS container, of which the first opens it here. Needed with O(state=open).
      - A container that is there already must have no other keys. M(sealedroot.image.keyfile_rotate) exchanges them.
    type: list
    elements: dict
    suboptions:
      slot:
        description: The key slot, counted from V(0).
        type: int
        required: true
      key_file:
        description: A file with the key, mode 0600; all of its bytes are the key.
        type: path
        required: true
      iterations:
        description:
          - PBKDF2 iterations of the slot; by default V(1000), which is right for a key of 128 random bits or more, and
            V(600000) for a O(keys[].passphrase).
        type: int
      passphrase:
        description: Whether the key is a passphrase that a person made up.
        type: bool
        default: false
  header:
    description:
      - A file for a copy of the LUKS header, with which an initramfs opens the container
        (C(header=) in crypttab(5)). Unused key slots in it, and so in the container, are empty.
    type: path
  backend:
    description: How the payload becomes a block device; V(auto) takes V(dm_crypt) where it works.
    type: str
    choices: [auto, dm_crypt, userspace]
    default: auto
  uuid:
    description:
      - The UUID that those of the disk, its partitions, the LUKS header, the volume ID and the order of ext4's
        directories are derived from. They are random without it.
    type: str
    default: ""
  root_uuid:
    description:
      - The UUID of the root file system; random without it. Nobody else is to know it before, since Btrfs would take a
        disk of the host that has it for its own.
    type: str
    default: ""
  source_date_epoch:
    description:
      - The time, in seconds since 1970, that the file systems are made at; that of the clock when this is 0.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Make the disk and mount its root
  sealedroot.image.image_disk:
    work_dir: /var/tmp/sealedroot/web-1
    name: sealedroot-web-1
    size: 4GiB
    keys:
      - slot: 0
        key_file: /var/tmp/sealedroot/web-1/private/keys/boot.key
      - slot: 1
        key_file: /var/tmp/sealedroot/web-1/private/keys/recovery.key
    header: /var/tmp/sealedroot/web-1/private/luks.header

- name: Close it
  sealedroot.image.image_disk:
    work_dir: /var/tmp/sealedroot/web-1
    name: sealedroot-web-1
    state: closed
"""

RETURN = r"""
disk:
  description: Where the disk is, and the LUKS partition in it.
  type: dict
  returned: success
  contains:
    path:
      description: The disk.
      type: str
    mapping:
      description: The name of the open LUKS container.
      type: str
    root:
      description: C(offset) and C(size) of the LUKS partition, in bytes.
      type: dict
  sample:
    path: /var/tmp/sealedroot/web-1/disk.raw
    mapping: sealedroot-web-1
    root: {"offset": 104857600, "size": 4189061120}
device:
  description: The block device of the root file system, while the container is open.
  type: str
  returned: success
  sample: /dev/mapper/sealedroot-web-1
root:
  description: Where the root is mounted, while the container is open.
  type: str
  returned: success
  sample: /var/tmp/sealedroot/web-1/root
luks_uuid:
  description: The UUID of the LUKS header; empty in check mode when there is none.
  type: str
  returned: with O(state=open), but in check mode only when the disk is there
slots:
  description: The PBKDF2 iterations of each key slot.
  type: dict
  returned: with O(state=open), but in check mode only when the disk is there
  sample: {"0": 1000, "1": 1000}
root_uuid:
  description: The UUID of the root file system.
  type: str
  returned: with O(state=open), and not in check mode
backend:
  description: The backend that was used.
  type: str
  returned: with O(state=open), but in check mode only when the disk is there
backend_reason:
  description: Why that backend was used.
  type: str
  returned: with O(state=open), but in check mode only when the disk is there
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._build import root_disk
from ansible_collections.sealedroot.image.plugins.module_utils._luks import key_entries
from ansible_collections.sealedroot.image.plugins.module_utils._system import filesystems
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Bring the disk into the requested state."""
    state = params["state"]
    disk = root_disk.RootDisk(runner, {**params, "size": root_disk.disk_size(params)})
    region = disk.region()
    disk.check()
    before = disk.state()
    said: t.Dict[str, t.Any] = {}
    changed = before != state
    if state == "open":
        if before == "read_only":
            raise SealedRootError(f"{disk.root} is mounted read-only: close the disk first")
        said = disk.make_and_open(check_mode=check_mode)
    else:
        changed = disk.close(check_mode=check_mode)
    return {
        "changed": changed,
        "disk": {
            "path": disk.path,
            "mapping": params["name"],
            "root": region,
        },
        "device": disk.device,
        "root": disk.root,
        **said,
        "diff": {"before": {"state": before}, "after": {"state": state}},
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "work_dir": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": ["closed", "open"],
                "default": "open",
            },
            "size": {"type": "str"},
            "filesystem": filesystems.ARGUMENT,
            "filesystem_features": {"type": "list", "elements": "str", "default": []},
            "luks": {
                "type": "dict",
                "default": {},
                "options": {
                    "type": {"type": "str", "choices": ["luks1", "luks2"]},
                    "cipher": {"type": "str"},
                    "hash": {"type": "str"},
                },
            },
            "keys": key_entries.ARGUMENT,
            "header": {"type": "path"},
            "backend": {
                "type": "str",
                "choices": ["auto", "dm_crypt", "userspace"],
                "default": "auto",
            },
            "uuid": {"type": "str", "default": ""},
            "root_uuid": {"type": "str", "default": ""},
            "source_date_epoch": {"type": "int", "default": 0},
        },
        required_if=[("state", "open", ("size", "keys"))],
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
