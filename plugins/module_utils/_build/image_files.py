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

MANIFEST, REPORT = "manifest.json", "report.html"
BOOT_KEY, RECOVERY_KEY = "boot.key", "recovery.key"
# The key slot of each key.
SLOTS = {"boot": 0, "recovery": 1}
KEY_FILES = {BOOT_KEY: SLOTS["boot"], RECOVERY_KEY: SLOTS["recovery"]}

__all__ = ("BOOT_KEY", "KEY_FILES", "MANIFEST", "RECOVERY_KEY", "REPORT", "SLOTS")
