# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Make a tar of the root in a disk image: find it by its os-release, and add what its fstab mounts from that disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._build import (
    release,
    work_dir as build_work_dir,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import boot_files
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    cache,
    found_root,
    mounted_disk,
    not_taken,
    tree_tar,
    volumes as source_volumes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    digest as system_digest,
    printable,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

Params = t.Mapping[str, t.Any]
# Raise it when another part of a disk is packed, so that tars in the cache are made anew.
_METHOD = 3
_BOOT = b"./boot/"


def identity(path: str) -> t.Tuple[int, ...]:
    """Return values that change when the file is written to."""
    info = os.stat(path)
    return (info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)


def choose(
    path: str,
    found: t.Sequence[found_root.Root],
    asked: t.Iterable[source_volumes.Volume],
    subvolume: t.Optional[str],
) -> found_root.Root:
    """Return the only root found; raise an error if there is none, or more than one."""
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
) -> t.Tuple[found_root.Root, t.List[source_volumes.Volume]]:
    """Find the root in the disk; return it with all volumes."""
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
    roots: t.List[found_root.Root] = []
    for volume in asked:
        if volume.type not in source_volumes.FILE_SYSTEMS:
            continue
        if subvolume is None:
            roots += disk.roots(volume)
        elif volume.type == "btrfs":
            name = subvolume.strip("/")
            with disk.mounted(volume, source_volumes.option_of("")) as top:
                place = os.path.join(top, name)
                if found_root.is_directory(top, name) and found_root.has_root(place):
                    roots.append(found_root.Root(volume, name, found_root.read_mounts(place)))
    return choose(path, roots, asked, subvolume), volumes


@contextlib.contextmanager
def scratch_of(runner: Runner, work_dir: str) -> t.Iterator[str]:
    """Yield a directory below the build's; release everything in it before and after."""
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
    """Release what is in use below the scratch directory, and remove only files that a run can have left there."""
    release.release(runner, scratch)
    for name in os.listdir(scratch) if os.path.isdir(scratch) else ():
        if mounted_disk.FILES.fullmatch(name):
            os.unlink(os.path.join(scratch, name))
    # Not recursively: if a file system is still mounted, its content must not be touched.
    for name in ("probe", "root", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(os.path.join(scratch, name))


def make(runner: Runner, params: Params, driver: str, path: str) -> None:
    """Pack the root in the disk image to *path*, which appears only when it is complete."""
    source = os.path.realpath(params["path"])
    # A file without a name disappears with the process, however it ends.
    handle = os.open(params["cache_dir"], os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        with scratch_of(runner, params["work_dir"]) as scratch:
            disk = mounted_disk.Disk(runner, scratch)
            disk.open(source, driver)
            root, volumes = look(disk, source, params)
            taken = disk.assemble(root, volumes)
            names = tree_tar.scan(disk.root).names
            in_boot = (it[len(_BOOT) :] for it in names if it.startswith(_BOOT))
            has_kernel = bool(boot_files.kernel_files(map(os.fsdecode, in_boot)))
            left_out = not_taken.left_out(volumes, taken, root.rows, has_kernel=has_kernel)
            tree_tar.pack(runner, disk.root, names, f"/proc/{os.getpid()}/fd/{handle}")
        os.fsync(handle)
        with open(_beside(path), "w", encoding="utf-8") as file:
            json.dump(printable.result(left_out), file)
        # One whose record was lost.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        # Python follows the symlink only if a directory descriptor is given, which has no effect on an absolute path.
        os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=handle, follow_symlinks=True)
    finally:
        os.close(handle)


def _beside(path: str) -> str:
    """Return the file in the cache that says what of the disk is not in a tar."""
    return f"{path}.left_out"


def _is_there(path: str) -> bool:
    return os.path.exists(path) and os.path.exists(_beside(path))


def _left_out(path: str) -> t.List[str]:
    try:
        with open(_beside(path), encoding="utf-8") as file:
            return [str(it) for it in json.load(file)]
    except FileNotFoundError:
        # In check mode, nothing was packed.
        return []


def ensure(runner: Runner, params: Params, *, check_mode: bool) -> t.Dict[str, t.Any]:
    """Return the path of the tar; pack it if it does not exist."""
    if params["partition"] is not None and params["logical_volume"] is not None:
        raise SealedRootError(
            "partition and logical_volume exclude each other: give one of the two"
        )
    source = os.path.realpath(params["path"])
    driver = mounted_disk.image_format(runner, source)
    before = identity(source)
    digest = system_digest.sha256(source)
    system_digest.check_digest(source, digest, params["digest"])
    choice = [params[it] for it in ("partition", "logical_volume", "subvolume")]
    determined = [_METHOD, digest, *choice]
    name = hashlib.sha256(json.dumps(determined).encode()).hexdigest()[:16]
    path = os.path.join(params["cache_dir"], f"disk-{name}.tar")
    changed = not _is_there(path)
    if changed and not check_mode:
        with cache.locked(params["cache_dir"], os.path.basename(path)):
            changed = not _is_there(path)
            if changed:
                make(runner, params, driver, path)
                if identity(source) != before:
                    os.unlink(path)
                    raise SealedRootError(
                        f"{source} changed while it was read: shut the machine down that uses it, or copy it first"
                    )
    left_out = _left_out(path)
    warnings = [f"{source} is not taken as a whole. {it}" for it in left_out]
    return {"changed": changed, "path": path, "left_out": left_out, "warnings": warnings}
