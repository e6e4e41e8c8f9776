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
  disk_uuid:
    description: The GUID of the disk. Random when it is not given.
    type: str
  esp_uuid:
    description: The GUID of the EFI system partition. Random when it is not given.
    type: str
  root_partition_uuid:
    description: The GUID of the partition for LUKS. Random when it is not given.
    type: str
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
uuid:
  description: The GUID of the disk; empty in check mode when it would be a random one.
  type: str
  returned: success
esp:
  description: Offset and size in bytes and the GUID of the EFI system partition.
  type: dict
  returned: success
  sample: {"offset": 1048576, "size": 103809024, "uuid": "DA2B27D0-BC5E-FF44-8AB1-E37D410461BB"}
root:
  description: Offset and size in bytes and the GUID of the partition for LUKS.
  type: dict
  returned: success
  sample: {"offset": 104857600, "size": 4189061120, "uuid": "3E262DC3-FA55-DF48-B8B7-59B5E52DBEE9"}
"""

import errno
import os
import re
import stat
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils import _gpt
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)

LARGEST = 1 << 50
_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def want(params: t.Mapping[str, t.Any]) -> t.Tuple[int, _gpt.Table]:
    """Return the size and the table that are asked for."""
    if not 0 < params["size"] <= LARGEST:
        raise SealedRootError(f"size {params['size']} is not the size of a disk: give bytes")
    for option in ("disk_uuid", "esp_uuid", "root_partition_uuid"):
        if params[option] and not _GUID.fullmatch(params[option]):
            raise SealedRootError(f"{option} '{params[option]}' is not a GUID")
    size = -(-params["size"] // _gpt.MIB) * _gpt.MIB
    table = _gpt.wanted(
        size,
        disk_uuid=params["disk_uuid"] or "",
        esp_uuid=params["esp_uuid"] or "",
        root_uuid=params["root_partition_uuid"] or "",
    )
    return size, table


def is_blank(path: str) -> bool:
    """Say whether the file is missing or has nothing but holes in it."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return True
    except OSError as exc:
        raise SealedRootError(f"{path} cannot be opened: {exc.strerror}") from exc
    try:
        info = os.fstat(handle)
        if not stat.S_ISREG(info.st_mode):
            raise SealedRootError(f"{path} is not a regular file: give the path of an image file")
        if info.st_size:
            os.lseek(handle, 0, os.SEEK_DATA)
    except OSError as exc:
        if exc.errno == errno.ENXIO:  # no data anywhere
            return True
        raise
    finally:
        os.close(handle)
    return info.st_size == 0


def esp_label(runner: Runner, path: str, esp: _gpt.Partition) -> str:
    """Return the label of the FAT file system in the ESP; empty when there is none."""
    argv = [runner.find("blkid"), "--probe", "--output", "export", "--offset", str(esp.offset)]
    found = runner.run([*argv, "--size", str(esp.size), path], check=False, timeout=60)
    tags = dict(line.partition("=")[::2] for line in found.stdout.splitlines())
    return tags.get("LABEL", "") if tags.get("TYPE") == "vfat" else ""


def format_esp(runner: Runner, path: str, esp: _gpt.Partition) -> None:
    """Make the FAT32 file system of the ESP, inside the file.

    One sector per cluster: mkfs.vfat would choose by the size of the whole disk, and with larger
    clusters 99 MiB have too few of them to be a FAT32 at all.
    """
    start = str(esp.offset // _gpt.SECTOR)
    argv = [runner.find("mkfs.vfat"), "-F", "32", "-S", str(_gpt.SECTOR), "-s", "1"]
    argv += ["-n", esp.name, "-h", start, "--offset", start]
    runner.run([*argv, path, str(esp.size // 1024)], timeout=60)
    if esp_label(runner, path, esp) != esp.name:
        raise SealedRootError(f"mkfs.vfat left no FAT file system in the ESP of {path}")


def make(runner: Runner, path: str, size: int, table: _gpt.Table) -> _gpt.Table:
    """Write the disk from scratch; a half-made one is removed again."""
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o700, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as exc:
        raise SealedRootError(f"{path} cannot be made: {exc.strerror}") from exc
    try:
        try:
            os.fchmod(handle, 0o600)
            os.ftruncate(handle, 0)
            os.ftruncate(handle, size)
        finally:
            os.close(handle)
        _gpt.write(runner, path, table)
        found = _gpt.read(runner, path)
        if found is None or not found.fits(table):
            raise SealedRootError(f"sfdisk wrote {found} instead of {table}")
        format_esp(runner, path, table.partitions[0])
    except OSError as exc:
        os.unlink(path)
        raise SealedRootError(f"{path} cannot have {size} bytes: {exc.strerror}") from exc
    except SealedRootError:
        os.unlink(path)
        raise
    return found


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Make the disk when it is not there, and say where its partitions are."""
    path = params["path"]
    size, table = want(params)
    blank = is_blank(path)
    have = None if blank or os.path.getsize(path) != size else _gpt.read(runner, path)
    same = have is not None and have.fits(table)
    # A run that was cut off between table and file system is finished, not refused.
    formatted = same and esp_label(runner, path, table.partitions[0]) == table.partitions[0].name
    if not same and not blank and not params["force"]:
        raise SealedRootError(
            f"{path} exists and is another disk: remove it, or set force to make it anew"
        )
    if same and have is not None:
        table = have
    if not check_mode:
        if not same:
            table = make(runner, path, size, table)
        elif not formatted:
            format_esp(runner, path, table.partitions[0])
    esp, root = table.partitions
    after = "as wanted"
    before = "absent" if blank else "another disk" if not same else "no file system in the ESP"
    return {
        "changed": not formatted,
        "path": path,
        "size": size,
        "uuid": table.uuid,
        "esp": {"offset": esp.offset, "size": esp.size, "uuid": esp.uuid},
        "root": {"offset": root.offset, "size": root.size, "uuid": root.uuid},
        "diff": {"before": {path: after if formatted else before}, "after": {path: after}},
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "size": {"type": "int", "required": True},
            "disk_uuid": {"type": "str"},
            "esp_uuid": {"type": "str"},
            "root_partition_uuid": {"type": "str"},
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
