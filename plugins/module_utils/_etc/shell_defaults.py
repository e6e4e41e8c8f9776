# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Edit files of shell assignments such as /etc/default/grub by meaning; keep comments and order. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# Limit of one expanded value: the longest string in a program's environment (execve(2), MAX_ARG_STRLEN).
LONGEST = 128 << 10
# Limit of all values of a file together.
_LONGEST_ALL = 32 * LONGEST
_ASSIGNMENT = re.compile(r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=", re.MULTILINE)
_VARIABLE = r"\$\{(\w+)\}|\$(\w+)"
# The parts of the word after the = in the shell's syntax.
_PIECE = re.compile(
    r"'(?P<single>[^']*)'"
    r'|"(?P<double>(?:[^"\\]|\\.)*)"'
    r"|\\(?P<escaped>.)"
    # The length is limited, because each unclosed one would be searched for up to the end of the file.
    r"|(?P<command>`[^`]{0,4096}`|\$\([^)]{0,4096}\))"
    rf"|(?P<plain>{_VARIABLE}|\$|[^\s'\"\\`$;&|<>()]+)",
    re.DOTALL,
)


class _Assignment(t.NamedTuple):
    """A value and its position in the text; it can span lines."""

    name: str
    value: str
    start: int
    end: int


def _assignments(text: str) -> t.List[_Assignment]:
    found: t.List[_Assignment] = []
    known: t.Dict[str, str] = {}
    total = 0
    match = _ASSIGNMENT.search(text)
    while match:
        value, end = _word(text, match.end(), known)
        total += len(value)
        if len(value) > LONGEST or total > _LONGEST_ALL:
            # Lines that each use their own variable twice would double its value every time.
            raise SealedRootError(
                f"the value of {match.group(1)[:40]} in a file of shell assignments takes more than"
                f" {LONGEST >> 10} KiB, or all of them {_LONGEST_ALL >> 20} MiB: correct the file"
            )
        known[match.group(1)] = value
        found.append(_Assignment(match.group(1), value, match.end(), end))
        match = _ASSIGNMENT.search(text, end)
    return found


def _word(text: str, start: int, known: t.Mapping[str, str]) -> t.Tuple[str, int]:
    """Return the word at *start* as a shell expands it, and its end; commands are not executed."""
    value, end = "", start
    piece = _PIECE.match(text, end)
    while piece:
        if piece["double"] is not None:
            value += _expand(piece["double"], known)
        elif piece["plain"] is not None:
            value += _expand(piece["plain"], known)
        elif piece["escaped"] is not None:
            value += piece["escaped"].replace("\n", "")
        else:
            value += piece["single"] or piece["command"] or ""
        end = piece.end()
        piece = _PIECE.match(text, end)
    if text[end : end + 1] in ("'", '"'):  # an unclosed quote: no shell accepts it
        line = text.find("\n", end)
        end = line if line >= 0 else len(text)
        value = text[start:end].strip()
    return value, end


def _expand(text: str, known: t.Mapping[str, str]) -> str:
    def replace(match: t.Match[str]) -> str:
        if match.group(1) is not None:
            return match.group(1).replace("\n", "")
        return known.get(match.group(2) or match.group(3), "")

    return re.sub(rf'\\(["\\$`\n])|{_VARIABLE}', replace, text)


def values(text: str) -> t.Dict[str, str]:
    """Return the values as a shell reads them; the last assignment of a name counts."""
    return {found.name: found.value for found in _assignments(text)}


def assign(text: str, name: str, value: str) -> str:
    """Return the text with *name* set to *value*, at its last assignment or else at the end."""
    places = [found for found in _assignments(text) if found.name == name]
    if not places:
        end = "" if text.endswith("\n") or not text else "\n"
        return f"{text}{end}{name}={_quote(value)}\n"
    last = places[-1]
    if last.value == value:
        return text
    return text[: last.start] + _quote(value) + text[last.end :]


def _quote(value: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_./:=-]+", value):
        return value
    escaped = re.sub(r'(["\\$`])', r"\\\1", value)
    return f'"{escaped}"'


def merge_words(have: str, want: str) -> str:
    """Append the words of *want* that *have* lacks, as on a kernel command line."""
    words = have.split()
    return " ".join([*words, *(word for word in want.split() if word not in words)])


def without_words(
    have: str, goes: t.Callable[[str], bool], kept: t.Container[str] = ()
) -> t.Tuple[str, t.List[str]]:
    """Return *have* without the words for which *goes* is true and that are not *kept*, and the removed words."""
    taken = [word for word in have.split() if word not in kept and goes(word)]
    return " ".join(word for word in have.split() if word not in taken) if taken else have, taken


__all__ = ("LONGEST", "assign", "merge_words", "values", "without_words")
