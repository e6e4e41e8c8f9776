# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Who keeps a file system or a block device busy, for the message that says so."""

from __future__ import annotations

import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._build.holds import (
    PROC,
    list_names,
    read_mounts,
    read_text,
)


def _processes() -> t.List[str]:
    return [entry for entry in list_names(PROC) if entry.isdigit()]


def _name(pid: str) -> str:
    return f"process {pid} ({read_text(f'{PROC}/{pid}/comm')})"


def users(number: int) -> t.List[str]:
    """Name the processes that use the file system or block device with this number."""
    found = []
    for pid in _processes():
        links = [f"{PROC}/{pid}/{link}" for link in ("cwd", "root", "exe")]
        links += [f"{PROC}/{pid}/fd/{fd}" for fd in list_names(f"{PROC}/{pid}/fd")]
        if any(_uses(link, number) for link in links):
            found.append(_name(pid))
    return found


def _uses(link: str, number: int) -> bool:
    try:
        info = os.stat(link)
    except OSError:
        return False
    return info.st_dev == number or (stat.S_ISBLK(info.st_mode) and info.st_rdev == number)


def mounts(number: int) -> t.List[str]:
    """Name the mounts of a block device, in every mount namespace that a process is in."""
    found, seen = [], set()
    for pid in ("self", *_processes()):
        try:
            namespace = os.readlink(f"{PROC}/{pid}/ns/mnt")
        except OSError:
            continue
        if namespace in seen:
            continue
        seen.add(namespace)
        where = "" if pid == "self" else f" that {_name(pid)} sees"
        found += [f"mount {it.path}{where}" for it in read_mounts(pid) if it.number == number]
    return found


__all__ = ("mounts", "users")
