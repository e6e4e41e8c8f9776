#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: loop_attach
short_description: Loop device on a region of a file
description:
  - Binds one loop device to a file, or to a region of it such as a partition, and releases it again.
  - The kernel scans no partition table, so there is nothing to wait for and no race with udev.
  - A binding is recognised by device and inode of the file and by its offset, so a renamed file is found too.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  path:
    description: The file, such as a raw disk image.
    type: path
    required: true
  state:
    description:
      - V(present) binds a loop device unless one is bound already.
      - V(absent) releases the loop devices of the region and waits until the kernel has let go of the file.
    type: str
    choices: [absent, present]
    default: present
  offset:
    description: Where the region begins, in bytes; a whole number of 512-byte sectors.
    type: int
    default: 0
  size:
    description: The size of the region in bytes; V(0) means up to the end of the file.
    type: int
    default: 0
  partition:
    description:
      - The number of a partition, whose offset and size are read from the partition table in O(path).
      - Cannot be combined with O(offset) and O(size).
    type: int
  read_only:
    description: Bind the loop device read-only.
    type: bool
    default: false
  direct_io:
    description: Let the loop device bypass the page cache of the file. It avoids keeping the data twice.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Attach the second partition of an image
  sealedroot.image.loop_attach:
    path: /var/tmp/disk.raw
    partition: 2
  register: attached

- name: Detach it
  sealedroot.image.loop_attach:
    path: /var/tmp/disk.raw
    partition: 2
    state: absent
"""

RETURN = r"""
device:
  description: The loop device; empty when there is none, or in check mode when it would be a new one.
  type: str
  returned: success
  sample: /dev/loop0
offset:
  description: Where the region begins, in bytes.
  type: int
  returned: success
size:
  description: The size of the region in bytes; V(0) means up to the end of the file.
  type: int
  returned: success
backing_file:
  description: The file, without symbolic links in its path.
  type: str
  returned: success
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._luks import container
from ansible_collections.sealedroot.image.plugins.module_utils._system import loop_devices
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

Params = t.Mapping[str, t.Any]


def region(runner: Runner, params: Params) -> t.Tuple[int, int]:
    """Return offset and size of the requested region."""
    path, number = params["path"], params["partition"]
    if number is None:
        return params["offset"], params["size"]
    if params["offset"] or params["size"]:
        raise SealedRootError("partition cannot be combined with offset and size: give one of them")
    table = partitions.read(runner, path)
    for part in table.partitions if table else ():
        if part.number == number:
            return part.offset, part.size
    raise SealedRootError(f"{path} has no partition {number}: correct partition")


def choose(
    bound: t.Sequence[loop_devices.Loop], *, size: int, read_only: bool, path: str
) -> t.Optional[loop_devices.Loop]:
    """Return the binding that matches the request; one that does not match is an error, and is never replaced."""
    for loop in bound:
        if (loop.size, loop.read_only) == (size, read_only):
            return loop
    if not bound:
        return None
    loop = bound[0]
    mode = "read-only" if loop.read_only else "read-write"
    raise SealedRootError(
        f"{path} is bound to {loop.device} already, but {mode} and with size {loop.size}: release"
        " that with state absent, or ask for the same"
    )


def ensure(runner: Runner, params: Params, *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Bring the binding into the requested state and report the changes."""
    path, present = params["path"], params["state"] == "present"
    container.check(path, params["offset"], params["size"])
    offset, size = region(runner, params)
    container.check(path, offset, size)
    bound = loop_devices.find_all(runner, path=path, offset=offset)
    before = [loop.device for loop in bound]
    if present:
        loop = choose(bound, size=size, read_only=params["read_only"], path=path)
        switch = loop is not None and loop.direct_io != params["direct_io"]
        changed = loop is None or switch
        device = loop.device if loop else ""
        if loop is None and not check_mode:
            device = loop_devices.attach(
                runner,
                path=path,
                offset=offset,
                size=size,
                read_only=params["read_only"],
                direct_io=params["direct_io"],
            )
        elif switch and not check_mode:
            loop_devices.set_direct_io(runner, device, on=params["direct_io"])
        after = before or [device or "a new loop device"]
    else:
        changed, device, after = bool(bound), "", []
        for loop in () if check_mode else bound:
            loop_devices.detach(runner, loop.device)
    return {
        "changed": changed,
        "device": device,
        "offset": offset,
        "size": size,
        "backing_file": os.path.realpath(path),
        "diff": {
            "before": {"devices": before},
            "after": {"devices": after},
        },
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            **container.ARGUMENT_SPEC,
            "state": {"type": "str", "choices": ["absent", "present"], "default": "present"},
            "partition": {"type": "int"},
            "read_only": {"type": "bool", "default": False},
            "direct_io": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
