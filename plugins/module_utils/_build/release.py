# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Release what a build holds: each thing before what it is on, with deadlines, and never by a lazy unmount."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._build import holds as build_holds
from ansible_collections.sealedroot.image.plugins.module_utils._luks import dm_crypt
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    loop_devices,
    mounts,
    processes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    Runner,
    SealedRootError,
)

# Time after SIGTERM for a process in the image, and for a daemon, which has to flush.
PROCESS_SECONDS = 2.0
DAEMON_SECONDS = 60.0
# How long a mount may stay busy, and how long unmounting may take, because it may have much to write.
BUSY_SECONDS, BUSY_PAUSE = 10.0, 0.2
UMOUNT_SECONDS = 900


def release(runner: Runner, directory: str) -> None:
    """Release everything that the build in *directory* holds."""
    holds = build_holds.find(directory)
    processes.end(holds.processes, PROCESS_SECONDS)
    # A FUSE export ends with its daemon, which flushes first; the mount below it can be unmounted only afterwards.
    exports = [mount.path for mount in holds.mounts if mount.type.startswith("fuse")]
    first: t.List[mounts.Mount] = []
    last: t.List[mounts.Mount] = []
    for mount in holds.mounts:
        carries = any(mounts.is_below(path, mount.path) for path in exports)
        (last if carries else first).append(mount)
    failures = []
    for mount in first:
        # If one mount cannot be unmounted, still unmount the others, above all the one with the keys.
        try:
            unmount(runner, mount)
        except SealedRootError as exc:
            failures.append(str(exc))
    if failures:
        raise SealedRootError(" ".join(failures))
    for name in holds.mappings:
        dm_crypt.close(runner, name)
    for node in holds.nodes:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(node)
    for loop in holds.loops:
        detach(runner, loop)
    processes.end(holds.daemons, DAEMON_SECONDS)
    for mount in last:
        unmount(runner, mount)
    left = build_holds.find(directory)
    if left.any():
        raise SealedRootError(
            f"still held below {directory}: {', '.join(left.describe())}. End what uses it and run"
            " this again"
        )


def unmount(runner: Runner, mount: mounts.Mount) -> None:
    """Unmount; wait for users that are about to end."""
    # Already unmounted, with its parent or as another copy of the same mount.
    if mount.path not in {it.path for it in mounts.read()}:
        return
    argv = [runner.find("umount"), mount.path]
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        result = runner.run(argv, check=False, timeout=UMOUNT_SECONDS)
        if result.rc == 0 or "not mounted" in result.stderr:
            return
        if "busy" not in result.stderr:
            raise CommandError(argv, result)
        if time.monotonic() > deadline:
            who = processes.named(processes.users(mount.number))
            raise SealedRootError(f"{mount.path} is in use by {who}: end that first.")
        time.sleep(BUSY_PAUSE)


def detach(runner: Runner, loop: build_holds.Loop) -> None:
    """Release a loop device and wait for it; if it stays in use, name its users."""
    try:
        loop_devices.detach(runner, loop.device)
    except SealedRootError as exc:
        if not any(it.device == loop.device for it in loop_devices.list_all(runner)):
            return  # its last user has released it
        who = processes.holders(loop.number)
        raise SealedRootError(
            f"{loop.device} on {loop.path} is in use by {who}: end that first."
        ) from exc


__all__ = ("detach", "release", "unmount")
