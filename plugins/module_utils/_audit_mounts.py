# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What fstab and crypttab name, and whether it is in the image."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils import _fstab

Problems = t.List[str]


def table(text: t.Optional[str]) -> t.List[t.List[str]]:
    """Return the fields of fstab(5) or crypttab(5)."""
    lines = (line.strip() for line in (text or "").splitlines())
    return [line.split() for line in lines if line and not line.startswith("#")]


# What every disk can have that the host attaches.
_TAG = re.compile(r"(?:UUID|LABEL|PARTUUID|PARTLABEL|ID)=|/dev/disk/")


def mounts(
    fstab: t.Sequence[t.Sequence[str]], crypttab: t.Sequence[t.Sequence[str]], *, luks_uuid: str
) -> Problems:
    """fstab and crypttab take nothing from a disk that the host could attach, but for the root by its pinned header.

    But for what a person asks for alone, which no boot waits for and nobody can slip in.
    """
    problems = []
    mapped = {f"/dev/mapper/{row[0]}" for row in crypttab}
    for row in fstab:
        source = _fstab.source_of(row[0])
        if _fstab.is_on_demand(row) or source in mapped or _fstab.is_memory(source):
            continue
        if _fstab.is_of_host(row):
            problems.append(
                f"fstab names {source}, a directory of the host: leave it out, or set noauto"
            )
        elif _TAG.match(source):
            problems.append(
                f"fstab names {source}, which a disk of the host can have: name the mapping, or set noauto"
            )
        elif source.startswith("/dev/"):
            problems.append(f"fstab names the device {source}, which is not in the image")
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


__all__ = ("Problems", "mounts", "table")
