#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: raw_disk
short_description: Raw disk image with an EFI system partition and a partition for LUKS
description:
  - Makes a sparse raw disk image with a GPT that has an EFI system partition from 1 MiB to 100 MiB, formatted
    as FAT32, and a partition for LUKS from there to 1 MiB before the end.
  - Uses no loop device and mounts nothing, so the builder's kernel needs no FAT driver.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  path:
    description: The image file. Its directory is made when it is missing, with mode 0700.
    type: path
    required: true
  size:
    description: The size of the disk in bytes, rounded up to whole MiB.
    type: int
    required: true
  force:
    description: Make the disk anew although the file holds something else.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Make a disk of 4 GiB
  sealedroot.image.raw_disk:
    path: /var/tmp/build/disk.raw
    size: "{{ '4GB' | human_to_bytes }}"
"""

RETURN = r"""
path:
  description: The image file.
  type: str
  returned: success
size:
  description: The size of the disk in bytes.
  type: int
  returned: success
esp:
  description: Offset and size of the EFI system partition in bytes.
  type: dict
  returned: success
  sample: {"offset": 1048576, "size": 103809024}
root:
  description: Offset and size of the partition for LUKS in bytes.
  type: dict
  returned: success
  sample: {"offset": 104857600, "size": 4189061120}
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils import _gpt
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)


def is_blank(path: str) -> bool:
    """Say whether the file is missing or has nothing but holes in it."""
    return not os.path.exists(path) or os.stat(path).st_blocks == 0


def make(runner: Runner, path: str, size: int, partitions: t.Sequence[_gpt.Partition]) -> None:
    """Write the disk from scratch; a half-made one is removed again."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        os.ftruncate(handle, size)
        os.close(handle)
        _gpt.write(runner, path, partitions)
        esp = partitions[0]
        argv = [runner.find("mkfs.vfat"), "-F", "32", "-n", esp.name, "--offset"]
        argv += [str(esp.offset // 512), path, str(esp.size // 1024)]
        runner.run(argv, timeout=60)
        found = _gpt.read(runner, path)
        if found != tuple(partitions):
            raise SealedRootError(f"sfdisk wrote {found} instead of {tuple(partitions)}")
    except (SealedRootError, OSError):
        os.unlink(path)
        raise


def ensure(runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Make the disk when it is not there, and say where its partitions are."""
    path = params["path"]
    size = -(-params["size"] // _gpt.MIB) * _gpt.MIB
    partitions = _gpt.wanted(size)
    there = os.path.isfile(path) and os.path.getsize(path) == size
    same = there and _gpt.read(runner, path) == partitions
    if not same:
        if not is_blank(path) and not params["force"]:
            raise SealedRootError(
                f"{path} exists and is another disk: remove it, or set force to make it anew"
            )
        if not check_mode:
            make(runner, path, size, partitions)
    esp, root = partitions
    return {
        "changed": not same,
        "path": path,
        "size": size,
        "esp": {"offset": esp.offset, "size": esp.size},
        "root": {"offset": root.offset, "size": root.size},
        "diff": {
            "before": {"disk": "as wanted" if same else "absent or other"},
            "after": {"disk": "as wanted"},
        },
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "size": {"type": "int", "required": True},
            "force": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    try:
        outcome = ensure(ModuleRunner(module), module.params, check_mode=module.check_mode)
    except SealedRootError as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**outcome)


if __name__ == "__main__":
    main()
