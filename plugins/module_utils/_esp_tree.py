# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The tree that the EFI system partition is made from, in the image's /run."""

from __future__ import annotations

import os
import typing as t


def write(folder: str, files: t.Mapping[str, bytes]) -> t.List[str]:
    """Write *files* below *folder*; return those that were not there so."""
    changed = []
    for name, data in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.exists(path):
            with open(path, "rb") as file:
                if file.read() == data:
                    continue
        with open(path, "wb") as file:
            file.write(data)
        changed.append(name)
    return changed


def keep_only(folder: str, names: t.Container[str]) -> None:
    """Remove every other file, so that what an earlier call made for other options does not get on the partition."""
    for where, _folders, files in os.walk(folder):
        for file in files:
            path = os.path.join(where, file)
            if os.path.relpath(path, folder) not in names:
                os.unlink(path)


__all__ = ("keep_only", "write")
