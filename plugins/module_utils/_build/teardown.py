# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""End builds on their builder: release everything, and remove their directories and leases."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._build import (
    holds as build_holds,
    lease,
    lease_holder,
    release as build_release,
    work_dir,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)


def tear_down(
    runner: Runner,
    directories: t.Sequence[str],
    *,
    own_lease: str = "",
    keep_lease: bool = False,
    force: bool = False,
    check_mode: bool = False,
) -> t.List[str]:
    """Release what the builds in *directories* hold and remove the directories; return what was released.

    *own_lease* is the id of the lease of a build that releases itself; *force* also releases a build that is still
    running.
    """
    # Check all directories before changing anything.
    directories = [work_dir.check(path) for path in directories]
    own = lease.owner(lease_holder.process(os.getpid()), doing="torn down")
    own = dataclasses.replace(own, id=own_lease or own.id)
    released: t.List[str] = []
    with contextlib.ExitStack() as leases:
        for directory in directories:
            excluded = lease.excluded(
                directory, own, keep=keep_lease, force=force, check_mode=check_mode
            )
            leases.enter_context(excluded)
        for directory in directories:
            released += _release(runner, directory, check_mode=check_mode)
    return released


def _release(runner: Runner, directory: str, *, check_mode: bool) -> t.List[str]:
    holds = build_holds.find(directory)
    released = holds.describe()
    if holds.any() and not check_mode:
        build_release.release(runner, directory)
    if os.path.lexists(directory):
        # Check only now: a mount would hide the content of the directory.
        if not holds.any() or not check_mode:
            work_dir.check_contents(directory)
        released.append(f"directory {directory}")
        if not check_mode:
            _remove(directory)
    return released


def _remove(directory: str) -> None:
    try:
        shutil.rmtree(directory)
    except OSError as exc:
        raise SealedRootError(f"{directory} cannot be removed: {exc}") from exc


__all__ = ("tear_down",)
