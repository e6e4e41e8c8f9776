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
    crypttab: Lines


def going(
    have: units.Mounting, lines: Lines, unmounted: Gone
) -> t.Tuple[t.List[t.Tuple[units.Unit, str]], t.List[str]]:
    """Return the units that go, with the reason, and the problems: lines of fstab that have to go because of units."""
    gone = dict(unmounted.lines)
    found = have.units()
    for unit in found:
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
    # The image has lines of its own for the others.
    others = [row for row in lines if fstab.point_of(row) not in image_tables.OWN_POINTS]
    started = _started(have, [row for row in others if tuple(row) not in gone], unmounted.own)
    pulled_in = _pulled_in(gone, [*others, *(it.row for it in found)], started, unmounted)
    units_of = {tuple(it.row) for it in found}
    gone.update((row, why) for row, why in pulled_in.items() if row in units_of)
    image_tables.add_dependent(gone, [it.row for it in found], unmounted.exists)
    leaving = [(it, gone[tuple(it.row)]) for it in found if tuple(it.row) in gone]
    # Their turn comes when the image has no such units any more.
    image_tables.add_dependent(gone, lines, unmounted.exists)
    problems = [
        f"The {image_tables.said('fstab', row, gone[tuple(row)])}: a unit of systemd mounted it. Take the line out, and"
        " pack the root again."
        for row in lines
        if tuple(row) in gone and tuple(row) not in {*unmounted.lines, *units_of}
    ]
    asked = {**pulled_in, **started}
    problems += [
        f"The {image_tables.said('fstab', row, asked[tuple(row)])}. Take the line out, or what starts it, and pack the"
        " root again."
        for row in lines
        if tuple(row) in asked and tuple(row) not in gone
    ]
    return leaving, [
        *problems,
        *_esp(have, {f"/{it}" for unit, _why in leaving for it in unit.members}),
    ]


def _esp(have: units.Mounting, leaving: t.Container[str]) -> t.List[str]:
    """Return what would mount the image's EFI system partition, except files that are *leaving*."""
    starter = have.starter("boot-efi.mount")
    if not starter or starter in leaving:
        return []
    return [
        f"{starter} starts the mount of /boot/efi. The host can write to the EFI system partition, so an image mounts"
        " it only for a person: change the file, and pack the root again."
    ]


def _started(
    have: units.Mounting, lines: Lines, own: t.Container[str]
) -> t.Dict[t.Tuple[str, ...], str]:
    """Return the lines with noauto that units start all the same, with the reason for which they cannot stay."""
    found = {}
    for row in filter(fstab.is_on_demand, lines):
        taken, name = fstab.taken(row, own), fstab.escaped(fstab.point_of(row).strip("/"))
        starter = have.starter(f"{name}.mount") if taken and name else ""
        if taken and starter:
            found[tuple(row)] = f"{taken.reason}, and {starter} starts it"
    return found


def _pulled_in(
    gone: t.Container[t.Tuple[str, ...]],
    rows: Lines,
    started: t.Container[t.Tuple[str, ...]],
    unmounted: Gone,
) -> t.Dict[t.Tuple[str, ...], str]:
    """Return what takes a disk and is mounted only because another line or unit lies in it, with the reason."""
    kept = [row for row in rows if tuple(row) not in gone and tuple(row) not in started]
    booted = fstab.mounted(kept, unmounted.crypttab)
    taking = ((row, fstab.taken(row, unmounted.own)) for row in booted if fstab.is_on_demand(row))
    return {row: f"{taken.reason}, {fstab.PULLED_IN}" for row, taken in taking if taken}


__all__ = ("Gone", "Lines", "going")
