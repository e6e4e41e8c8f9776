# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""List an unpacked root as a tar of it would be listed."""

from __future__ import annotations

import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._root.tar import Member, plain
from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file

_KINDS = ((stat.S_ISREG, "-"), (stat.S_ISDIR, "d"), (stat.S_ISLNK, "l"))


def listing(root: str) -> t.List[Member]:
    """Return the content of the tree, without what is mounted below it."""
    device = os.stat(root).st_dev
    found: t.List[Member] = []
    seen: t.Dict[int, str] = {}
    for directory, folders, files in os.walk(root):
        folders.sort()
        for leaf in sorted([*folders, *files]):
            path = os.path.join(directory, leaf)
            info = os.lstat(path)
            if info.st_dev != device:
                continue
            name = os.path.relpath(path, root).replace("\\", "\\\\")
            kind = next((letter for is_kind, letter in _KINDS if is_kind(info.st_mode)), "?")
            target = seen.setdefault(info.st_ino, name) if kind == "-" else name
            kind, target = (kind, "") if target == name else ("h", target)
            size, stored = (info.st_size, info.st_blocks * 512) if kind == "-" else (0, 0)
            mode = stat.filemode(info.st_mode)[1:]
            link = os.readlink(path).replace("\\", "\\\\") if kind == "l" else ""
            found.append(Member(kind, name, size, stored, name, mode, target, link))
        folders[:] = [
            name for name in folders if os.lstat(os.path.join(directory, name)).st_dev == device
        ]
    return found


def contents(
    root: str, members: t.Iterable[Member], wanted: t.Iterable[t.Sequence[str]], *, most: int
) -> t.Dict[str, bytes]:
    """Read files: for each entry of *wanted* the first name that exists, at most *most* bytes."""
    files = {member.name for member in members if member.type in "-h"}
    found = {}
    for names in wanted:
        name = next((name for name in names if name in files), None)
        if name:
            found[name] = regular_file.read(
                os.path.join(root, plain(name)), most=most, follow=False
            )
    return found


__all__ = ("contents", "listing")
