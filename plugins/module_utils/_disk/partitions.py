# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The partition table of an image, as ``sfdisk --json`` reads it."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import untrusted_json
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

MIB = 1 << 20
SECTOR = 512

ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
# GUID of a LUKS partition, whatever is in it (Discoverable Partitions, util-linux "Linux LUKS").
LUKS_TYPE = "CA7D7CCB-63ED-4C53-861C-1742536059CC"


@dataclasses.dataclass(frozen=True)
class Partition:
    """One partition; offset and size in bytes."""

    type: str
    name: str
    offset: int
    size: int
    uuid: str = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A GPT."""

    partitions: t.Tuple[Partition, ...]


def parse(text: str) -> Table:
    """Parse ``sfdisk --json``; anything but a GPT is an error."""
    try:
        return _parse(text)
    except (AttributeError, KeyError, TypeError, ValueError):
        # A name can be such that sfdisk writes no JSON.
        raise SealedRootError("the partition table cannot be read: write it anew") from None


def _parse(text: str) -> Table:
    table = untrusted_json.loads(text)["partitiontable"]
    if table["label"] != "gpt":
        raise SealedRootError(f"the partition table is {table['label']}, not gpt")
    sector = int(table.get("sectorsize", SECTOR))
    return Table(
        tuple(
            Partition(
                type=part["type"].upper(),
                name=part.get("name", ""),
                offset=int(part["start"]) * sector,
                size=int(part["size"]) * sector,
                uuid=part.get("uuid", "").upper(),
            )
            for part in table.get("partitions", [])
        )
    )


def read(runner: Runner, path: str) -> t.Optional[Table]:
    """Return the table of the image at *path*, or None when it has none."""
    result = runner.run([runner.find("sfdisk"), "--json", path], check=False, timeout=60)
    if result.rc != 0:
        return None
    return parse(result.stdout)


def esp_and_luks(table: Table) -> t.Tuple[Partition, Partition]:
    """Return the ESP and the LUKS partition of a sealed image; any other layout is an error."""
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
    "esp_and_luks",
    "parse",
    "read",
)
