# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""``qemu-storage-daemon``: start it to export a disk as a file by FUSE, find it by its command line, and stop it."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    processes,
    qemu_options,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

DAEMON = "qemu-storage-daemon"
STOP_SECONDS = 60


def argv(
    daemon: str,
    blockdevs: t.Iterable[str],
    *,
    node: str,
    mountpoint: str,
    writable: bool = False,
    key_file: t.Optional[str] = None,
) -> t.List[str]:
    """Return the command that exports *node* of the *blockdevs* as the file *mountpoint*.

    The command returns once the file is there. The key has the id ``key``.
    """
    # Not JSON: teardown looks for the mount point in this syntax.
    export = (
        f"type=fuse,id=export,node-name={node},mountpoint={qemu_options.quote(mountpoint)}"
        f",writable={'on' if writable else 'off'},growable=off,allow-other=off"
    )
    secret = f"secret,id=key,file={qemu_options.quote(key_file)}" if key_file else ""
    return [
        daemon,
        *(["--object", secret] if secret else []),
        *(word for blockdev in blockdevs for word in ("--blockdev", blockdev)),
        *("--export", export, "--daemonize"),
    ]


def daemons(path: str) -> t.List[int]:
    """Return the IDs of the daemons whose command line names *path* or a path below it."""
    daemon_pids = []
    for pid in processes.pids():
        words = processes.command_line(pid)
        if os.path.basename(words[0]) == DAEMON and processes.mentions(words, path):
            daemon_pids.append(int(pid))
    return daemon_pids


def stop(pid: int) -> None:
    """Stop a daemon. It flushes on SIGTERM, so wait for it and never send SIGKILL."""
    if processes.terminated([processes.Process(pid, DAEMON)], STOP_SECONDS):
        raise SealedRootError(f"process {pid} ({DAEMON}) did not end within {STOP_SECONDS} seconds")


__all__ = ("DAEMON", "STOP_SECONDS", "argv", "daemons", "stop")
