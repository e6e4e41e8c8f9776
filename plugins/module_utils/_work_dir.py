# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The directory of a build: which one may be taken, and above all removed."""

from __future__ import annotations

import os
import re
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils import _build_holds
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError

_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/sbin", "/sys", "/usr")
# What the modules of this collection put into the directory of a build.
_OURS = re.compile(r"(disk|payload|root|private|audit|boot)([._-].*)?")


def check(path: str) -> str:
    """Refuse a directory that cannot be a build's; return its path without a slash at the end."""
    clean = os.path.normpath(path)
    parts = [part for part in clean.split("/") if part]
    deep = len(parts) >= (3 if parts[:1] == ["var"] else 2)
    system = any(_build_holds.below(clean, top) for top in _SYSTEM)
    if not os.path.isabs(path) or system or not deep:
        raise SealedRootError(
            f"{path} cannot be the directory of a build: give an absolute one, at least two levels"
            " deep and outside the system's own directories, such as /var/tmp/sealedroot/web-1"
        )
    if os.path.realpath(clean) != clean:
        raise SealedRootError(
            f"{path} leads through a symbolic link to {os.path.realpath(clean)}: give that path"
        )
    for folder in _parents(clean):
        info = os.stat(folder)
        if not stat.S_ISDIR(info.st_mode):
            raise SealedRootError(f"{folder} is not a directory: use another work directory")
        if info.st_uid not in (0, os.geteuid()):
            raise SealedRootError(
                f"{folder} belongs to user {info.st_uid}, who could change the build: use a directory"
                " of root's"
            )
    return clean


def _parents(path: str) -> t.Iterator[str]:
    while path != "/":
        if os.path.exists(path):
            yield path
        path = os.path.dirname(path)


def check_contents(directory: str) -> None:
    """Refuse to take a directory that has something in it that no build made."""
    try:
        foreign = sorted(name for name in os.listdir(directory) if not _OURS.fullmatch(name))
    except FileNotFoundError:
        return
    if foreign:
        raise SealedRootError(
            f"{directory} has '{foreign[0]}' in it, which no build made: use another directory, or"
            " remove it yourself"
        )


__all__ = ("check", "check_contents")
