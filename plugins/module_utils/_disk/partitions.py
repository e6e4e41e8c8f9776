# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Partition tables, read with ``sfdisk --json``."""

from __future__ import annotations

import dataclasses
import os
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import untrusted_json
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

MIB = 1 << 20
SECTOR = 512

ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
# Type GUID of a LUKS partition, whatever it contains (Discoverable Partitions, util-linux "Linux LUKS").
LUKS_TYPE = "CA7D7CCB-63ED-4C53-861C-1742536059CC"


@dataclasses.dataclass(frozen=True)
class Partition:
    """One partition; offset and size in bytes.

    GUIDs are in upper case. *number* is 0 if the table does not tell the partition's number.
    """

    type: str
    name: str
    offset: int
    size: int
    uuid: str = ""
    number: int = 0
    # Numbers of the attribute bits that belong to its type.
    attributes: t.FrozenSet[int] = frozenset()


@dataclasses.dataclass(frozen=True)
class Table:
    """A partition table: *label* is its type (gpt, dos, ...), *id* its identifier."""

    partitions: t.Tuple[Partition, ...]
    label: str = "gpt"
    id: str = ""


def parse(text: str) -> Table:
    """Parse ``sfdisk --json`` (sfdisk(8))."""
    try:
        return _parse(text)
    except (AttributeError, KeyError, TypeError, ValueError):
        # sfdisk prints invalid JSON for some partition names.
        raise SealedRootError(
            "the partition table cannot be read: write it anew (sfdisk)"
        ) from None


def _parse(text: str) -> Table:
    table = untrusted_json.loads(text)["partitiontable"]
    sector = int(table.get("sectorsize", SECTOR))
    parts = []
    for part in table.get("partitions", []):
        number = re.search(r"\d+$", part.get("node", ""))
        parts.append(
            Partition(
                type=part.get("type", "").upper(),
                name=part.get("name", ""),
                offset=int(part["start"]) * sector,
                size=int(part["size"]) * sector,
                uuid=part.get("uuid", "").upper(),
                number=int(number[0]) if number else 0,
                attributes=_attributes(part.get("attrs", "")),
            )
        )
    return Table(tuple(parts), str(table["label"]), str(table.get("id", "")))


def _attributes(text: str) -> t.FrozenSet[int]:
    """Return the bits of a GPT's attributes in sfdisk's form: names, and GUID: with numbers."""
    found = re.search(r"GUID:([\d,]+)", text)
    return frozenset(int(it) for it in found[1].split(",") if it) if found else frozenset()


def read(runner: Runner, path: str) -> t.Optional[Table]:
    """Return the partition table of the disk at *path*, or None if it has none."""
    result = runner.run([runner.find("sfdisk"), "--json", path], check=False, timeout=60)
    if result.rc != 0:
        return None
    return parse(result.stdout)


def read_gpt(runner: Runner, path: str) -> t.Optional[Table]:
    """Return the GPT of an image, or None if it has no partition table; raise an error for another type."""
    table = read(runner, path)
    if table and table.label != "gpt":
        raise SealedRootError(f"the partition table is {table.label}, not gpt")
    return table


def check_region(runner: Runner, path: str, offset: int, size: int) -> None:
    """Refuse a region that exceeds a partition, so that formatting it does not destroy another one.

    A region up to the end of the disk is refused as well, because a GPT has its backup there.
    """
    end = offset + size
    if not size:
        with open(path, "rb") as handle:
            end = handle.seek(0, os.SEEK_END)
    table = read(runner, path)
    parts = table.partitions if table else ()
    if parts and not any(it.offset <= offset and end <= it.offset + it.size for it in parts):
        regions = ", ".join(f"offset {it.offset} size {it.size}" for it in parts)
        raise SealedRootError(
            f"{path} has a partition table, and offset {offset} size {end - offset} is not inside one"
            f" of its partitions ({regions}): correct that, or set force to format it all the same"
        )


def esp_and_luks(table: Table) -> t.Tuple[Partition, Partition]:
    """Return the ESP and the LUKS partition of a sealed image; raise an error for any other layout."""
    kinds = [part.type for part in table.partitions]
    if kinds != [ESP_TYPE, LUKS_TYPE]:
        raise SealedRootError(
            f"the disk has the partitions {kinds}, not one EFI system partition and one LUKS partition"
        )
    return table.partitions[0], table.partitions[1]


__all__ = (
    "ESP_TYPE",
    "LUKS_TYPE",
    "MIB",
    "Partition",
    "Table",
    "check_region",
    "esp_and_luks",
    "parse",
    "read",
    "read_gpt",
)
