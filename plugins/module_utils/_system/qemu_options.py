# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""QEMU's option syntax: ``key=value,key=value``, with a comma inside a value doubled (qemu(1))."""

from __future__ import annotations

import typing as t


def quote(value: str) -> str:
    """Escape a value for use in an option."""
    return value.replace(",", ",,")


def values(option: str) -> t.Iterator[str]:
    """Yield each part of an option, and the value after its first equals sign."""
    for part in option.replace(",,", "\0").split(","):
        plain = part.replace("\0", ",")
        yield plain
        yield plain.partition("=")[2]


__all__ = ("quote", "values")
