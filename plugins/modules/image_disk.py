#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: image_disk
short_description: The raw disk of a build, with an encrypted root file system
description:
  - Makes a disk with a GPT, an EFI system partition from 1 MiB to 100 MiB and a LUKS partition from there to the last
    MiB, makes the root file system in it, and mounts that.
  - The file system is made so that older GRUBs and kernels in the image read it, and with few blocks written, since
    ciphertext does not compress.
  - The root is mounted with C(nodev) and C(nosuid), since a device node in a hostile root must not open the builder's
    devices.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  work_dir:
    description:
      - The directory of the build, which is there already. The disk is C(disk.raw) in it, and the root is mounted on
        C(root) there.
    type: path
    required: true
  name:
    description: The name of the open LUKS container, a node in C(/dev/mapper).
    type: str
    required: true
  state:
    description:
      - V(open) makes what is not there yet, and mounts the root.
      - V(read_only) gives blocks back that files no longer use, and mounts the root read-only. That writes out the
        journal, which GRUB does not replay. Everybody may read the disk then, which is ciphertext.
      - V(closed) unmounts the root and closes the LUKS container.
    type: str
    choices: [closed, open, read_only]
    default: open
  size:
    description:
      - The size of the disk, a number with a unit; a part of a MiB counts as a whole one. Needed with O(state=open).
    type: str
  filesystem:
    description: The type of the root file system.
    type: str
    choices: [btrfs, ext4, xfs]
    default: ext4
  filesystem_features:
    description: Features of the file system in the words of its C(mkfs), with C(^) before those that are to be off.
    type: list
    elements: str
    default: []
  luks:
    description: What the LUKS header is made with, as M(sealedroot.image.luks_image) has it.
    type: dict
    default: {}
    suboptions:
      type:
        description: The LUKS version.
        type: str
        choices: [luks1, luks2]
      cipher:
        description: The cipher, in the notation of cryptsetup(8).
        type: str
      hash:
        description: The hash of the header.
        type: str
      key_slot:
        description: The key slot of O(key_file).
        type: int
  key_file:
    description: A file with the key, mode 0600; all of its bytes are the key. Needed with O(state=open).
    type: path
  backend:
    description: How the payload becomes a block device; V(auto) takes V(dm_crypt) where it works.
    type: str
    choices: [auto, dm_crypt, userspace]
    default: auto
  uuid:
    description:
      - The UUID that those of the disk, its partitions, the LUKS header, the volume ID and the order of ext4's
        directories are derived from. They are random without it.
    type: str
    default: ""
  root_uuid:
    description:
      - The UUID of the root file system; random without it. Nobody else is to know it before, since Btrfs would take a
        disk of the host that has it for its own.
    type: str
    default: ""
  source_date_epoch:
    description:
      - The time, in seconds since 1970, that the file systems are made at, and that no file in the root is later than.
        It is that of the clock when this is 0.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Make the disk and mount its root
  sealedroot.image.image_disk:
    work_dir: /var/tmp/sealedroot/web-1
    name: sealedroot-web-1
    size: 4GiB
    key_file: /var/tmp/sealedroot/web-1/private/keys/build.key

- name: Close it
  sealedroot.image.image_disk:
    work_dir: /var/tmp/sealedroot/web-1
    name: sealedroot-web-1
    state: closed
"""

RETURN = r"""
disk:
  description: Where the disk is, and the LUKS partition in it.
  type: dict
  returned: success
  contains:
    path:
      description: The disk.
      type: str
    mapping:
      description: The name of the open LUKS container.
      type: str
    root:
      description: C(offset) and C(size) of the LUKS partition, in bytes.
      type: dict
  sample:
    path: /var/tmp/sealedroot/web-1/disk.raw
    mapping: sealedroot-web-1
    root: {"offset": 104857600, "size": 4189061120}
device:
  description: The block device of the root file system, while the container is open.
  type: str
  returned: success
  sample: /dev/mapper/sealedroot-web-1
root:
  description: Where the root is mounted, while the container is open.
  type: str
  returned: success
  sample: /var/tmp/sealedroot/web-1/root
luks_uuid:
  description: The UUID of the LUKS header; empty in check mode when there is none.
  type: str
  returned: with O(state=open), but in check mode only when the disk is there
root_uuid:
  description: The UUID of the root file system.
  type: str
  returned: with O(state=open), and not in check mode
backend:
  description: The backend that was used.
  type: str
  returned: with O(state=open), but in check mode only when the disk is there
backend_reason:
  description: Why that backend was used.
  type: str
  returned: with O(state=open), but in check mode only when the disk is there
"""

import os
import stat
import typing as t
import uuid

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._disk import layout, luks_region
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import mkfs
from ansible_collections.sealedroot.image.plugins.module_utils._luks import backend as luks_backend
from ansible_collections.sealedroot.image.plugins.module_utils._system import mounts
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

Params = t.Mapping[str, t.Any]

MOUNT_OPTIONS = ("noatime", "nodev", "nosuid")
# ext4 stores in its superblock under which mount point its first file was opened (ext4_sample_last_mounted in the
# kernel). So that this is the same in every build, the first file is opened where the root is mounted on /root.
FIRST_FILE = 'mount --bind "$1" /root; : >/root/.first; rm /root/.first'
# find refuses -execdir if PATH has a relative directory.
FIND_PATH = {"PATH": "/usr/bin:/bin"}
# The mode of the disk, which is ciphertext, once nothing more is written to it.
PUBLIC = 0o644


def mounted(root: str) -> t.Optional[mounts.Mount]:
    """Return the mount on *root*."""
    path = os.path.realpath(root)
    return next((it for it in reversed(mounts.read()) if it.path == path), None)


def luks(
    runner: Runner, params: Params, state: str, uuids: t.Mapping[str, str], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Open or close the container like the module luks_image."""
    header = {name: params["luks"].get(name) for name in (*luks_region.DEFAULTS, "uuid")}
    asked = {
        **header,
        "path": os.path.join(params["work_dir"], "disk.raw"),
        "offset": layout.ROOT_OFFSET,
        "size": layout.root_size(params["size"]),
        "name": params["name"],
        "uuid": uuids.get("luks"),
        "key_file": params["key_file"] if state == "open" else None,
        "backend": params["backend"],
        "work_dir": params["work_dir"],
        "state": state,
        "read_only": False,
        "force": False,
    }
    return luks_region.ensure(runner, asked, check_mode=check_mode)


def value(runner: Runner, device: str, name: str) -> str:
    """Return a tag that blkid(8) finds on *device*; empty if there is none."""
    argv = [runner.find("blkid"), "--probe", "--match-tag", name, "--output", "value", device]
    return runner.run(argv, check=False, timeout=60).stdout.strip()


def make_filesystem(
    runner: Runner, params: Params, device: str, uuids: t.Mapping[str, str]
) -> None:
    """Make the root file system."""
    request = mkfs.Request(
        device=device,
        uuid=params["root_uuid"] or str(uuid.uuid4()),
        size=params["size"],
        features=tuple(params["filesystem_features"]),
        hash_seed=uuids.get("directories", ""),
    )
    epoch = str(params["source_date_epoch"])
    env = {"SOURCE_DATE_EPOCH": epoch, "E2FSPROGS_FAKE_TIME": epoch} if epoch != "0" else {}
    mkfs.make(runner, params["filesystem"], request, env)


def mount(runner: Runner, params: Params, device: str, root: str) -> None:
    """Mount the root file system that this module made."""
    kind = value(runner, device, "TYPE")
    if kind != params["filesystem"]:
        raise SealedRootError(
            f"{device} has {kind or 'no file system'}, not {params['filesystem']}: correct filesystem, or tear the"
            " build down"
        )
    os.makedirs(root, mode=0o700, exist_ok=True)
    options = ",".join((*MOUNT_OPTIONS, *mkfs.MAKERS[kind].mount_options))
    runner.run([runner.find("mount"), "-t", kind, "-o", options, device, root], timeout=60)
    if kind == "ext4":
        shell = ["sh", "-euc", FIRST_FILE, "-", root]
        runner.run([runner.find("unshare"), "--mount", *shell], timeout=60)


def state_of(params: Params) -> str:
    """Return the state of the disk, including ``absent``."""
    path, root = paths(params)
    if not os.path.lexists(path):
        return "absent"
    at = mounted(root)
    if at is None:
        return "closed"
    is_public = stat.S_IMODE(os.stat(path).st_mode) == PUBLIC
    return "read_only" if "ro" in at.options and is_public else "open"


def paths(params: Params) -> t.Tuple[str, str]:
    """Return the path of the disk and where its root is mounted."""
    return os.path.join(params["work_dir"], "disk.raw"), os.path.join(params["work_dir"], "root")


def make_and_open(
    runner: Runner, params: Params, uuids: t.Mapping[str, str], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Make what is missing and mount the root; return the facts about the container."""
    path, root = paths(params)
    if not layout.is_made(runner, path, params["size"]):
        if check_mode:
            return {}
        is_reproducible = params["source_date_epoch"] > 0
        layout.make(runner, path, params["size"], uuids, reproducible=is_reproducible)
    container = luks(runner, params, "open", uuids, check_mode=check_mode)
    device = container["device"]
    if mounted(root) is None and not check_mode:
        if container["formatted"] or not value(runner, device, "TYPE"):
            make_filesystem(runner, params, device, uuids)
        mount(runner, params, device, root)
    said = {name: container[name] for name in ("backend", "backend_reason")}
    root_uuid = {} if check_mode else {"root_uuid": value(runner, device, "UUID")}
    return {**said, **root_uuid, "luks_uuid": container["uuid"]}


def make_read_only(runner: Runner, params: Params) -> None:
    """Write now what closing the disk would write, and remount it read-only."""
    path, root = paths(params)
    epoch = params["source_date_epoch"]
    if epoch:
        later = [runner.find("find"), root, "-xdev", "-newermt", f"@{epoch}"]
        touch = ["touch", "--no-dereference", f"--date=@{epoch}", "--", "{}", "+"]
        runner.run([*later, "-execdir", *touch], env=FIND_PATH, timeout=600)
    # QEMU's LUKS driver (userspace backend) ignores this, up to 7.2 at least. That is why a build makes its temporary
    # files elsewhere.
    runner.run([runner.find("fstrim"), root], timeout=600)
    runner.run([runner.find("mount"), "-o", "remount,ro", root], timeout=60)
    # The image's own GRUB reads the disk, and the image's root is an unprivileged user on the builder.
    os.chmod(path, PUBLIC)


def close(runner: Runner, params: Params, *, check_mode: bool) -> bool:
    """Unmount the root and close the container; say whether anything was open."""
    _path, root = paths(params)
    is_mounted = mounted(root) is not None
    if is_mounted and not check_mode:
        runner.run([runner.find("umount"), root], timeout=600)
    container = luks(runner, params, "closed", {}, check_mode=check_mode)
    return is_mounted or bool(container["changed"])


def ensure(runner: Runner, params: Params, *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Bring the disk into the requested state."""
    work_dir, state = params["work_dir"], params["state"]
    uuids = layout.derived_uuids(params["uuid"])
    if not os.path.isdir(work_dir):
        raise SealedRootError(f"{work_dir} is not there: make the directory of the build first")
    path, root = paths(params)
    before = state_of(params)
    if state != "open" and before == "absent":
        raise SealedRootError(f"{path} is not there: make and open the disk first")
    size = layout.size_bytes(params["size"] if state == "open" else os.path.getsize(path))
    size = layout.whole_mib(size)
    params = {**params, "size": size}
    region = {"offset": layout.ROOT_OFFSET, "size": layout.root_size(size)}
    said: t.Dict[str, t.Any] = {}
    changed = before != state
    if state == "open":
        said = make_and_open(runner, params, uuids, check_mode=check_mode)
        changed = before in ("absent", "closed")
    elif state == "closed":
        changed = close(runner, params, check_mode=check_mode)
    elif before == "closed":
        raise SealedRootError(f"nothing is mounted on {root}: open the disk first")
    elif changed and not check_mode:
        make_read_only(runner, params)
    return {
        "changed": changed,
        "disk": {"path": path, "mapping": params["name"], "root": region},
        "device": f"{luks_backend.MAPPER_DIR}/{params['name']}",
        "root": root,
        **said,
        "diff": {"before": {"state": before}, "after": {"state": state}},
    }


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "work_dir": {"type": "path", "required": True},
            "name": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": ["closed", "open", "read_only"],
                "default": "open",
            },
            "size": {"type": "str"},
            "filesystem": {"type": "str", "choices": ["btrfs", "ext4", "xfs"], "default": "ext4"},
            "filesystem_features": {"type": "list", "elements": "str", "default": []},
            "luks": {
                "type": "dict",
                "default": {},
                "options": {
                    "type": {"type": "str", "choices": ["luks1", "luks2"]},
                    "cipher": {"type": "str"},
                    "hash": {"type": "str"},
                    "key_slot": {"type": "int", "no_log": False},
                },
            },
            "key_file": {"type": "path", "no_log": False},
            "backend": {
                "type": "str",
                "choices": ["auto", "dm_crypt", "userspace"],
                "default": "auto",
            },
            "uuid": {"type": "str", "default": ""},
            "root_uuid": {"type": "str", "default": ""},
            "source_date_epoch": {"type": "int", "default": 0},
        },
        required_if=[("state", "open", ("size", "key_file"))],
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
