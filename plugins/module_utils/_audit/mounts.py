# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Check that fstab, crypttab and mount units name only what is in the image."""

from __future__ import annotations

import posixpath
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._audit import systemd
from ansible_collections.sealedroot.image.plugins.module_utils._etc import (
    fstab as etc_fstab,
    units as etc_units,
)


def table(text: t.Optional[str]) -> t.List[t.List[str]]:
    """Return the fields of each line of fstab(5) or crypttab(5)."""
    lines = (line.strip() for line in etc_fstab.lines(text or ""))
    return [line.split() for line in lines if line and not line.startswith("#")]


# Names that any disk of the host can have.
_TAG = re.compile(r"(?:UUID|LABEL|PARTUUID|PARTLABEL|ID)=|/dev/disk/")


# Settings of a service that mount a device, or a file with a file system; systemd.exec(5). Each word is SOURCE or
# SOURCE:WHERE..., and a leading - means that it may be missing.
_IMAGES = ("RootImage", "MountImages", "ExtensionImages")


def _named(taken: etc_fstab.Taken, crypttab: t.Sequence[etc_fstab.Row]) -> str:
    """Say what a mount takes from the host, and what to change."""
    name = taken.name
    if taken.reason == etc_fstab.OF_HOST:
        return f"names {name}, a directory of the host: leave it out"
    if name in {f"/dev/mapper/{row[0]}" for row in crypttab}:
        return f"names {name}, which crypttab opens from a disk: open it from a file of the root"
    if _TAG.match(name):
        return f"names {name}, which a disk of the host can have: name the mapping"
    kind = "the device " if name.startswith("/dev/") else ""
    return f"names {kind}{name}, which is not in the image: name the mapping"


class _Mount(t.NamedTuple):
    """A line of fstab, or the equivalent of a unit: the file that has it, and how to make it mount on demand only."""

    row: t.List[str]
    path: str
    otherwise: str
    # The unit's own value.
    what: str = ""


def mounts(
    fstab: t.Sequence[t.List[str]],
    crypttab: t.Sequence[t.Sequence[str]],
    *,
    luks_uuid: str,
    root_device: str,
    units: t.Optional[systemd.Units] = None,
) -> t.List[str]:
    """fstab, crypttab and units take nothing from a disk that the host could attach, except the root by its header.

    What is mounted only on request is allowed: no boot waits for it, and the host cannot trigger it.
    """
    rows = [row for row in fstab if len(row) > 1]
    have = [_of_fstab(row, units) for row in rows]
    have += _of_units(units) if units else []
    own = etc_fstab.own_mappings(crypttab, root_device)
    booted = etc_fstab.mounted([it.row for it in have], crypttab)
    problems = []
    for it in have:
        taken = etc_fstab.taken(it.row, own) if tuple(it.row) in booted else None
        if tuple(it.row) in booted and etc_units.has_specifier(it.what):
            problems.append(
                f"{it.path} mounts {it.what}, which systemd makes a name of: write the name out, {it.otherwise}"
            )
        elif taken:
            pulled_in = f", {etc_fstab.PULLED_IN}" if etc_fstab.is_on_demand(it.row) else ""
            otherwise = "" if pulled_in else f", {it.otherwise}"
            problems.append(f"{it.path} {_named(taken, crypttab)}{pulled_in}{otherwise}")
    problems += [*_images(units), *_swaps(units)] if units else []
    for row in crypttab:
        disk = etc_fstab.disk_of(row)
        service = f"systemd-cryptsetup@{etc_fstab.escaped(row[0])}.service"
        if not disk or (etc_fstab.is_opened_on_demand(row) and not _starter(units, service)):
            continue
        # The initramfs finds the root by this UUID; what it finds must fit the pinned header.
        if disk.lower() != f"uuid={luks_uuid}":
            problems.append(f"crypttab names {disk}, which is not in the image")
        elif f"/dev/mapper/{row[0]}" != root_device:
            problems.append(f"crypttab opens the disk of the root as {row[0]} as well")
    mapped = {f"/dev/mapper/{row[0]}" for row in crypttab}
    if not any(row[1:2] == ["/"] and row[0] in mapped for row in rows):
        problems.append("fstab has no line for / that names its mapping")
    return problems


def _starter(units: t.Optional[systemd.Units], *names: str) -> t.Optional[str]:
    """Return the file of a unit that starts one of the units that systemd generates from a table."""
    return next((file for file in map(units.starter, names) if file), None) if units else None


def _of_fstab(row: t.List[str], units: t.Optional[systemd.Units]) -> _Mount:
    name = etc_fstab.escaped(etc_fstab.point_of(row).strip("/"))
    automount = f"{name}.automount"
    starter = _starter(units, f"{name}.mount", automount) if name else None
    if units and not starter and units.is_enabled(automount):
        starter = units.path(automount)
    if not starter or not etc_fstab.is_on_demand(row):
        return _Mount(row, "fstab", "or set noauto")
    return _Mount([*row[:3], f"{row[3]},auto"], "fstab", f"or remove {starter}, which starts it")


def _of_units(have: systemd.Units) -> t.List[_Mount]:
    unit_mounts = []
    # To read a file costs a process, and a root has hundreds of services.
    for name in filter(etc_units.can_mount, have.names()):
        settings = have.settings(name)
        what = etc_units.what(settings, name)
        if what:
            row = etc_units.row(settings, name, started=_is_started(have, name))
            unit_mounts.append(_Mount(row, what.path, f"or mask {name}", what.value))
    return unit_mounts


def _images(have: systemd.Units) -> t.List[str]:
    settings = [(it, word) for it in have.own if it.key in _IMAGES for word in it.value.split()]
    return [
        f"{it.path} mounts {source} ({it.key}), which is not in the image: leave it out"
        for it, source in ((it, word.lstrip("-").partition(":")[0]) for it, word in settings)
        if not etc_fstab.path_of(source) or etc_units.has_specifier(source)
    ]


def _swaps(have: systemd.Units) -> t.List[str]:
    """Return the commands of services that swap to a disk: the host would read the memory of the machine there."""
    return [
        f"{it.path} swaps to a disk of the host ({it.key}), which would get the machine's memory: leave it out"
        for it in have.own
        if it.section == "Service" and it.key.startswith("Exec")
        if etc_units.uses_disk(it.value, "swapon") and _is_started(have, _unit_of(it.path))
    ]


def _unit_of(path: str) -> str:
    """Return the unit of which a file has settings, itself or as a drop-in."""
    directory, name = posixpath.split(path)
    return posixpath.basename(directory)[: -len(".d")] if directory.endswith(".d") else name


def _is_started(have: systemd.Units, name: str) -> bool:
    """Say whether a boot mounts a unit.

    A unit that nothing starts is like noauto in fstab: only a user can request it, so it may name something outside. A
    unit with only drop-ins changes one that systemd generates from a line of fstab, which then starts it.
    """
    automount = f"{name.rpartition('.')[0]}.automount"
    return have.path(name) is None or any(
        have.is_enabled(it) or have.starter(it)
        for it in (name, automount)
        if not have.is_masked(it)
    )


__all__ = ("mounts", "table")
