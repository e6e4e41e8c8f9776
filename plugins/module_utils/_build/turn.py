# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The turn of a build: limits how many builds have their directory on a builder at the same time."""

from __future__ import annotations

import fcntl
import os
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._build import work_dir as work_dirs

# How long a call waits before it reports what it waits for, and how often it looks, in seconds.
WAIT_SECONDS = 60.0
PAUSE = 1.0


def others(work_dir: str) -> t.List[str]:
    """Return the names of the other builds that have a directory beside *work_dir*."""
    parent, own = os.path.split(os.path.normpath(work_dir))
    if not os.path.isdir(parent):
        return []
    with os.scandir(parent) as entries:
        return sorted(
            it.name
            for it in entries
            if it.name != own and it.is_dir(follow_symlinks=False) and work_dirs.is_ours(it.path)
        )


def take(work_dir: str, at_once: int, seconds: float = WAIT_SECONDS) -> t.List[str]:
    """Make the directory of a build as soon as fewer than *at_once* others are beside it.

    Returns the names of the others where *seconds* were not enough, else none. A build has its turn as long as it has
    its directory, so one that broke down counts until it is torn down.
    """
    if os.path.isdir(work_dir):
        return []
    parent = os.path.dirname(os.path.normpath(work_dir))
    os.makedirs(parent, exist_ok=True)
    deadline = time.monotonic() + seconds
    while True:
        # Locked, so that of two builds that look at once only one takes the last place.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        handle = os.open(os.path.join(parent, ".turn"), flags, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            at_work = others(work_dir)
            if len(at_work) < at_once:
                work_dirs.make(work_dir)
                return []
        except BlockingIOError:
            at_work = ["another that looks for its turn"]
        finally:
            os.close(handle)
        if time.monotonic() >= deadline:
            return at_work
        time.sleep(PAUSE)


__all__ = ("PAUSE", "WAIT_SECONDS", "others", "take")
