# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The members of a tar of a root, by name, and the content of some: pure."""

from __future__ import annotations

import bisect
import functools
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import units as etc_units
from ansible_collections.sealedroot.image.plugins.module_utils._root import tar


class Root:
    """The members of a tar by the names to which they are unpacked, and the content of some."""

    def __init__(self, members: t.Sequence[tar.Member], data: t.Mapping[str, bytes]) -> None:
        self.all = members
        # If a name occurs twice, the last member wins when the tar is unpacked.
        self.members = {tar.plain(member.name): member for member in members}
        self.data = data
        self._links = tar.links(members)
        # The names, sorted when it is needed.
        self._sorted: t.List[str] = []

    def text(self, name: str) -> str:
        """Return the content of a file, or of what a link leads to; empty if it was not read."""
        data = self.data.get(name)
        if data is None:
            data = self.data.get(tar.real(self._links, name), b"")
        return data.decode("utf-8", "surrogateescape")

    @functools.cached_property
    def mounting(self) -> etc_units.Mounting:
        """Return the units of systemd that mount, and what starts them."""
        # The content has the name that the tar shows, in which the backslash of a unit is doubled.
        texts = {
            name: self.text(it.name)
            for name, it in self.members.items()
            if etc_units.is_member(name) or (etc_units.can_ask(name) and it.type in "-h")
        }
        return etc_units.Mounting(texts, filter(etc_units.is_member, self.members))

    def units(self) -> t.List[etc_units.Unit]:
        """Return the units of systemd that mount."""
        return self.mounting.units()

    def file(self, path: str) -> t.Optional[tar.Member]:
        """Return the regular file at an absolute path."""
        member = self.members.get(path.lstrip("/"))
        return member if member and member.type in "-h" else None

    def has_below(self, path: str) -> bool:
        """Say whether anything is below an absolute path: a tar need not have an entry of each directory."""
        self._sorted = self._sorted or sorted(self.members)
        start = path.strip("/") + "/"
        at = bisect.bisect_left(self._sorted, start)
        return at < len(self._sorted) and self._sorted[at].startswith(start)

    def holds(self, path: str) -> bool:
        """Say whether anything other than directories is below an absolute path."""
        start = path.strip("/") + "/"
        return any(
            name.startswith(start) and member.type != "d" for name, member in self.members.items()
        )


__all__ = ("Root",)
