# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Parsing of JSON from an untrusted source."""

from __future__ import annotations

import json
import typing as t

# No caller needs a longer number, and int() takes quadratic time.
_MOST_DIGITS = 40


def _number(text: str) -> int:
    if len(text) > _MOST_DIGITS:
        raise ValueError("a number is too long")
    return int(text)


def loads(text: t.Union[str, bytes]) -> t.Any:
    """Parse JSON; raise ValueError for any fault in it."""
    try:
        return json.loads(text, parse_int=_number)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


__all__ = ("loads",)
