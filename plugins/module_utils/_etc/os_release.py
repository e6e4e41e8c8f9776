# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""os-release(5), and the family of distributions that it belongs to. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    printable,
)

OS_RELEASES = ("usr/lib/os-release", "etc/os-release")


def parse_os_release(text: str) -> t.Dict[str, str]:
    """Parse os-release(5)."""
    pairs = re.findall(r"^([A-Za-z_0-9]+)=[\"']?(.*?)[\"']?$", text, re.MULTILINE)
    return {name: printable.text(value) for name, value in pairs}


def family(
    os_release: t.Mapping[str, str], families: t.Sequence[t.Mapping[str, t.Any]]
) -> t.Mapping[str, t.Any]:
    """Return the first of *families* that the distribution belongs to; empty if there is none.

    ID takes precedence over ID_LIKE, which lists the closest relative first (os-release(5)).
    """
    for name in (os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()):
        for it in families:
            if name in it["ids"]:
                return it
    return {}


__all__ = ("OS_RELEASES", "family", "parse_os_release")
