# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""File names of a published image.

A separate file, so that a module that only names them need not carry the code that examines them.
"""

from __future__ import annotations

import os
import typing as t

MANIFEST, REPORT = "manifest.json", "report.html"
BOOT_KEY, RECOVERY_KEY = "boot.key", "recovery.key"
# The key slot of each key.
SLOTS = {"boot": 0, "recovery": 1}
KEY_FILES = {BOOT_KEY: SLOTS["boot"], RECOVERY_KEY: SLOTS["recovery"]}
# What a confidential guest is started from, and the table with its key. No other file is in a directory.
CORE, HASHES, SECRET = "launch/core.efi", "launch/hashes.bin", "launch/secret.bin"
FIRMWARE = "launch/firmware.fd"
LAUNCH = (CORE, HASHES, FIRMWARE, SECRET)


def listed(directory: str) -> t.Dict[str, str]:
    """Return the paths of what is in the directory of an image, by the names that the manifest has for it."""
    found = {name: os.path.join(directory, name) for name in os.listdir(directory)}
    inside = {name: os.path.join(directory, name) for name in LAUNCH}
    inside = {name: path for name, path in inside.items() if os.path.lexists(path)}
    for name in inside:
        found.pop(os.path.dirname(name), None)
    return {**found, **inside}


def path_of(directory: str, name: str) -> str:
    """Return the path of a file; a manifest cannot name a file outside the directory."""
    return os.path.join(directory, name if name in LAUNCH else os.path.basename(name))


__all__ = (
    "BOOT_KEY",
    "CORE",
    "FIRMWARE",
    "HASHES",
    "KEY_FILES",
    "LAUNCH",
    "MANIFEST",
    "RECOVERY_KEY",
    "REPORT",
    "SECRET",
    "SLOTS",
    "listed",
    "path_of",
)
