# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Check the directory of a build: which one may be used and, above all, removed."""

from __future__ import annotations

import os
import re
import stat

from ansible_collections.sealedroot.image.plugins.module_utils._system import mounts
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")
# Names that a build creates in its directory, and in the directory of its unpublished files.
_OURS = re.compile(
    r"(disk|payload|root|private|sealed|audit|boot|recovery|manifest|bom|report|launch)([._-].*)?"
)
# What every build has in its directory from the beginning to the end.
_MARK = "private"


def check(path: str) -> str:
    """Refuse a directory that cannot be a build's; return its real path."""
    real = os.path.realpath(path)
    parts = [part for part in real.split("/") if part]
    deep = len(parts) >= (3 if parts[:1] == ["var"] else 2)
    system = any(mounts.is_below(real, top) for top in _SYSTEM)
    if not os.path.isabs(path) or ".." in path.split("/") or system or not deep:
        raise SealedRootError(
            f"{path} cannot be the directory of a build: give an absolute one, at least two levels"
            " deep and outside the system's own directories, such as /var/tmp/sealedroot/web-1"
        )
    if os.path.exists(real):
        _check_owner(real)
    return real


def check_place(path: str) -> None:
    """Refuse a work directory if another user could interfere with a build in it."""
    real = check(path)
    if real != os.path.normpath(path):
        raise SealedRootError(f"{path} leads through a symbolic link to {real}: give that path")
    while real != "/":
        if os.path.exists(real):
            _check_owner(real)
        real = os.path.dirname(real)


def _check_owner(directory: str) -> None:
    info = os.stat(directory)
    if not stat.S_ISDIR(info.st_mode):
        raise SealedRootError(f"{directory} is not a directory: use another work directory")
    if info.st_uid not in (0, os.geteuid()):
        raise SealedRootError(
            f"{directory} belongs to user {info.st_uid}, who could change the build: use a directory"
            " of root's"
        )


def make(directory: str) -> None:
    """Make the directory of a build, with the mark by which :func:`is_ours` knows it: the one for its keys."""
    os.mkdir(directory, 0o700)
    os.mkdir(os.path.join(directory, _MARK), 0o700)


def is_ours(directory: str) -> bool:
    """Say whether a directory is that of a build, and nothing else is in it."""
    try:
        names = os.listdir(directory)
    except OSError:
        return False
    return _MARK in names and all(map(_OURS.fullmatch, names))


def check_private(directory: str) -> None:
    """Refuse a directory that other users can enter: they would read the open root, and write into it."""
    mode = stat.S_IMODE(os.stat(directory).st_mode)
    if mode & 0o077:
        raise SealedRootError(
            f"other users can enter {directory}, and the root that is open in it: set its mode to 0700"
            f" (chmod 0700 {directory})"
        )


def check_contents(directory: str) -> None:
    """Refuse a directory that contains something that no build created."""
    try:
        foreign = sorted(name for name in os.listdir(directory) if not _OURS.fullmatch(name))
    except FileNotFoundError:
        return
    if foreign:
        raise SealedRootError(
            f"{directory} has '{foreign[0]}' in it, which no build made: use another directory, or"
            " remove it yourself"
        )


__all__ = ("check", "check_contents", "check_place", "check_private", "is_ours", "make")
