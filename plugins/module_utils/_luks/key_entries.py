# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The keys that a container shall have, as an option of a module."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._luks import key_plan, metadata

_Entry = t.Mapping[str, t.Any]

ARGUMENT: t.Mapping[str, t.Any] = {
    "type": "list",
    "elements": "dict",
    "no_log": False,
    "options": {
        "slot": {"type": "int", "required": True},
        "key_file": {"type": "path", "required": True, "no_log": False},
        "iterations": {"type": "int"},
        "passphrase": {"type": "bool", "default": False, "no_log": False},
    },
}


def wanted(entries: t.Iterable[_Entry]) -> t.List[key_plan.WantedKey]:
    """Return the keys with the PBKDF2 iterations of their slots."""
    return [
        key_plan.WantedKey(entry["slot"], entry["key_file"], _iterations(entry))
        for entry in entries
    ]


def _iterations(entry: _Entry) -> int:
    """Return the PBKDF2 iterations of a key's slot."""
    if entry["iterations"] is not None:
        return int(entry["iterations"])
    return metadata.PASSPHRASE_ITERATIONS if entry["passphrase"] else metadata.FEWEST_ITERATIONS


__all__ = ("ARGUMENT", "wanted")
