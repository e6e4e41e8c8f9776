# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The units of a root that mount what does not get into an image: pure. They go as lines of fstab(5) do."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    fstab,
    image_tables,
    units,
)

Lines = t.Sequence[fstab.Row]


class Gone(t.NamedTuple):
    """The lines of fstab that go, with the reason, and by what that was judged (``image_tables.going``)."""

    lines: t.Dict[t.Tuple[str, ...], str]
    own: t.Container[str]
    exists: image_tables.Exists


def going(
    have: t.Sequence[units.Unit], lines: Lines, unmounted: Gone
) -> t.Tuple[t.List[t.Tuple[units.Unit, str]], t.List[str]]:
    """Return the units that go, with the reason, and the problems: lines of fstab that need what a unit mounted."""
    gone = dict(unmounted.lines)
    for unit in have:
        on_demand = fstab.is_on_demand(unit.row)
        why = image_tables.why_unmounted(
            unit.row, unmounted.exists, unmounted.own, on_demand=on_demand
        )
        if why == image_tables.NO_FILE and not all(map(unmounted.exists, unit.needed)):
            # systemd skips it until the file is there, as packages have it.
            why = None
        if unit.has_specifier and not on_demand:
            why = "systemd makes a name of what it mounts"
        if why:
            gone[tuple(unit.row)] = why
    image_tables.add_dependent(gone, [it.row for it in have], unmounted.exists)
    found = [(it, gone[tuple(it.row)]) for it in have if tuple(it.row) in gone]
    # Their turn comes when the image has no such units any more.
    image_tables.add_dependent(gone, lines, unmounted.exists)
    problems = [
        f"The {image_tables.said('fstab', row, gone[tuple(row)])}: a unit of systemd mounted it. Take the line out, and"
        " pack the root again."
        for row in lines
        if tuple(row) in gone and tuple(row) not in unmounted.lines
    ]
    return found, problems


__all__ = ("Gone", "Lines", "going")
