# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Files in the cache of sources: one process at a time makes a file, and it appears only when it is complete."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


@contextlib.contextmanager
def locked(directory: str, name: str, seconds: float = 1800) -> t.Iterator[None]:
    """Hold a lock on *name*; other processes that make it wait."""
    os.makedirs(directory, exist_ok=True)
    with open(os.path.join(directory, f"{name}.lock"), "w", encoding="ascii") as lock:
        deadline = time.monotonic() + seconds
        while not _locks(lock):
            if time.monotonic() > deadline:
                raise SealedRootError(
                    f"another build has been making {name} in {directory} for {seconds:.0f} seconds:"
                    " try again when it is done"
                )
            time.sleep(0.2)
        yield


@contextlib.contextmanager
def claimed(directory: str, name: str, seconds: float = 1800) -> t.Iterator[str]:
    """Hold a lock on *name*; yield a private scratch directory, which is removed afterwards.

    Remove first what an interrupted process left there.
    """
    scratch = os.path.join(directory, f"{name}.scratch")
    with locked(directory, name, seconds):
        shutil.rmtree(scratch, ignore_errors=True)
        os.mkdir(scratch, 0o700)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch)


def _locks(lock: t.TextIO) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def keep(partial: str, path: str) -> None:
    """Rename a finished file to its name in the cache, readable by the owner only: a root contains secrets."""
    os.chmod(partial, 0o600)
    os.rename(partial, path)


def forget(directory: str, prefix: str, *, but: str, seconds: float = 86400) -> None:
    """Remove files with this *prefix* that were not used for *seconds*, which is longer than a build takes."""
    oldest = time.time() - seconds
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        ours = name.startswith(prefix) and name.endswith((".tar", ".lock"))
        if ours and path != but and os.stat(path).st_mtime < oldest:
            os.unlink(path)


__all__ = ("claimed", "forget", "keep", "locked")
