# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Make a tar of the root in a directory, again after each change of the tree.

The name of the tar has a digest of lstat(2) of every file, so that an unchanged tree has the same tar.
"""

from __future__ import annotations

import hashlib
import os
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    cache as source_cache,
    found_root,
    tree_tar,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import file_kind, mounts
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

# Two changes within one tick of the kernel's clock get the same time.
TICK = 0.1


def check(path: str, cache_dir: str) -> str:
    """Refuse a directory that cannot be packed; return its real path."""
    real = os.path.realpath(path)
    problem = file_kind.problem(path, file_kind.DIRECTORY)
    if problem:
        raise SealedRootError(f"{path} {problem}")
    if os.path.samefile(real, "/"):
        raise SealedRootError(
            f"{path} is the root that the builder runs from. It changes while it is read, and holds this"
            " machine's state: make a snapshot (btrfs, LVM) and give the directory where that is mounted"
        )
    if not found_root.has_root(real):
        raise SealedRootError(f"{path} {_other(real)}")
    cache = os.path.realpath(cache_dir)
    if os.path.commonpath([real, cache]) == real:
        raise SealedRootError(
            f"the cache {cache_dir} is in {path}, so the tar would be packed into itself: choose another"
            " image_cache_dir"
        )
    return real


def _other(real: str) -> str:
    """Say what a directory without a root is, and what to do."""
    names = sorted(os.listdir(real))
    if "oci-layout" in names:
        return "is a container image: set the type of image_source to oci"
    roots = [name for name in names if found_root.has_root(os.path.join(real, name))]
    if roots:
        return f"has the root in its directory {roots[0]}: give that"
    return "is no root: it has no etc/os-release and no usr/lib/os-release. Give the directory that has etc and usr"


def left_out(real: str, submounts: t.Optional[str]) -> t.List[str]:
    """Return the mount points whose content is not packed."""
    points = tree_tar.mounts_below(real, mounts.read())
    if points and submounts is None:
        raise SealedRootError(
            f"in {real} other file systems are mounted ({', '.join(points)}): set submounts of image_source"
            " to include, which packs what is in them, or to leave_out"
        )
    return points if submounts == "leave_out" else []


def steady(real: str, skipped: t.Sequence[str]) -> tree_tar.Scan:
    """Scan the tree; scan again if its last change is so recent that a later one could have the same time."""
    tree = tree_tar.scan(real, skipped)
    if abs(time.time() - tree.newest) < TICK:
        time.sleep(TICK)
        tree = tree_tar.scan(real, skipped)
    return tree


def ensure(
    runner: Runner, params: t.Mapping[str, t.Any], *, check_mode: bool
) -> t.Dict[str, t.Any]:
    """Return the path of the tar; pack it if it does not exist."""
    cache_dir = params["cache_dir"]
    real = check(params["path"], cache_dir)
    skipped = left_out(real, params["submounts"])
    tree = steady(real, skipped)
    # Include the skipped paths: an empty one does not change the digest of the tree.
    place = hashlib.sha256(repr((real, skipped)).encode("utf-8", "surrogateescape"))
    prefix = f"directory-{place.hexdigest()[:16]}-"
    name = f"{prefix}{tree.digest[:16]}"
    path = os.path.join(cache_dir, f"{name}.tar")
    if not os.path.exists(path):
        if check_mode:
            return {"changed": True, "path": path}
        with source_cache.claimed(cache_dir, name) as scratch:
            if not os.path.exists(path):
                partial = os.path.join(scratch, "root.tar")
                tree_tar.pack(runner, real, tree.names, partial)
                if tree_tar.scan(real, skipped).digest != tree.digest:
                    raise tree_tar.changed(real)
                source_cache.keep(partial, path)
                source_cache.forget(cache_dir, prefix, but=path)
                return {"changed": True, "path": path}
    if not check_mode:
        # Mark it as recently used.
        os.utime(path)
    return {"changed": False, "path": path}
