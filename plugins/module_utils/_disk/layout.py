# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The layout of a sealed disk: a GPT with an EFI system partition and a LUKS partition, and nothing else."""

from __future__ import annotations

import contextlib
import os
import re
import typing as t
import uuid

from ansible.module_utils.common.text.formatters import human_to_bytes
from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._disk.partitions import (
    MIB,
    SECTOR,
    Partition,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import filesystems
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

# In bytes. The root ends before the last MiB, which holds the backup of the partition table.
ESP_OFFSET, ESP_SIZE = MIB, 99 * MIB
ROOT_OFFSET = ESP_OFFSET + ESP_SIZE
BESIDE_ROOT = ROOT_OFFSET + MIB
_SIZE = re.compile(r"[1-9][0-9]*([.][0-9]+)? ?([KMGT](i?B)?)?")
# What is identified by a UUID that is derived from the image's.
NAMES = ("disk", "esp", "root", "luks", "vfat", "directories")


def size_bytes(size: t.Any) -> int:
    """Return *size* (``4GiB``, ``4G`` or a number) in bytes; 0 if it is not a size."""
    text = str(size)
    if not _SIZE.fullmatch(text):
        return 0
    return int(human_to_bytes(re.sub("iB$", "B", text)))


def whole_mib(size: int) -> int:
    """Return a size in bytes, rounded up to a whole number of MiB."""
    return -(-size // MIB) * MIB


def root_size(size: int) -> int:
    """Return the size in bytes of the LUKS partition on a disk of *size* bytes."""
    if size % MIB or size <= BESIDE_ROOT:
        raise SealedRootError(
            f"a disk cannot have {size} bytes: give a whole number of MiB, more than {BESIDE_ROOT // MIB}"
        )
    return size - BESIDE_ROOT


def derived_uuids(namespace: str) -> t.Dict[str, str]:
    """Return the UUIDs that are derived from *namespace* (RFC 9562, version 5); none if it is empty."""
    if not namespace:
        return {}
    try:
        return {name: str(uuid.uuid5(uuid.UUID(namespace), name)) for name in NAMES}
    except ValueError:
        raise SealedRootError(f"'{namespace}' is no UUID: take what uuidgen prints") from None


def wanted(size: int) -> t.Tuple[Partition, Partition]:
    """Return the partitions of a disk of *size* bytes."""
    return (
        Partition(partitions.ESP_TYPE, filesystems.ESP_LABEL, ESP_OFFSET, ESP_SIZE),
        Partition(partitions.LUKS_TYPE, "root", ROOT_OFFSET, root_size(size)),
    )


def sfdisk_script(size: int, uuids: t.Mapping[str, str]) -> str:
    """Return the script that makes the partition table (sfdisk(8), "Script-file format")."""
    lines = ["label: gpt", *([f"label-id: {uuids['disk']}"] if uuids else [])]
    for part, name in zip(wanted(size), ("esp", "root")):
        line = f"start={part.offset // SECTOR}, size={part.size // SECTOR}, type={part.type}, name={part.name}"
        lines.append(f"{line}, uuid={uuids[name]}" if uuids else line)
    return "\n".join(lines) + "\n"


def vfat_options(uuids: t.Mapping[str, str], *, reproducible: bool) -> t.List[str]:
    """Return the options with which mkfs.vfat(8) makes the EFI system partition inside the file of the disk.

    One sector per cluster: mkfs.vfat would choose by the size of the whole disk, and 99 MiB have too few larger
    clusters for FAT32. Only ``--invariant`` (dosfstools 4.2) fixes the time. It also sets a volume ID, so ``-i``
    follows it.
    """
    invariant = ["--invariant"] if reproducible else []
    volume_id = ["-i", uuids["vfat"][:8]] if uuids else []
    hidden = str(ESP_OFFSET // SECTOR)
    fat = ["-F", "32", "-S", str(SECTOR), "-s", "1", "-n", filesystems.ESP_LABEL]
    return [*invariant, *volume_id, *fat, "-h", hidden, "--offset", hidden]


def is_made(runner: Runner, path: str, size: int) -> bool:
    """Say whether the disk exists; anything else at *path* is an error."""
    if not os.path.lexists(path):
        return False
    table = partitions.read(runner, path) if os.path.isfile(path) else None
    parts = [(it.type, it.name, it.offset, it.size) for it in table.partitions] if table else []
    ours = [(it.type, it.name, it.offset, it.size) for it in wanted(size)]
    if os.path.islink(path) or os.path.getsize(path) != size or parts != ours:
        raise SealedRootError(
            f"{path} is there and is not the disk that is asked for: tear that build down, or use another directory"
        )
    return True


def make(
    runner: Runner, path: str, size: int, uuids: t.Mapping[str, str], *, reproducible: bool
) -> None:
    """Make the disk with its partition table and an empty EFI system partition."""
    script = sfdisk_script(size, uuids)
    # Under another name until it is whole, so that an interrupted run leaves no disk without a file system for GRUB.
    part = f"{path}.part"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.truncate(size)
    table = [runner.find("sfdisk"), "--quiet", "--no-reread", "--no-tell-kernel", part]
    runner.run(table, stdin=script.encode(), timeout=60)
    options = vfat_options(uuids, reproducible=reproducible)
    blocks = str(ESP_SIZE // 1024)
    runner.run([runner.find("mkfs.vfat"), *options, part, blocks], timeout=60)
    os.rename(part, path)


def part_of(offset: int, size: int, payload: int) -> str:
    """Say in which part of a disk of *size* bytes an offset is.

    *payload* is the offset of the encrypted data in the LUKS partition.
    """
    parts = (
        (size - MIB, "the backup of the partition table"),
        (ROOT_OFFSET + payload, "the encrypted data"),
        (ROOT_OFFSET, "the LUKS header"),
        (ESP_OFFSET, "the EFI system partition"),
        (0, "the partition table"),
    )
    begin, part = next(it for it in parts if it[0] <= offset)
    return f"byte {offset - begin} of {part}"


def located(said: str, size: int, payload: int) -> str:
    """Add the part of the disk to each offset in a message of ``qemu-img compare``."""
    return re.sub(
        r"\boffset ([0-9]{1,19})\b",
        lambda match: f"{match.group(0)} ({part_of(int(match.group(1)), size, payload)})",
        said,
    )


__all__ = (
    "BESIDE_ROOT",
    "ESP_OFFSET",
    "ESP_SIZE",
    "ROOT_OFFSET",
    "derived_uuids",
    "is_made",
    "located",
    "make",
    "part_of",
    "root_size",
    "sfdisk_script",
    "size_bytes",
    "vfat_options",
    "wanted",
    "whole_mib",
)
