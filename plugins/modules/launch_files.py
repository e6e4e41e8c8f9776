#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: launch_files
short_description: What a confidential guest is started from, beside its image (for the roles)
version_added: 1.0.0
description:
  - Puts the core image of GRUB that an image made into a directory, as C(core.efi), and with it C(hashes.bin), the
    table by which the firmware recognises it. QEMU makes the same table with C(kernel-hashes=on).
  - Beside it, it writes C(firmware.fd), which is O(firmware) without the drivers and programs by which that starts
    something else than the kernel. Its size, and what QEMU reads of it, stay the same.
  - The image may be hostile. So nothing but a regular file is taken, and a symbolic link anywhere in its path is an
    error.
  - All files are public. None depends on a key.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  core:
    description: The core image that M(sealedroot.image.grub_cryptodisk) made.
    type: path
    required: true
  dest:
    description: The directory, which is made if it is missing.
    type: path
    required: true
  firmware:
    description: The firmware for SEV, such as C(OVMF.amdsev.fd) of Debian's package ovmf-amdsev.
    type: path
    required: true
seealso:
  - module: sealedroot.image.launch_measurement
"""

EXAMPLES = r"""
- name: Put the core image beside the disk
  sealedroot.image.launch_files:
    core: /var/tmp/build/private/run/own/esp/launch/core.efi
    dest: /srv/images/.web-1.partial/launch
    firmware: /usr/share/ovmf/OVMF.amdsev.fd
"""

RETURN = r"""
core:
  description: The path of the core image.
  type: str
  returned: success
hashes:
  description: The path of the table.
  type: str
  returned: success
firmware:
  description: The path of the firmware that was made.
  type: str
  returned: success
given_sha256:
  description: The SHA-256 of O(firmware).
  type: str
  returned: success
removed:
  description: The names of what was taken out of the firmware.
  type: list
  elements: str
  returned: success
  sample: [UiApp, BootManagerMenuApp, RamDiskDxe, Fat, UdfDxe, Grub]
"""

import hashlib
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._build import image_files
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    kernel_file,
    kernel_hashes,
    volumes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._grub import esp_tree
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    nofollow,
    regular_file,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run


def ensure(params: t.Mapping[str, t.Any], *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Write the files that are missing or different."""
    core = kernel_file.read(params["core"], how=nofollow.read_file)
    given = regular_file.demand(params["firmware"], most=volumes.LARGEST)
    firmware, removed = volumes.kernel_only(given, params["firmware"])
    wanted = {
        os.path.basename(image_files.CORE): core,
        os.path.basename(image_files.HASHES): kernel_hashes.table(core),
        os.path.basename(image_files.FIRMWARE): firmware,
    }
    dest = os.path.abspath(params["dest"])
    paths = {name: os.path.join(dest, name) for name in wanted}
    old = [name for name, data in wanted.items() if not esp_tree.holds(paths[name], data)]
    if not check_mode:
        esp_tree.write(dest, wanted)
    return {
        "changed": bool(old),
        **dict(zip(("core", "hashes", "firmware"), paths.values())),
        "given_sha256": hashlib.sha256(given).hexdigest(),
        "removed": removed,
        "diff": {"before": {"to be written": old}, "after": {"to be written": []}},
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "core": {"type": "path", "required": True},
            "dest": {"type": "path", "required": True},
            "firmware": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
