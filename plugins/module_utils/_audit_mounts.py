# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What fstab, crypttab and the mount units name, and whether it is in the image."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils import _audit_units, _fstab

Problems = t.List[str]


def table(text: t.Optional[str]) -> t.List[t.List[str]]:
    """Return the fields of fstab(5) or crypttab(5)."""
    lines = (line.strip() for line in (text or "").splitlines())
    return [line.split() for line in lines if line and not line.startswith("#")]


# What every disk can have that the host attaches.
_TAG = re.compile(r"(?:UUID|LABEL|PARTUUID|PARTLABEL|ID)=|/dev/disk/")


def _of_host(row: t.Sequence[str], mapped: t.Container[str]) -> t.Optional[str]:
    """Say what a mount names that the host could supply, and what to do; None for what is in the image.

    *row* is a line of fstab, or what a unit says in its place; *mapped* are the devices that crypttab makes.
    """
    source = _fstab.source_of(row[0])
    if source in mapped or _fstab.is_memory(source):
        return None
    if _fstab.is_of_host(row):
        return f"names {source}, a directory of the host: leave it out"
    if _TAG.match(source):
        return f"names {source}, which a disk of the host can have: name the mapping"
    if source.startswith("/dev/"):
        return f"names the device {source}, which is not in the image: name the mapping"
    return None


def _mapped(crypttab: t.Sequence[t.Sequence[str]]) -> t.Set[str]:
    """Return the devices that crypttab makes."""
    return {f"/dev/mapper/{row[0]}" for row in crypttab}


def mounts(
    fstab: t.Sequence[t.Sequence[str]], crypttab: t.Sequence[t.Sequence[str]], *, luks_uuid: str
) -> Problems:
    """fstab and crypttab take nothing from a disk that the host could attach, but for the root by its pinned header.

    But for what a person asks for alone, which no boot waits for and nobody can slip in.
    """
    mapped = _mapped(crypttab)
    found = (_of_host(row, mapped) for row in fstab if not _fstab.is_on_demand(row))
    problems = [f"fstab {why}, or set noauto" for why in found if why]
    for row in crypttab:
        source = row[1] if len(row) > 1 else ""
        if _fstab.is_opened_on_demand(row) or _fstab.path_of(source):
            continue
        # How the initramfs finds the root; what it finds has to fit the pinned header.
        if source.lower() != f"uuid={luks_uuid}":
            problems.append(f"crypttab names {source}, which is not in the image")
    if not any(row[1:2] == ["/"] and row[0] in mapped for row in fstab):
        problems.append("fstab has no line for / that names its mapping")
    return problems


def units(have: _audit_units.Units, crypttab: t.Sequence[t.Sequence[str]]) -> Problems:
    """The units of systemd take nothing from the host either."""
    mapped = _mapped(crypttab)
    problems = []
    for name in have.names():
        section = {"mount": "Mount", "swap": "Swap"}.get(name.rpartition(".")[2])
        what = _audit_units.last(have.settings(name), section, "What") if section else None
        if section and what and what.value:
            why = _of_host(_row(have, name, section, what.value), mapped)
            if why and _is_started(have, name):
                problems.append(f"{what.path} {why}, or mask {name}")
    return problems


def _row(have: _audit_units.Units, name: str, section: str, what: str) -> t.List[str]:
    """Return the line of fstab that says the same as a unit."""
    settings = have.settings(name)
    where, kind, options = (
        _audit_units.last(settings, section, key) for key in ("Where", "Type", "Options")
    )
    return [
        what.replace("%%", "%"),
        where.value if where else "none",
        kind.value if kind else section.lower(),
        options.value if options else "defaults",
    ]


def _is_started(have: _audit_units.Units, name: str) -> bool:
    """Say whether a boot mounts a unit.

    What nothing starts is to systemd what noauto is in fstab: a person's own to ask for, so it may be elsewhere. A unit
    that is nothing but drop-ins changes one that systemd makes of a line in fstab, which then starts it.
    """
    automount = f"{name.rpartition('.')[0]}.automount"
    return have.path(name) is None or any(
        have.is_enabled(it) or have.starter(it)
        for it in (name, automount)
        if not have.is_masked(it)
    )


__all__ = ("Problems", "mounts", "table", "units")
