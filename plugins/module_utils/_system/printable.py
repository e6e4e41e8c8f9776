# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Escape untrusted text, so that it is safe in a terminal or a report."""

from __future__ import annotations

import typing as t

# Length of a message, in characters.
LONGEST = 8000
# Not printable, but harmless; tools print several lines.
_KEPT = "\n\t"


def _shown(letter: str) -> str:
    if letter.isprintable() or letter in _KEPT:
        return letter
    code = ord(letter)
    # PEP 383: a byte that is not UTF-8 was decoded to a surrogate. Show the byte.
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def text(said: str) -> str:
    """Escape the characters that are not printable: control characters, and those that change the text direction."""
    return said if said.isprintable() else "".join(map(_shown, said))


def message(said: str) -> str:
    """Escape a message like :func:`text`; if it is too long, keep only its beginning and end."""
    if len(said) > LONGEST:
        said = f"{said[: LONGEST // 2]} ... {said[-LONGEST // 2 :]}"
    return text(said)


def result(value: t.Any) -> t.Any:
    """Apply :func:`text` to every string in a module's result, including keys."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, t.Mapping):
        return {result(key): result(it) for key, it in value.items()}
    if isinstance(value, (list, tuple)):
        return [result(it) for it in value]
    return value


__all__ = ("LONGEST", "message", "result", "text")
