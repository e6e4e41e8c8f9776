#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: build_turn
short_description: Let only so many builds at once be at work on a builder
version_added: 1.0.0
description:
  - Makes the directory of a build as soon as fewer than O(at_once) others are beside it.
  - A build has its turn as long as it has its directory, so one that broke down counts until it is torn down.
  - It waits for a minute at most, so that a play can say what for, and is then to be called again.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
attributes:
  diff_mode:
    support: none
options:
  work_dir:
    description: The directory of the build.
    type: path
    required: true
  at_once:
    description: How many builds may be at work at the same time, this one included.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Wait for a turn
  sealedroot.image.build_turn:
    work_dir: /var/tmp/sealedroot/web-1
    at_once: 4
  register: turn
  until: turn.waits_for | length == 0
  retries: 1440
  delay: 0
"""

RETURN = r"""
waits_for:
  description: The names of the builds that are at work; empty when this one has its turn.
  type: list
  elements: str
  returned: success
  sample: [web-2, web-3]
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._build import turn
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run


def ensure(params: t.Mapping[str, t.Any], *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Take a turn, or say which builds have it."""
    work_dir, at_once = params["work_dir"], params["at_once"]
    if at_once < 1:
        raise SealedRootError(f"at_once is {at_once}, so no build would ever begin: give 1 or more")
    had = os.path.isdir(work_dir)
    if os.path.lexists(work_dir) and not had:
        raise SealedRootError(f"{work_dir} is no directory: remove it, or give another path")
    if check_mode:
        at_work = turn.others(work_dir)
        waits_for = [] if had or len(at_work) < at_once else at_work
    else:
        waits_for = turn.take(work_dir, at_once)
    return {"changed": not had and not waits_for, "waits_for": waits_for}


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "work_dir": {"type": "path", "required": True},
            "at_once": {"type": "int", "required": True},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
