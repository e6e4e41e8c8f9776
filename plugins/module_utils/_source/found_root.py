# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""A root in a mounted file system that nobody is trusted with, and what it mounts."""

from __future__ import annotations

import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import fstab, units
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    volumes as source_volumes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    nofollow,
    regular_file,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# No unit of systemd is larger, and no root has more.
_LARGEST_UNIT = 1 << 16
_MOST_UNITS = 2000


class Root(t.NamedTuple):
    """Where a root was found, and what it mounts, as lines of fstab.

    *subvolume* is the path of a btrfs subvolume: empty for the top level, None for the default one.
    """

    volume: source_volumes.Volume
    subvolume: t.Optional[str]
    rows: t.List[t.List[str]]

    @property
    def name(self) -> str:
        """Return its name for messages."""
        if self.subvolume is None:
            return self.volume.name
        return f"{self.volume.name}, " + (
            f"subvolume {self.subvolume}" if self.subvolume else "the top level"
        )


def is_directory(top: str, name: str) -> bool:
    """Say whether each component of a name below *top* is a directory, not a symlink."""
    path = top
    for component in name.split("/"):
        path = os.path.join(path, component)
        try:
            if not stat.S_ISDIR(os.lstat(path).st_mode):
                return False
        except (OSError, ValueError):  # it does not exist, or the name is invalid
            return False
    return True


def has_root(top: str) -> bool:
    """Say whether there is an os-release (os-release(5)), even a symlink into /usr, which may be another volume."""
    return any(
        is_directory(top, place) and os.path.lexists(os.path.join(top, place, "os-release"))
        for place in ("etc", "usr/lib")
    )


def read_mounts(top: str) -> t.List[t.List[str]]:
    """Return the lines of the fstab of an untrusted root, and those that are equivalent to its units of systemd."""
    paths = [f"{place}/{name}" for place in units.DIRECTORIES for name in _names(top, place)]
    for path in list(paths):
        if path.endswith((".d", ".wants", ".requires", ".upholds")):
            paths += [f"{path}/{name}" for name in _names(top, path)]
    members = [it for it in paths if units.is_member(it)]
    files = [it for it in members if _is_file(top, it)]
    if len(files) > _MOST_UNITS:
        raise SealedRootError(
            f"the root in it has more than {_MOST_UNITS} units of systemd that mount, as no root has: give another disk"
        )
    texts = {it: _text(top, it, _LARGEST_UNIT) for it in files}
    is_there = os.path.lexists(os.path.join(top, "etc/fstab"))
    lines = _text(top, "etc/fstab", regular_file.SMALL) if is_there else ""
    # A unit counts more than a line of fstab, from which systemd generates one (systemd.unit(5)).
    return [*fstab.rows(lines), *(it.row for it in units.Mounting(texts, members).units())]


def _names(top: str, directory: str) -> t.List[str]:
    """Return what is in a directory; nothing if it is not there, or a symlink leads to it."""
    return sorted(os.listdir(os.path.join(top, directory))) if is_directory(top, directory) else []


def _is_file(top: str, name: str) -> bool:
    return stat.S_ISREG(os.lstat(os.path.join(top, name)).st_mode)


def _text(top: str, name: str, most: int) -> str:
    """Read a file of an untrusted root; empty if a symlink leads to its directory."""
    if not is_directory(top, os.path.dirname(name)):
        return ""
    path = os.path.join(top, name)
    return nofollow.read_file(path, most=most).decode("utf-8", "surrogateescape")


__all__ = ("Root", "has_root", "is_directory", "read_mounts")
