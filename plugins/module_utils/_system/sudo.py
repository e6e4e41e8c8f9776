# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The person who called sudo, to whom the results belong (docs/facts.md: sudo-caller)."""

from __future__ import annotations

import contextlib
import os
import stat
import typing as t


def caller() -> t.Optional[t.Tuple[int, int]]:
    """Return user and group of who became root by sudo; None if nobody did, or root itself."""
    try:
        user, group = int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"])
    except (KeyError, ValueError):
        return None
    return (user, group) if os.geteuid() == 0 and user > 0 and group >= 0 else None


def is_trusted(user: int) -> bool:
    """Say whether files of that user are as good as one's own."""
    return user in (0, os.geteuid()) or user == (caller() or (0, 0))[0]


def give(*paths: str) -> None:
    """Give files and directories of root's to the caller; never through a link, nor a file that has another name."""
    owner = caller()
    for path in paths if owner else ():
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            info = os.fstat(handle)
            alone = stat.S_ISDIR(info.st_mode) or info.st_nlink == 1
            if info.st_uid == 0 and alone:
                # Some network file systems let nobody do that.
                with contextlib.suppress(PermissionError):
                    os.fchown(handle, *t.cast(t.Tuple[int, int], owner))
        finally:
            os.close(handle)


def give_made(directory: str) -> None:
    """Give a directory and those above it to the caller, up to one of the caller's own; if there is none, no one."""
    owner, found = caller(), []
    while owner and os.lstat(directory).st_uid == 0 and directory != os.path.dirname(directory):
        found.append(directory)
        directory = os.path.dirname(directory)
    if owner and os.lstat(directory).st_uid == owner[0]:
        give(*reversed(found))


__all__ = ("caller", "give", "give_made", "is_trusted")
