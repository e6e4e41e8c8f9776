# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Files of shell assignments such as /etc/default/grub: edited by meaning, comments and order kept. Pure."""

from __future__ import annotations

import re
import shlex
import typing as t

_ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$")

_DOUBLE_QUOTED = re.compile(r'^"((?:[^"\\]|\\.)*)"\s*(?:#.*)?$')


def values(text: str) -> t.Dict[str, str]:
    """Return the assigned values, quotes taken off; the last assignment of a name counts."""
    found = {}
    for line in text.splitlines():
        match = _ASSIGNMENT.match(line)
        if match:
            found[match.group(1)] = _unquote(match.group(2))
    return found


def _unquote(value: str) -> str:
    quoted = _DOUBLE_QUOTED.match(value)
    if quoted:  # shlex leaves the backslash before $ and `, which a shell takes off
        return re.sub(r'\\(["\\$`])', r"\1", quoted.group(1))
    try:
        words = shlex.split(value, comments=True)
    except ValueError:
        return value.strip()
    return words[0] if len(words) == 1 else " ".join(words)


def assign(text: str, name: str, value: str) -> str:
    """Return the text with *name* set to *value*, where it was assigned last, else at the end."""
    line = f"{name}={_quote(value)}"
    lines = text.splitlines()
    places = [
        index
        for index, old in enumerate(lines)
        if (match := _ASSIGNMENT.match(old)) and match.group(1) == name
    ]
    if not places:
        return "\n".join([*lines, line]) + "\n"
    if values(text)[name] == value:
        return text
    lines[places[-1]] = line
    return "\n".join(lines) + "\n"


def _quote(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_./:=-]+", value):
        return value
    escaped = re.sub(r'(["\\$`])', r"\\\1", value)
    return f'"{escaped}"'


def merge_words(have: str, want: str) -> str:
    """Return *have* with each word of *want* that is not in it, as on a kernel command line."""
    words = have.split()
    return " ".join([*words, *(word for word in want.split() if word not in words)])


__all__ = ("assign", "merge_words", "values")
