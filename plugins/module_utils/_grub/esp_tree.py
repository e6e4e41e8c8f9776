# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The directory in the image's /run from which the EFI system partition is made."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file

# Largest file of an ESP, in bytes.
MOST = 64 << 20


def holds(path: str, data: bytes) -> bool:
    """Say whether *path* is a file with this content."""
    try:
        return regular_file.read(path, most=max(MOST, len(data)), follow=False) == data
    except FileNotFoundError:
        return False


def write(folder: str, files: t.Mapping[str, bytes]) -> t.List[str]:
    """Write *files* below *folder*; return the names of those that changed."""
    changed = []
    for name, data in files.items():
        path = os.path.join(folder, name)
        if not holds(path, data):
            regular_file.write(path, data)
            changed.append(name)
    return changed


def keep_only(folder: str, names: t.Container[str]) -> None:
    """Remove every other file, so that files of an earlier call with other options do not get onto the partition."""
    for where, _folders, files in os.walk(folder):
        for file in files:
            path = os.path.join(where, file)
            if os.path.relpath(path, folder) not in names:
                os.unlink(path)


__all__ = ("MOST", "holds", "keep_only", "write")
