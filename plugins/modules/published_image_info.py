#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: published_image_info
short_description: What is published as an image
description:
  - Reads the manifest of a published image and holds every file that it lists against it.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
  - sealedroot.image._attributes.info
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
manifest:
  description: The manifest; none when there is none that can be read.
  type: dict
  returned: success
files:
  description: For each file that the manifest lists, whether it is still the same by size and SHA-256.
  type: dict
  returned: success
  sample: {"disk.qcow2": true, "boot.key": true}
intact:
  description: Whether there are such files, and all of them are still the same.
  type: bool
  returned: success
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils import _published


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"path": {"type": "path", "required": True}}, supports_check_mode=True
    )
    module.exit_json(changed=False, **_published.read(module.params["path"]))


if __name__ == "__main__":
    main()
