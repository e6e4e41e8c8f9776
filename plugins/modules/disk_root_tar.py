#!/usr/bin/python
# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: disk_root_tar
short_description: The root in a disk image as a tar
description:
  - Finds the root in a disk image (raw, qcow2, vmdk, vdi, vhd, vhdx) by its os-release and packs it, with extended
    attributes, ACLs, capabilities, hard links, holes and numeric owners. There can be a GPT, an MBR or no partition
    table, and the root can be on ext4, xfs or a btrfs subvolume, in a partition or in a linear logical volume of LVM2.
  - What the root's fstab mounts from the same disk, such as C(/boot), C(/usr) or C(/home), is packed in its place. The
    EFI system partition and the content of C(/dev), C(/proc), C(/run) and C(/sys) are left out.
  - The image is only read. A journal that was not written back is replayed into a layer above it, so the root is packed
    as its machine would see it.
  - An image that needs another file (a backing file, a parent, extents) is refused, since it could name any file of the
    builder. LUKS is not read, nor are logical volumes that are more than pieces of the disk (striped, thin, RAID,
    cached, snapshots). LVM takes no part, so no volume group of the disk is ever activated.
  - The kernel mounts the file systems, read-only. Give only images to it whose makers are trusted not to attack a file
    system driver.
author: The sealedroot.image authors (@sealedroot)
extends_documentation_fragment:
  - sealedroot.image._attributes
options:
  path:
    description: The disk image, a file of its own.
    type: path
    required: true
  digest:
    description: The SHA-256 that the disk image must have.
    type: str
  partition:
    description: The number of the root's partition, for a disk with more than one root.
    type: int
  logical_volume:
    description: The root's logical volume, as C(group/name), for a disk with more than one root.
    type: str
  subvolume:
    description: The path of the root's btrfs subvolume, for a file system with more than one root.
    type: str
  cache_dir:
    description: Where the tar is kept, named after the digest of the disk image.
    type: path
    required: true
  work_dir:
    description: The directory of the build, where its teardown finds what an interrupted run has left.
    type: path
    required: true
"""

EXAMPLES = r"""
- name: Pack the root in a disk image
  sealedroot.image.disk_root_tar:
    path: /srv/disks/web.qcow2
    cache_dir: /var/cache/sealedroot
    work_dir: /var/tmp/sealedroot/web-1
"""

RETURN = r"""
path:
  description: The tar; in check mode, what it would be.
  type: str
  returned: success
  sample: /var/cache/sealedroot/disk-0f1e2d3c4b5a6978.tar
"""

import contextlib
import hashlib
import json
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.sealedroot.image.plugins.module_utils._build import (
    release,
    work_dir as build_work_dir,
)
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    cache,
    mounted_disk,
    tree_tar,
    volumes as source_volumes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    digest as system_digest,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    ModuleRunner,
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.edge import run

Params = t.Mapping[str, t.Any]


def identity(path: str) -> t.Tuple[int, ...]:
    """Return what changes when somebody writes to the file."""
    info = os.stat(path)
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def choose(
    path: str,
    found: t.Sequence[mounted_disk.Root],
    asked: t.Iterable[source_volumes.Volume],
    subvolume: t.Optional[str],
) -> mounted_disk.Root:
    """Return the only root that was found."""
    names = "; ".join(it.name for it in found)
    if len(found) == 1:
        return found[0]
    if found:
        raise SealedRootError(
            f"{path} has more than one root ({names}): choose by partition, logical_volume or"
            " subvolume of image_source"
        )
    if subvolume is None:
        raise source_volumes.no_root(path, list(asked))
    raise SealedRootError(
        f"{path} has no root in the subvolume '{subvolume}' of {', '.join(it.name for it in asked)}:"
        " correct image_source"
    )


def look(
    disk: mounted_disk.Disk, path: str, params: Params
) -> t.Tuple[mounted_disk.Root, t.List[source_volumes.Volume]]:
    """Find the root."""
    volumes = disk.volumes()
    subvolume = params["subvolume"]
    asked = volumes
    for option, field in (("partition", "number"), ("logical_volume", "logical")):
        wanted = params[option]
        if wanted is not None:
            asked = [it for it in asked if getattr(it, field) == wanted]
            if not asked:
                there = ", ".join(it.name for it in volumes)
                raise SealedRootError(
                    f"{path} has no {option.replace('_', ' ')} {wanted} ({there}): correct {option}"
                )
    found: t.List[mounted_disk.Root] = []
    for volume in asked:
        if volume.type not in source_volumes.FILE_SYSTEMS:
            continue
        if subvolume is None:
            found += disk.roots(volume)
        elif volume.type == "btrfs":
            name = subvolume.strip("/")
            with disk.mounted(volume, "subvolid=5") as top:
                place = os.path.join(top, name)
                if mounted_disk.is_directory(top, name) and mounted_disk.has_root(place):
                    found.append(mounted_disk.Root(volume, name, mounted_disk.read_fstab(place)))
    return choose(path, found, asked, subvolume), volumes


@contextlib.contextmanager
def scratch_of(runner: Runner, work_dir: str) -> t.Iterator[str]:
    """Give a directory below that of the build; before and after, nothing is held in it."""
    build_work_dir.check_place(work_dir)
    made = not os.path.exists(work_dir)
    scratch = os.path.join(work_dir, "disk-source")
    clear(runner, scratch)
    os.makedirs(scratch, 0o700)
    try:
        yield scratch
    finally:
        clear(runner, scratch)
        if made:
            with contextlib.suppress(OSError):
                os.rmdir(work_dir)


def clear(runner: Runner, scratch: str) -> None:
    """Release what is held in the scratch directory, and remove what a run can have left there, no more."""
    release.release(runner, scratch)
    for name in os.listdir(scratch) if os.path.isdir(scratch) else ():
        if mounted_disk.FILES.fullmatch(name):
            os.unlink(os.path.join(scratch, name))
    # Not recursively: should a file system still be mounted, nothing in it is touched.
    for name in ("probe", "root", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(os.path.join(scratch, name))


def make(runner: Runner, params: Params, driver: str, path: str) -> None:
    """Pack the root in the disk image to *path*, which appears whole or not at all."""
    source = os.path.realpath(params["path"])
    # A file without a name: it is gone with the process, however that ends.
    handle = os.open(params["cache_dir"], os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        with scratch_of(runner, params["work_dir"]) as scratch:
            disk = mounted_disk.Disk(runner, scratch)
            disk.open(source, driver)
            root, volumes = look(disk, source, params)
            disk.assemble(root, volumes)
            names = tree_tar.scan(disk.root).names
            tree_tar.pack(runner, disk.root, names, f"/proc/{os.getpid()}/fd/{handle}")
        os.fsync(handle)
        # Only with a descriptor, which an absolute path makes no use of, does Python follow the link.
        os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle, follow_symlinks=True)
    finally:
        os.close(handle)


def ensure(runner: Runner, params: Params, *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Return the tar, packed if it is not there."""
    source = os.path.realpath(params["path"])
    driver = mounted_disk.image_format(source)
    before = identity(source)
    digest = system_digest.sha256(source)
    system_digest.check_digest(source, digest, params["digest"])
    determined = [digest, *(params[it] for it in ("partition", "logical_volume", "subvolume"))]
    name = hashlib.sha256(json.dumps(determined).encode()).hexdigest()[:16]
    path = os.path.join(params["cache_dir"], f"disk-{name}.tar")
    if os.path.exists(path) or check_mode:
        return {"changed": not os.path.exists(path), "path": path}
    with cache.locked(params["cache_dir"], os.path.basename(path)):
        if os.path.exists(path):
            return {"changed": False, "path": path}
        make(runner, params, driver, path)
        if identity(source) != before:
            os.unlink(path)
            raise SealedRootError(
                f"{source} changed while it was read: shut the machine down that uses it, or copy it first"
            )
    return {"changed": True, "path": path}


def main() -> t.NoReturn:
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "digest": {"type": "str"},
            "partition": {"type": "int"},
            "logical_volume": {"type": "str"},
            "subvolume": {"type": "str"},
            "cache_dir": {"type": "path", "required": True},
            "work_dir": {"type": "path", "required": True},
        },
        mutually_exclusive=[("partition", "logical_volume")],
        supports_check_mode=True,
    )
    run(module, lambda: ensure(ModuleRunner(module), module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
