#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: esp_files
short_description: Files on the EFI system partition of a raw disk image (for the roles)
version_added: 1.0.0
description:
  - Puts files on the EFI system partition of a raw disk image, without mounting it, and reads them back.
  - The source may have been filled by an untrusted image. Nothing but regular files of up to 64 MiB is
    taken, and a symbolic link anywhere in a source path is an error, so it cannot lead to a file of this
    machine.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  path:
    description: The raw disk image.
    type: path
    required: true
  src_dir:
    description: The directory whose tree is copied.
    type: path
    required: true
  exclusive:
    description: Remove what is on the partition and was not asked for.
    type: bool
    default: false
  source_date_epoch:
    description: The time of what is written, in seconds since 1970; V(0) for the present time.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Put GRUB on the EFI system partition
  sealedroot.image.esp_files:
    path: /var/tmp/build/disk.raw
    src_dir: /var/tmp/build/private/run/sealedroot/esp
    exclusive: true
"""

RETURN = r"""
files:
  description: The SHA-256 of each file that was asked for.
  type: dict
  returned: success
  sample: {"EFI/BOOT/BOOTX64.EFI": "2cf24dba..."}
removed:
  description: What was removed, directories with a slash at their end.
  type: list
  elements: str
  returned: success
"""

import hashlib
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._disk import esp, partitions
from ansible_collections.sealedroot.image.plugins.module_utils._system import nofollow
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run


def wanted(src_dir: str) -> t.Dict[str, bytes]:
    """Read the files of a directory, by their names on the partition."""
    files = nofollow.read_tree(src_dir)
    if not files:
        raise SealedRootError(f"{src_dir} has no files: put the boot files there")
    for name in files:
        esp.check_name(name)
    if len({name.upper() for name in files}) != len(files):
        raise SealedRootError("two files differ in nothing but case, which FAT does not keep apart")
    return files


def surplus(there: t.Iterable[str], files: t.Iterable[str]) -> t.List[str]:
    """Return entries other than the requested files and their directories, deepest first."""
    keep = {name.upper() for name in files}
    keep |= {f"{name[:index]}/" for name in keep for index, char in enumerate(name) if char == "/"}
    unwanted = [name for name in there if name.upper() not in keep]
    return sorted(unwanted, key=lambda name: (-name.rstrip("/").count("/"), name))


def apply(
    runner: Runner,
    path: str,
    offset: int,
    *,
    files: t.Mapping[str, bytes],
    there: t.Sequence[str],
    remove: t.Sequence[str],
    epoch: int,
) -> None:
    """Remove before writing, so that a replaced file frees its space first."""
    names = {name.upper() for name in files}
    replaced = [name for name in there if name.upper() in names]
    for name in [*remove, *replaced]:
        esp.remove(runner, path, offset, name)
    if not files:
        return
    need = sum(len(data) for data in files.values())
    free = esp.free_bytes(runner, path, offset)
    if free < need:
        raise SealedRootError(
            f"the files take {need} bytes and the EFI system partition of {path} has {free} left: take"
            " smaller or fewer ones"
        )
    known = set(there) - {*remove, *replaced}
    for name, data in files.items():
        esp.write(runner, path, offset, name, data, known=known, epoch=epoch)


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Write the files to the partition."""
    path = params["path"]
    table = partitions.read_gpt(runner, path)
    if table is None:
        raise SealedRootError(f"{path} has no partition table: make the disk first")
    offset = partitions.esp_and_luks(table)[0].offset
    files = wanted(params["src_dir"])
    there = esp.entries(runner, path, offset)
    have = {name.upper(): name for name in there}
    same = {
        name
        for name, data in files.items()
        if name.upper() in have and esp.read(runner, path, offset, have[name.upper()]) == data
    }
    write = {name: data for name, data in files.items() if name not in same}
    remove = surplus(there, files) if params["exclusive"] else []
    if not check_mode:
        epoch = params["source_date_epoch"]
        apply(runner, path, offset, files=write, there=there, remove=remove, epoch=epoch)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return {
        "changed": bool(write or remove),
        "files": digests,
        "removed": remove,
        "diff": {
            "before": {"kept": sorted(same), "others": sorted(remove)},
            "after": {"kept": sorted(same), "written": {name: digests[name] for name in write}},
        },
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "src_dir": {"type": "path", "required": True},
            "exclusive": {"type": "bool", "default": False},
            "source_date_epoch": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
