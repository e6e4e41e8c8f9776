#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: encrypted_root_info
short_description: Which LUKS container a running machine's root is on
version_added: 1.0.0
description:
  - Finds the LUKS container below the root mount of the machine that it runs on, and what unlocks it in the
    initramfs.
  - Fails where the root is not on LUKS, where the initramfs does not unlock it by a key file, and where that key
    file does not open it.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._attributes.info
  - sealedroot.image._secret_arguments.follow
"""

EXAMPLES = r"""
- name: Find the machine's LUKS container
  sealedroot.image.encrypted_root_info:
  register: root
"""

RETURN = r"""
device:
  description: The device that holds the container.
  type: str
  returned: success
  sample: /dev/vda2
mapping:
  description: The name of the open container.
  type: str
  returned: success
  sample: cr_root
uuid:
  description: The UUID of the LUKS header.
  type: str
  returned: success
type:
  description: The version of the LUKS header.
  type: str
  returned: success
  choices: [luks1, luks2]
slots:
  description: The iterations of each active slot.
  type: dict
  returned: success
  sample: {"0": 1000, "1": 1000}
key_file:
  description: The key file of the container.
  type: str
  returned: success
  sample: /etc/cryptsetup-keys.d/luks-8ab1fcd0-6009-41be-89d0-c3be1bfbdd66.key
header_file:
  description: The pinned header, which the initramfs opens the container with; the one on the device is not read.
  type: str
  returned: success
  sample: /etc/cryptsetup-headers.d/luks-8ab1fcd0-6009-41be-89d0-c3be1bfbdd66.header
key_slot:
  description: The slot that the key file opens.
  type: int
  returned: success
initramfs:
  description: The initramfs of each kernel in C(/boot).
  type: list
  elements: str
  returned: success
tpm_enrolled:
  description: Whether the key was sealed in the machine's TPM (M(sealedroot.image.tpm_seal)).
  type: bool
  returned: success
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._grub import tpm_program
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import running_root
from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    container,
    cryptsetup,
    metadata,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

ROOT = "/"


def read(runner: Runner) -> t.Dict[str, t.Any]:
    """Return the facts of this machine."""
    if os.geteuid() != 0:
        raise SealedRootError("the LUKS header is root's to read: set become to true")
    device, mapping = running_root.find_container(runner)
    crypttab = os.path.join(ROOT, "etc/crypttab")
    text = ""
    if os.path.exists(crypttab):
        with open(crypttab, encoding="utf-8", errors="surrogateescape") as file:
            text = file.read()
    key_file, header_file = running_root.unlock(text, mapping)
    path, pinned = (os.path.join(ROOT, it.lstrip("/")) for it in (key_file, header_file))
    container.check_key_file(path)
    container.check_key_file(pinned, "header file")
    # Read nothing from the header on the disk, because the host can change it.
    header = metadata.read(runner, pinned)
    if header is None:
        raise SealedRootError(
            f"{header_file} is no LUKS header, so this machine would not boot again"
        )
    slot = cryptsetup.opens(runner, pinned, path)
    if slot is None:
        raise SealedRootError(
            f"the key in {key_file} does not open {header_file}, so this machine would not boot again: put a key"
            " that does into it first"
        )
    return {
        "changed": False,
        "device": device,
        "mapping": mapping,
        "uuid": header.uuid,
        "type": header.type,
        "slots": {str(number): it.iterations for number, it in sorted(header.slots.items())},
        "key_file": key_file,
        "header_file": header_file,
        "key_slot": slot,
        "initramfs": running_root.initramfs(os.path.join(ROOT, "boot")),
        # A root of an enrolled machine can be in an image without the program.
        "tpm_enrolled": all(
            os.path.exists(os.path.join(ROOT, it.lstrip("/")))
            for it in (tpm_program.PROGRAM, tpm_program.REGISTERS)
        ),
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        # The action plugin uses this option.
        argument_spec={"secrets_follow": {"type": "bool", "default": False, "no_log": False}},
        supports_check_mode=True,
    )
    run(module, lambda: read(ModuleRunner(module)))


if __name__ == "__main__":
    main()
