# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What is published as an image, held against its manifest."""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._digest import sha256


def is_same(path: str, entry: t.Mapping[str, t.Any]) -> bool:
    """Say whether a file is as the manifest has it; the size is the quick answer."""
    size, digest = entry["size"], entry["sha256"]
    regular = os.path.isfile(path) and not os.path.islink(path)
    return regular and os.path.getsize(path) == size and sha256(path) == digest


def read(directory: str) -> t.Dict[str, t.Any]:
    """Say what is published in *directory*."""
    there = os.path.lexists(directory)
    nothing: t.Dict[str, t.Any] = {"exists": there, "manifest": None, "files": {}, "intact": False}
    try:
        with open(os.path.join(directory, "manifest.json"), encoding="utf-8") as file:
            manifest = json.load(file)
        files = {
            name: is_same(os.path.join(directory, os.path.basename(name)), entry)
            for name, entry in manifest["files"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return nothing
    intact = bool(files) and all(files.values())
    return {**nothing, "manifest": manifest, "files": files, "intact": intact}


__all__ = ("is_same", "read")
