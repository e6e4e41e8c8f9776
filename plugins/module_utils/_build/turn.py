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

# How long a call waits before it reports what it waits for, and how often it looks, in seconds.
WAIT_SECONDS = 60.0
PAUSE = 1.0


def take(work_dir: str, at_once: int, seconds: float = WAIT_SECONDS) -> t.List[str]:
    """Make the directory of a build as soon as fewer than *at_once* others are beside it.

    Return the names of the others if *seconds* were not enough, else none. A build has its turn as long as it has its
    directory, so a failed build counts until it is torn down.
    """
    if os.path.isdir(work_dir):
        return []
    parent = os.path.dirname(os.path.normpath(work_dir))
    os.makedirs(parent, exist_ok=True)
    deadline = time.monotonic() + seconds
    while True:
        # With the lock, only one of two builds that look at the same time takes the last place.
        handle = os.open(
            os.path.join(parent, ".turn"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600
        )
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            with os.scandir(parent) as entries:
                others = sorted(it.name for it in entries if it.is_dir(follow_symlinks=False))
            if len(others) < at_once:
                os.mkdir(work_dir, 0o700)
                return []
        finally:
            os.close(handle)
        if time.monotonic() >= deadline:
            return others
        time.sleep(PAUSE)


__all__ = ("PAUSE", "WAIT_SECONDS", "take")
