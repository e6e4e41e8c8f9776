#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: build_teardown
short_description: Release whatever a build holds on its builder (for the roles)
version_added: 1.0.0
description:
  - Ends the programs that run in an image, unmounts, closes mappings, detaches loop devices and ends the
    storage daemons of the builds in O(work_dir), and removes these directories.
  - Everything is found from the kernel by the directory, so this works after any crash, and a second run
    finds nothing to do. Nothing is unmounted lazily. What cannot be released within a deadline is an error that
    names who holds it.
  - Of a build that is at work, which has the lease of M(sealedroot.image.build_lease), it says who builds since when,
    and touches nothing.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  work_dir:
    description: The directories of the builds, absolute and at least two levels deep.
    type: list
    elements: path
    required: true
  lease:
    description: What M(sealedroot.image.build_lease) returned as C(id), by which a build releases itself.
    type: str
    default: ""
  keep_lease:
    description: Keep the lease that is named by O(lease), since the build goes on.
    type: bool
    default: false
  force:
    description: Release also a build that is at work. Its play then fails.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Clean up after a build
  sealedroot.image.build_teardown:
    work_dir:
      - /var/tmp/sealedroot/web-1
"""

RETURN = r"""
released:
  description: What was released, or would be in check mode.
  type: list
  elements: str
  returned: success
  sample:
    - mount /var/tmp/sealedroot/web-1/root (ext4)
    - loop device /dev/loop3 on /var/tmp/sealedroot/web-1/payload
    - directory /var/tmp/sealedroot/web-1
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._build import teardown
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Release and remove; return what was released."""
    released = teardown.tear_down(
        runner,
        params["work_dir"],
        own_lease=params["lease"],
        keep_lease=params["keep_lease"],
        force=params["force"],
        check_mode=check_mode,
    )
    return {
        "changed": bool(released),
        "released": released,
        "diff": {"before": {"held": released}, "after": {"held": []}},
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "work_dir": {"type": "list", "elements": "path", "required": True},
            "lease": {"type": "str", "default": ""},
            "keep_lease": {"type": "bool", "default": False},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
