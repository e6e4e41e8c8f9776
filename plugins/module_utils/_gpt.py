# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The partition table of an image: what it shall be, and what ``sfdisk --json`` says it is."""

from __future__ import annotations

import dataclasses
import json
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    Runner,
    SealedRootError,
)

MIB = 1 << 20
SECTOR = 512
ESP_START = 1 * MIB
ESP_SIZE = 99 * MIB
ROOT_START = ESP_START + ESP_SIZE
# The backup of the table needs 33 sectors at the end; a whole MiB keeps the partition aligned.
TAIL = 1 * MIB

ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
# GUID of a LUKS partition, whatever is in it (Discoverable Partitions, util-linux "Linux LUKS").
LUKS_TYPE = "CA7D7CCB-63ED-4C53-861C-1742536059CC"


@dataclasses.dataclass(frozen=True)
class Partition:
    """One partition; offset and size in bytes. An empty UUID is one that does not matter."""

    type: str
    name: str
    offset: int
    size: int
    uuid: str = dataclasses.field(default="", compare=False)


@dataclasses.dataclass(frozen=True)
class Table:
    """A GPT."""

    partitions: t.Tuple[Partition, ...]
    uuid: str = dataclasses.field(default="", compare=False)

    def fits(self, want: Table) -> bool:
        """Say whether this is the table *want*, whose empty UUIDs do not matter."""
        ours = (self.uuid, *(part.uuid for part in self.partitions))
        theirs = (want.uuid, *(part.uuid for part in want.partitions))
        same = all(theirs_ in ("", ours_) for ours_, theirs_ in zip(ours, theirs))
        return self == want and same


def wanted(size: int, *, disk_uuid: str = "", esp_uuid: str = "", root_uuid: str = "") -> Table:
    """Return the table with ESP and LUKS partition of a disk of *size* bytes."""
    root = size - ROOT_START - TAIL
    if root < 32 * MIB:
        raise SealedRootError(
            f"a disk of {size} bytes is too small: take at least {ROOT_START + TAIL + 32 * MIB}"
        )
    return Table(
        (
            Partition(ESP_TYPE, "ESP", ESP_START, ESP_SIZE, esp_uuid.upper()),
            Partition(LUKS_TYPE, "root", ROOT_START, root, root_uuid.upper()),
        ),
        disk_uuid.upper(),
    )


def script(table: Table) -> bytes:
    """Return the sfdisk(8) script that makes *table*."""
    lines = ["label: gpt"]
    if table.uuid:
        lines.append(f"label-id: {table.uuid}")
    for part in table.partitions:
        line = f"start={part.offset // SECTOR}, size={part.size // SECTOR}, type={part.type}"
        line += f", name={part.name}"
        lines.append(f"{line}, uuid={part.uuid}" if part.uuid else line)
    return ("\n".join(lines) + "\n").encode("ascii")


def parse(text: str) -> Table:
    """Parse ``sfdisk --json``; anything but a GPT is an error."""
    table = json.loads(text)["partitiontable"]
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
        ),
        table.get("id", "").upper(),
    )


def read(runner: Runner, path: str) -> t.Optional[Table]:
    """Return the table of the image at *path*, or None when it has none."""
    result = runner.run([runner.find("sfdisk"), "--json", path], check=False, timeout=60)
    if result.rc != 0:
        return None
    return parse(result.stdout)


def write(runner: Runner, path: str, table: Table) -> None:
    """Write the table to an image file, which no kernel needs to hear of."""
    argv = [runner.find("sfdisk"), "--quiet", "--no-reread", "--no-tell-kernel", "--wipe=always"]
    runner.run([*argv, path], stdin=script(table), timeout=60)


def esp_and_luks(table: Table) -> t.Tuple[Partition, Partition]:
    """Return the ESP and the LUKS partition of a sealed image; any other layout is an error."""
    kinds = [part.type for part in table.partitions]
    if kinds != [ESP_TYPE, LUKS_TYPE]:
        raise SealedRootError(
            f"the disk has the partitions {kinds}, not one EFI system partition and one LUKS partition"
        )
    return table.partitions[0], table.partitions[1]


__all__ = (
    "ESP_START",
    "ESP_TYPE",
    "LUKS_TYPE",
    "MIB",
    "ROOT_START",
    "SECTOR",
    "Partition",
    "Table",
    "esp_and_luks",
    "parse",
    "read",
    "script",
    "wanted",
    "write",
)
