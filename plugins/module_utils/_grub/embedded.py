# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the core image's own parser runs: it has no "if", so it goes on to the script in the memdisk. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._grub import cfg

MEMDISK_CONFIG = "grub.cfg"


def text(*, debug_console: bool = False, before: t.Sequence[str] = ()) -> str:
    """Return the lines, with those that come *before* the script.

    Shells are closed first, and GRUB halts if it comes back: behind the last line is the shell of this parser, and
    where the memory does not suffice for the script, GRUB would show that of ``normal``.
    """
    closed = () if debug_console else cfg.CLOSED
    lines = (*closed, *before, f"normal (memdisk)/{MEMDISK_CONFIG}", "halt")
    return "".join(f"{line}\n" for line in lines)


CONFIG = text()

__all__ = ("CONFIG", "MEMDISK_CONFIG", "text")
