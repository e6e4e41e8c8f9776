# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The kernel's table of mounts (proc_pid_mountinfo(5))."""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import proc

# Where the device mapper, and the userspace backend, have the nodes of open containers.
MAPPER_DIR = "/dev/mapper"


@dataclasses.dataclass(frozen=True)
class Mount:
    """One line of mountinfo; *number* is the device number of the file system."""

    path: str
    type: str
    number: int
    source: str = ""
    options: t.FrozenSet[str] = frozenset()


def is_below(path: str, directory: str) -> bool:
    """Say whether *path* is *directory* or in it; ``/a/b2`` is not in ``/a/b``."""
    return path == directory or path.startswith(f"{directory}/")


def parse(text: str) -> t.List[Mount]:
    """Parse mountinfo, which writes blanks and backslashes as octal escapes."""
    found = []
    for line in text.splitlines():
        left, _dash, right = line.partition(" - ")
        fields = left.split(" ")
        major, minor = fields[2].split(":")
        path = unescaped(fields[4])
        # The kernel appends this to a mount point whose directory was removed.
        path = path[: -len("//deleted")] if path.endswith("//deleted") else path
        kind, _blank, rest = right.partition(" ")
        number = os.makedev(int(major), int(minor))
        options = frozenset(fields[5].split(","))
        found.append(Mount(path, kind, number, unescaped(rest.split(" ")[0]), options))
    return found


def unescaped(field: str) -> str:
    r"""Return a field of mountinfo or fstab(5) with its octal escapes (``\040``) decoded."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), field)


def read(pid: str = "self") -> t.List[Mount]:
    """Return the mounts that a process sees, oldest first."""
    path = f"{proc.PROC}/{pid}/mountinfo"
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            return parse(file.read())
    except OSError:
        return []  # the process has ended


def type_of(path: str, mounts: t.Iterable[Mount]) -> str:
    """Return the type of the file system that holds *path*; ``unknown`` if no mount has its device number."""
    number = os.stat(path).st_dev
    return next((it.type for it in mounts if it.number == number), "unknown")


__all__ = ("MAPPER_DIR", "Mount", "is_below", "parse", "read", "type_of", "unescaped")
