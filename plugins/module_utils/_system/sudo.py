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


def give_open(handle: int) -> None:
    """Give an open file or directory of root's to the caller, unless it has another name, which may be the system's."""
    owner, info = caller(), os.fstat(handle)
    alone = stat.S_ISDIR(info.st_mode) or (stat.S_ISREG(info.st_mode) and info.st_nlink == 1)
    if owner and info.st_uid == 0 and alone:
        # Some network file systems let nobody do that.
        with contextlib.suppress(PermissionError):
            os.fchown(handle, *owner)


def give(directory: str, names: t.Iterable[str]) -> None:
    """Give files in a directory of root's to the caller, and then the directory.

    The caller's programs may be able to exchange it meanwhile, so it is opened once, and no link is followed.
    """
    if not caller():
        return
    with _opened(directory) as handle:
        if os.fstat(handle).st_uid != 0:
            return
        for name in names:
            with _opened(name, os.O_NONBLOCK, above=handle) as file:
                give_open(file)
        give_open(handle)


def give_made(directory: str) -> None:
    """Give a directory and those above it to the caller, up to one of the caller's own; if there is none, no one.

    The lowest goes first: whoever owns a directory can exchange what is in it.
    """
    owner, directory = caller(), os.path.realpath(directory)
    names: t.List[str] = []
    while owner and os.lstat(directory).st_uid == 0 and directory != os.path.dirname(directory):
        directory, name = os.path.split(directory)
        names.insert(0, name)
    with contextlib.ExitStack() as stack:
        handles = [stack.enter_context(_opened(directory))] if names else []
        if not owner or not names or os.fstat(handles[0]).st_uid != owner[0]:
            return
        for name in names:
            handles.append(stack.enter_context(_opened(name, os.O_DIRECTORY, above=handles[-1])))
        for handle in reversed(handles[1:]):
            give_open(handle)


@contextlib.contextmanager
def _opened(
    name: str, flags: int = os.O_DIRECTORY, above: t.Optional[int] = None
) -> t.Iterator[int]:
    handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | flags, dir_fd=above)
    try:
        yield handle
    finally:
        os.close(handle)


__all__ = ("caller", "give", "give_made", "give_open", "is_trusted")
