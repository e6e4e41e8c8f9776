#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_convert
short_description: A disk in the formats of hypervisors and clouds
version_added: 1.0.0
description:
  - Converts a raw disk to files with holes where it has none but zeros, all formats at the same time, and compares each
    with the disk.
  - A file that is there already, is the same disk and needs no other file stays as it is.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  path:
    description: The raw disk, which nothing may write to meanwhile.
    type: path
    required: true
  mapping:
    description:
      - The name of the LUKS container in a disk that M(sealedroot.image.image_disk) has opened. The disk is closed
        first, as that module does it, and blocks that no file uses are given back; without a name it has to be closed
        already, and bound to no loop device.
      - An unmount writes, even of a read-only mount, so the disk cannot be converted before.
    type: str
    default: ""
  sandbox:
    description:
      - The directory that M(sealedroot.image.image_runtime) prepared for the image. With it, the image's own GRUB has
        to read every kernel and initramfs from the disk before that is closed. The image sees the disk, which is
        ciphertext, and the boot key for that.
      - Needs O(mapping).
    type: path
  source_date_epoch:
    description:
      - The time, in seconds since 1970, that no file in the root is later than when the disk is closed; V(0) leaves the
        times as they are.
    type: int
    default: 0
  dest:
    description:
      - The directory of the files, which are called C(disk.FORMAT); made with mode 0700 if missing.
      - Nothing else may be in it, since all of it is published.
    type: path
    required: true
  formats:
    description: The formats.
    type: list
    elements: str
    choices: [qcow2, raw, vhd, vhdx, vmdk]
    required: true
  digests_of:
    description: Those of O(formats) whose SHA-256 is to be returned.
    type: list
    elements: str
    choices: [qcow2, raw, vhd, vhdx, vmdk]
    default: []
  remove_disk:
    description: Whether to remove the raw disk when all is converted.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Close the disk of a build and convert it
  sealedroot.image.image_convert:
    path: /var/tmp/sealedroot/web-1/disk.raw
    mapping: sealedroot-web-1
    sandbox: /var/tmp/sealedroot/web-1/private/run
    dest: /srv/images/.web-1.partial
    formats: [qcow2, vmdk]
"""

RETURN = r"""
disks:
  description: Each file, by its format.
  type: dict
  returned: success
  contains:
    FORMAT:
      description: One format.
      type: dict
      contains:
        path:
          description: The file.
          type: str
        driver:
          description: What QEMU calls the format.
          type: str
        is_flat:
          description: Whether the file is as long as the disk, and mostly holes.
          type: bool
        sha256:
          description: The SHA-256 of the file.
          type: str
          returned: for O(digests_of), and not in check mode
  sample: {"qcow2": {"path": "/srv/images/.web-1.partial/disk.qcow2", "driver": "qcow2", "is_flat": false}}
"""

import concurrent.futures
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._build import own_grub, root_disk
from ansible_collections.sealedroot.image.plugins.module_utils._disk import conversion
from ansible_collections.sealedroot.image.plugins.module_utils._disk.output_formats import FORMATS
from ansible_collections.sealedroot.image.plugins.module_utils._system import loop_devices
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.digest import sha256
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run


def check(params: t.Mapping[str, t.Any], paths: t.Mapping[str, str]) -> None:
    """Refuse formats that contradict each other, or a directory with other files, which would be published as well."""
    dest = params["dest"]
    if not paths:
        raise SealedRootError("formats is empty: name at least one")
    if params["sandbox"] and not params["mapping"]:
        raise SealedRootError(
            "sandbox is for a disk that is open: give its mapping, or leave it out"
        )
    unknown = sorted(set(params["digests_of"]) - set(paths))
    if unknown:
        raise SealedRootError(f"digests_of has {unknown[0]}, but formats does not: correct that")
    if os.path.lexists(dest):
        others = sorted(set(os.listdir(dest)) - {os.path.basename(path) for path in paths.values()})
        if others:
            raise SealedRootError(
                f"{dest} has '{others[0]}' in it, which would be published with the image: remove it, or tear down the"
                " build that left it"
            )


def close(runner: Runner, disk: str, params: t.Mapping[str, t.Any], *, check_mode: bool) -> bool:
    """Close a disk with a mapping, and say whether it was open; refuse another one that is open."""
    if not os.path.isfile(disk):
        return False
    if params["mapping"]:
        made = root_disk.made(runner, disk, params["mapping"], params["source_date_epoch"])
        if not check_mode:
            if made.state() == "open":
                made.make_read_only()
            if params["sandbox"] and made.state() == "read_only":
                own_grub.prove(runner, sandbox=params["sandbox"], root=made.root, disk=disk)
        return made.close(check_mode=check_mode)
    # QEMU itself reads no disk that another QEMU writes to, which is how the userspace backend opens it.
    info = os.stat(disk)
    held = [it for it in loop_devices.list_all(runner) if it.inode == (info.st_dev, info.st_ino)]
    if held:
        raise SealedRootError(
            f"{disk} is open on {held[0].device}: close it, or name its LUKS container in mapping"
        )
    return False


def left_to_do(
    runner: Runner, disk: str, paths: t.Mapping[str, str], *, removed: bool
) -> t.Dict[str, str]:
    """Return the files that are missing or differ from the disk; none if it was *removed* when all was there."""
    if os.path.isfile(disk):
        return {
            name: path
            for name, path in paths.items()
            if not conversion.is_done(runner, disk, path, name)
        }
    if removed and all(os.path.isfile(path) for path in paths.values()):
        return {}  # an earlier call has converted, compared and removed it
    raise SealedRootError(f"{disk} is not a file: give the raw disk that is to be converted")


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Close the disk, and make the files that are missing or differ from it."""
    disk, dest = os.path.abspath(params["path"]), params["dest"]
    paths = {name: os.path.join(dest, f"disk.{name}") for name in params["formats"]}
    check(params, paths)
    was_open = close(runner, disk, params, check_mode=check_mode)
    missing = left_to_do(runner, disk, paths, removed=params["remove_disk"])
    removes = params["remove_disk"] and os.path.lexists(disk)
    digests: t.Dict[str, str] = {}
    if not check_mode:
        os.makedirs(os.path.dirname(dest), exist_ok=True)
        if not os.path.isdir(dest):
            os.mkdir(dest, 0o700)
        conversion.convert_all(runner, disk, missing)
        wanted = params["digests_of"]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            digests = dict(zip(wanted, pool.map(sha256, map(paths.__getitem__, wanted))))
        if removes:
            os.unlink(disk)
    disks = {
        name: {
            "path": path,
            "driver": FORMATS[name].driver,
            "is_flat": FORMATS[name].is_flat,
            **({"sha256": digests[name]} if name in digests else {}),
        }
        for name, path in paths.items()
    }
    return {
        "changed": bool(missing) or removes or was_open,
        "disks": disks,
        "diff": {
            "before": {"disks": sorted(set(paths) - set(missing)), "is_open": was_open},
            "after": {"disks": sorted(paths), "is_open": False},
        },
    }


def main() -> t.NoReturn:
    """Run the module."""
    formats = {"type": "list", "elements": "str", "choices": [*FORMATS]}
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "mapping": {"type": "str", "default": ""},
            "sandbox": {"type": "path"},
            "source_date_epoch": {"type": "int", "default": 0},
            "dest": {"type": "path", "required": True},
            "formats": {**formats, "required": True},
            "digests_of": {**formats, "default": []},
            "remove_disk": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
