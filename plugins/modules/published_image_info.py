#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: published_image_info
short_description: What is published as an image (for the roles)
version_added: 1.0.0
description:
  - Reads the manifest of a published image and holds every file that it lists against it.
  - Of the key files a manifest has no digest. They are tried on the LUKS header of a disk that is as the manifest has
    it, where qemu-img and cryptsetup are installed.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._attributes.info
  - sealedroot.image._secret_arguments
  - sealedroot.image._secret_inputs
requirements:
  - cryptsetup and qemu-img, to try the keys
options:
  path:
    description: The directory that the image is published as.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Look at what is published
  sealedroot.image.published_image_info:
    path: /srv/images/web-1
"""

RETURN = r"""
exists:
  description: Whether anything has that name.
  type: bool
  returned: success
free_bytes:
  description: The room in the file system of O(path), in bytes.
  type: int
  returned: success
manifest:
  description: The manifest; none when there is none that can be read.
  type: dict
  returned: success
files:
  description:
    - For each file that the manifest lists, whether it is still the same by size and SHA-256.
    - For a key file, whether it is a file that only its owner can read, and, if it was tried, whether it opens its
      slot.
  type: dict
  returned: success
  sample: {"disk.qcow2": true, "boot.key": true}
intact:
  description: Whether there are such files, and all of them are still the same.
  type: bool
  returned: success
problem:
  description: Why it is not whole, and what to do about it; empty when it is, or when nothing is there.
  type: str
  returned: success
keys_tried:
  description:
    - Whether the key files were tried on the LUKS header of the published disk. A warning says why they were not.
    - If not, C(boot.key) was only compared with the manifest, and C(recovery.key) with nothing.
  type: bool
  returned: success
other_inputs:
  description: The names of those O(secret_inputs) that are not the ones that the image was made from.
  type: list
  elements: str
  returned: success
  sample: [root_password]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._build import published
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import ModuleRunner
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "secret_inputs": published.SECRET_INPUTS,
        },
        supports_check_mode=True,
    )
    run(
        module,
        lambda: published.read(
            ModuleRunner(module), module.params["path"], module.params["secret_inputs"]
        ),
    )


if __name__ == "__main__":
    main()
