# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Read files of /proc and /sys."""

from __future__ import annotations

import os
import typing as t

PROC = "/proc"


def read_text(path: str) -> str:
    """Return the content of a file without its last newline; empty if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            text = file.read()
    except OSError:
        return ""
    return text[:-1] if text.endswith("\n") else text


def list_names(path: str) -> t.List[str]:
    """Return the names in a directory; none if it cannot be read."""
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


__all__ = ("PROC", "list_names", "read_text")
