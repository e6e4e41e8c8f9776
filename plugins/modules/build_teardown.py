#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: build_teardown
short_description: Release whatever a build holds on its builder
description:
  - Ends the programs that run in an image, unmounts, closes mappings, detaches loop devices and ends the
    storage daemons of the builds in O(work_dir), and removes these directories.
  - Everything is found from the kernel by the directory, so this works after any crash, and a second run
    finds nothing to do.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  work_dir:
    description: The directories of the build, absolute and at least two levels deep.
    type: list
    elements: path
    required: true
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
  sample: ["mount /var/tmp/sealedroot/web-1/root", "/dev/loop3"]
"""

import os
import shutil
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils import _build_holds
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)


def check(path: str) -> str:
    """Refuse a directory that cannot be a build's; return its real path."""
    real = os.path.realpath(path)
    system = ("/bin", "/boot", "/dev", "/etc", "/lib", "/proc", "/root", "/sbin", "/sys", "/usr")
    shallow = len([part for part in real.split("/") if part]) < 2
    if not os.path.isabs(path) or shallow or any(_build_holds.below(real, top) for top in system):
        raise SealedRootError(
            f"{path} cannot be the directory of a build: give one at least two levels deep, outside the"
            " system's own directories"
        )
    return real


def describe(holds: _build_holds.Holds) -> t.List[str]:
    """Name what is held."""
    return [
        *(f"process {pid} in the image" for pid in holds.processes),
        *(f"mount {point}" for point in holds.mounts),
        *holds.nodes,
        *holds.loops,
        *(f"storage daemon {pid}" for pid in holds.daemons),
    ]


def ensure(runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Release and remove, and say what that was."""
    directories = [check(path) for path in params["work_dir"]]
    released: t.List[str] = []
    for directory in directories:
        holds = _build_holds.find(runner, directory)
        released += describe(holds)
        if not check_mode:
            _build_holds.release(runner, holds)
            left = _build_holds.find(runner, directory)
            if left.any():
                raise SealedRootError(
                    f"still held below {directory}: {', '.join(describe(left))}; run this again"
                )
        if os.path.isdir(directory):
            released.append(directory)
            if not check_mode:
                shutil.rmtree(directory)
    return {
        "changed": bool(released),
        "released": released,
        "diff": {"before": {"held": released}, "after": {"held": []}},
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={"work_dir": {"type": "list", "elements": "path", "required": True}},
        supports_check_mode=True,
    )
    try:
        outcome = ensure(ModuleRunner(module), module.params, check_mode=module.check_mode)
    except SealedRootError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
