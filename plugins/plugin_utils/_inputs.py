# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The inputs of a build, as specified by the role image, and misspellings of them."""

from __future__ import annotations

import difflib
import functools
import pathlib
import re
import typing as t

import yaml

ROLES = pathlib.Path(__file__).resolve().parents[2] / "roles"
PREFIX = "image_"
# Similarity, at most 1: allows one wrong, missing or additional letter in a short name, two in a long one.
NEAR = 0.85

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.lru_cache(maxsize=None)
def types() -> t.Mapping[str, str]:
    """Return the names of all inputs, each with its type."""
    text = (ROLES / "image" / "meta" / "argument_specs.yml").read_text(encoding="utf-8")
    options = yaml.load(text, _LOADER)["argument_specs"]["main"]["options"]  # noqa: S506
    return {name: option.get("type", "str") for name, option in options.items()}


def inputs() -> t.List[str]:
    """Return the names of all inputs."""
    return list(types())


def used() -> t.Set[str]:
    """Return every name with the prefix that a role uses: inputs, facts, and variables for the connection."""
    names: t.Set[str] = set()
    for path in ROLES.rglob("*"):
        if path.suffix in (".yml", ".j2"):
            names.update(re.findall(rf"\b{PREFIX}\w+", path.read_text(encoding="utf-8")))
    return names


def misspelled(
    names: t.Iterable[str], known: t.Sequence[str], others: t.Container[str]
) -> t.Dict[str, str]:
    """Return those of *names* that are neither *known* nor among the *others*, with the most similar known name."""
    corrections = {}
    for name in sorted(names):
        if name.startswith(PREFIX) and name not in known and name not in others:
            # Without the prefix, which would make all names similar.
            rest = {it[len(PREFIX) :]: it for it in known}
            near = difflib.get_close_matches(name[len(PREFIX) :], rest, 1, NEAR)
            if near:
                corrections[name] = rest[near[0]]
    return corrections


__all__ = ("inputs", "misspelled", "types", "used")
