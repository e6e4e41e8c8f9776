# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What somebody else wrote, as text that does nothing to a terminal or a report."""

from __future__ import annotations

import typing as t

# Of a message, in characters.
LONGEST = 8000
# Of what is not printable, these do no harm, and the words of tools are in lines.
_KEPT = "\n\t"


def _shown(letter: str) -> str:
    if letter.isprintable() or letter in _KEPT:
        return letter
    code = ord(letter)
    # A byte that is no text (PEP 383) is shown as that byte.
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def text(said: str) -> str:
    """Return a text with an escape for each character that is not to be shown: controls, and what turns text around."""
    return said if said.isprintable() else "".join(map(_shown, said))


def message(said: str) -> str:
    """Return a message as :func:`text` has it, and no more than its beginning and end where it is too long."""
    if len(said) > LONGEST:
        said = f"{said[: LONGEST // 2]} ... {said[-LONGEST // 2 :]}"
    return text(said)


def result(value: t.Any) -> t.Any:
    """Return what a module returns, with :func:`text` for each text in it, keys included."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, t.Mapping):
        return {result(key): result(it) for key, it in value.items()}
    if isinstance(value, (list, tuple)):
        return [result(it) for it in value]
    return value


__all__ = ("LONGEST", "message", "result", "text")
