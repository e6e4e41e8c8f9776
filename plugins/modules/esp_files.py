#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: esp_files
short_description: Files on the EFI system partition of a raw disk image
description:
  - Puts the files of a directory on the EFI system partition of a raw disk image, without mounting it.
  - The directory may have been filled by an untrusted image. Nothing but regular files below real
    directories is taken; a symbolic link in it is an error, so it cannot lead to a file of this machine.
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
    description: Remove what is on the partition and not in O(src_dir).
    type: bool
    default: false
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
"""

import hashlib
import os
import stat
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils import _esp, _gpt
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)

LARGEST = 64 << 20


def read_tree(directory: str) -> t.Dict[str, bytes]:
    """Read every file below *directory* without ever following a symbolic link."""
    files: t.Dict[str, bytes] = {}

    def visit(handle: int, prefix: str) -> None:
        for name in sorted(os.listdir(handle)):
            label = f"{prefix}{name}"
            info = os.stat(name, dir_fd=handle, follow_symlinks=False)
            if not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
                raise SealedRootError(
                    f"{label} in {directory} is neither a file nor a directory: an image must not put"
                    " links or devices there"
                )
            kind = os.O_DIRECTORY if stat.S_ISDIR(info.st_mode) else 0
            # O_NOFOLLOW closes the gap between looking and opening.
            inner = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | kind, dir_fd=handle)
            try:
                if kind:
                    visit(inner, f"{label}/")
                    continue
                if info.st_size > LARGEST:
                    raise SealedRootError(f"{label} is larger than {LARGEST} bytes")
                with open(inner, "rb", closefd=False) as file:
                    files[label] = file.read(LARGEST)
            finally:
                os.close(inner)

    try:
        top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as exc:
        raise SealedRootError(f"{directory} cannot be read: {exc.strerror}") from exc
    try:
        visit(top, "")
    finally:
        os.close(top)
    return files


def ensure(runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Make the partition hold the files."""
    path = params["path"]
    partitions = _gpt.read(runner, path)
    if partitions is None:
        raise SealedRootError(f"{path} has no partition table")
    esp, _luks = _gpt.esp_and_luks(partitions)
    files = read_tree(params["src_dir"])
    there = _esp.names(runner, path, esp.offset)
    write = [
        name
        for name, data in files.items()
        if name not in there or _esp.read(runner, path, esp.offset, name) != data
    ]
    remove = [name for name in there if params["exclusive"] and name not in files]
    if not check_mode:
        for name in remove:
            _esp.remove(runner, path, esp.offset, name)
        for name in write:
            _esp.write(runner, path, esp.offset, name, files[name])
    return {
        "changed": bool(write or remove),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        "diff": {
            "before": {"files": there},
            "after": {"files": sorted({*there, *write} - set(remove))},
        },
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "src_dir": {"type": "path", "required": True},
            "exclusive": {"type": "bool", "default": False},
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
