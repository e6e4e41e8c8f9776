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


def mounts(
    fstab: t.Sequence[t.Sequence[str]],
    crypttab: t.Sequence[t.Sequence[str]],
    *,
    known: t.Mapping[str, t.Container[str]],
) -> Problems:
    """fstab and crypttab name only what is in the image; *known* has the values of each tag.

    But for what a person asks for alone, which no boot waits for and nobody can slip in.
    """
    problems = []
    mapped = {f"/dev/mapper/{row[0]}" for row in crypttab}
    for name, rows, field, on_demand in (
        ("fstab", fstab, 0, _fstab.is_on_demand),
        ("crypttab", crypttab, 1, _fstab.is_opened_on_demand),
    ):
        for row in rows:
            if on_demand(row):
                continue
            source = row[field] if len(row) > field else ""
            tag, equals, value = source.partition("=")
            by = re.fullmatch(r"/dev/disk/by-(uuid|label|partuuid|partlabel)/(.+)", source)
            if by:
                tag, equals, value = by.group(1).upper(), "=", by.group(2)
            value = value.strip('"')
            if equals and tag in known:
                if (value if "LABEL" in tag else value.lower()) not in known[tag]:
                    problems.append(f"{name} names {source}, which is not in the image")
            elif (
                source.startswith("/dev/") and source not in mapped and not _fstab.is_memory(source)
            ):
                problems.append(f"{name} names the device {source}: use a UUID")
    if not any(len(row) > 1 and row[1] == "/" for row in fstab):
        problems.append("fstab has no line for /")
    return problems


def fat_names(sector: bytes) -> t.Tuple[str, str]:
    """Return label and serial number of a FAT file system, as fstab(5) names them."""
    at = 67 if sector[82:90] == b"FAT32   " else 39
    serial = int.from_bytes(sector[at : at + 4], "little")
    label = sector[at + 4 : at + 15].decode("ascii", "replace").rstrip()
    return label, f"{serial >> 16:04x}-{serial & 0xFFFF:04x}"


__all__ = ("Problems", "fat_names", "mounts", "table")
