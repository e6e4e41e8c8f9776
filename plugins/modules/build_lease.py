#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: build_lease
short_description: Let one build at a time have a directory on its builder, and a name to publish as
version_added: 1.0.0
description:
  - Takes the lease of the directory of a build and of the directory that its image is published as. When another
    build has one of them, it fails, says who builds since when, and touches nothing.
  - The lease is a lock that a process on the machine of the directory holds. It ends with the play, whatever ends
    that. On the control node the process sees the end of C(ansible-playbook) within a second. Another machine is told
    by the control node; when it hears nothing for a minute, because the connection or the control node broke down, the
    lease ends as well.
  - A build gives it back when it is published or torn down.
  - In check mode it only looks.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
attributes:
  diff_mode:
    support: none
options:
  work_dir:
    description: The directory of the build, on the host of the task.
    type: path
    required: true
  output_dir:
    description: The directory that the image is published as.
    type: path
    required: true
  collected:
    description: Whether that is on the control node. Else it is on the host of the task.
    type: bool
    default: false
  state:
    description: Whether the lease is taken or given back.
    type: str
    choices: [absent, present]
    default: present
  play:
    description: Who asks. The control node says so by itself; nothing of it belongs into a task.
    type: dict
    suboptions:
      id:
        description: What names the image in its play.
        type: str
        required: true
      who:
        description: The process, its user and its host, in words.
        type: str
        required: true
      pid:
        description: The process, when it is on the host of the task.
        type: int
      start:
        description: When that started, as the kernel counts it.
        type: str
notes:
  - Two control nodes that publish into one directory on a network file system see each other's lease only where that
    passes C(flock) on.
"""

EXAMPLES = r"""
- name: Let nobody else build it meanwhile
  delegate_to: builder-2
  sealedroot.image.build_lease:
    work_dir: /var/tmp/sealedroot/web-1
    output_dir: /srv/images/web-1
    collected: true
  register: image_lease
"""

RETURN = r"""
id:
  description: What names this image in this play; the same when the lease is taken again.
  type: str
  returned: success
  sample: 5e884898da280471
file:
  description: The file whose lock is the lease of O(work_dir). With it goes the lease.
  type: str
  returned: success
  sample: /var/tmp/sealedroot/.web-1.lease
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._build import lease, lease_holder
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run


def ensure(params: t.Mapping[str, t.Any], *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Take or release the lease."""
    play = params["play"]
    if play is None:
        raise SealedRootError("the action plugin of build_lease did not run: use it in a task")
    own = lease.Owner(play["id"], play["who"])
    is_wanted = (
        lease_holder.lives((play["pid"], play["start"])) if play["pid"] else lease_holder.heard()
    )
    directories = [params["work_dir"], *([] if params["collected"] else [params["output_dir"]])]
    lease.ensure(directories, params["state"], own, is_wanted, check_mode=check_mode)
    return {"id": own.id, "file": lease.path_of(params["work_dir"])}


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(argument_spec=lease.ARGUMENTS, supports_check_mode=True)
    run(module, lambda: ensure(module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
