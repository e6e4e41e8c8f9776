# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Check the kind of a file before opening it: opening a FIFO blocks, and /dev/zero never ends."""

from __future__ import annotations

import os
import stat
import typing as t

_KINDS: t.Sequence[t.Tuple[t.Callable[[int], bool], str]] = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a block device"),
    (stat.S_ISCHR, "a character device"),
)
FILE, DIRECTORY = (words for _is, words in _KINDS[:2])


def problem(path: str, *wanted: str) -> str:
    """Return what is wrong if the kind of *path* is not in *wanted*, as text to follow the path; empty if it is."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        return "does not exist on the builder: correct the path"
    kind = next((words for is_kind, words in _KINDS if is_kind(mode)), "of an unknown kind")
    return "" if kind in wanted else f"is {kind}, not {' or '.join(wanted)}: correct the path"


__all__ = ("DIRECTORY", "FILE", "problem")
