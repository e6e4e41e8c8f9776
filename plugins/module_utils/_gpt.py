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
    """One partition; offset and size in bytes."""

    type: str
    name: str
    offset: int
    size: int


def wanted(size: int) -> t.Tuple[Partition, Partition]:
    """Return the ESP and the LUKS partition of a disk of *size* bytes."""
    root = size - ROOT_START - TAIL
    if root < 32 * MIB:
        raise SealedRootError(f"a disk of {size} bytes has no room for a root: make it larger")
    return (
        Partition(ESP_TYPE, "ESP", ESP_START, ESP_SIZE),
        Partition(LUKS_TYPE, "root", ROOT_START, root),
    )


def script(partitions: t.Iterable[Partition]) -> bytes:
    """Return the sfdisk(8) script that makes *partitions*."""
    lines = ["label: gpt"]
    lines += [
        f"start={part.offset // SECTOR}, size={part.size // SECTOR}, type={part.type},"
        f" name={part.name}"
        for part in partitions
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


def parse(text: str) -> t.Tuple[Partition, ...]:
    """Parse ``sfdisk --json``; anything but a GPT is an error."""
    table = json.loads(text)["partitiontable"]
    if table["label"] != "gpt":
        raise SealedRootError(f"the partition table is {table['label']}, not gpt")
    sector = int(table.get("sectorsize", SECTOR))
    return tuple(
        Partition(
            type=part["type"].upper(),
            name=part.get("name", ""),
            offset=int(part["start"]) * sector,
            size=int(part["size"]) * sector,
        )
        for part in table.get("partitions", [])
    )


def read(runner: Runner, path: str) -> t.Optional[t.Tuple[Partition, ...]]:
    """Return the partitions of the image at *path*, or None when it has no table."""
    result = runner.run([runner.find("sfdisk"), "--json", path], check=False)
    if result.rc != 0:
        return None
    return parse(result.stdout)


def write(runner: Runner, path: str, partitions: t.Iterable[Partition]) -> None:
    """Write the table to an image file, which no kernel needs to hear of."""
    argv = [runner.find("sfdisk"), "--quiet", "--no-reread", "--no-tell-kernel", "--wipe=always"]
    runner.run([*argv, path], stdin=script(partitions), timeout=60)


def esp_and_luks(partitions: t.Sequence[Partition]) -> t.Tuple[Partition, Partition]:
    """Return the ESP and the LUKS partition of a sealed image; any other layout is an error."""
    kinds = [part.type for part in partitions]
    if kinds != [ESP_TYPE, LUKS_TYPE]:
        raise SealedRootError(
            f"the disk has the partitions {kinds}, not one EFI system partition and one LUKS partition"
        )
    return partitions[0], partitions[1]


__all__ = (
    "ESP_START",
    "ESP_TYPE",
    "LUKS_TYPE",
    "MIB",
    "ROOT_START",
    "Partition",
    "esp_and_luks",
    "parse",
    "read",
    "script",
    "wanted",
    "write",
)
