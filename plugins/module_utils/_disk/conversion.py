# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Convert a closed disk to the formats of hypervisors and clouds, and compare each result with the disk."""

from __future__ import annotations

import concurrent.futures
import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import layout
from ansible_collections.sealedroot.image.plugins.module_utils._disk.output_formats import FORMATS
from ansible_collections.sealedroot.image.plugins.module_utils._luks.findings import (
    PAYLOAD_OFFSETS,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import untrusted_json
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    Runner,
    SealedRootError,
)

SECONDS = 3600
# What qemu-img compare prints if two disks are the same, sizes included.
IDENTICAL = "Images are identical."


def difference(runner: Runner, disk: str, path: str, name: str) -> str:
    """Return how the file at *path* differs from the raw disk; empty if it is the same, sizes included."""
    argv = [runner.find("qemu-img"), "compare", "-f", "raw", "-F", FORMATS[name].driver, disk, path]
    result = runner.run(argv, check=False, timeout=SECONDS)
    said = (result.stdout + result.stderr).strip()
    return "" if said == IDENTICAL else said or f"exit status {result.rc}"


def is_alone(runner: Runner, disk: str, path: str, name: str) -> bool:
    """Say whether the file at *path* has the format and the variant that is made here, and needs no other file."""
    wanted = FORMATS[name]
    argv = [runner.find("qemu-img"), "info", "--output=json", "-f", wanted.driver, path]
    result = runner.run(argv, check=False, timeout=60)
    if result.rc:
        return False
    said = untrusted_json.loads(result.stdout)
    data = said.get("format-specific", {}).get("data", {})
    is_whole = not wanted.is_flat or os.path.getsize(path) >= os.path.getsize(disk)
    needs = said.get("backing-filename") or data.get("data-file")
    return is_whole and not needs and data.get("create-type", "") == wanted.create_type


def is_done(runner: Runner, disk: str, path: str, name: str) -> bool:
    """Say whether the file at *path* is already the disk; raise an error if it is anything but a file of its own."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(info.st_mode):
        raise SealedRootError(f"{path} is not a regular file: remove it")
    if os.path.samestat(info, os.stat(disk)):
        raise SealedRootError(f"{path} is the disk itself: give another directory")
    return is_alone(runner, disk, path, name) and not difference(runner, disk, path, name)


def convert(runner: Runner, disk: str, path: str, name: str) -> None:
    """Convert the disk, and verify that the result is the same disk."""
    wanted = FORMATS[name]
    argv = [runner.find("qemu-img"), "convert", *wanted.options, "-f", "raw", "-O", wanted.driver]
    runner.run([*argv, disk, path], timeout=SECONDS)
    said = difference(runner, disk, path, name)
    if said:
        where = layout.located(said, os.path.getsize(disk), payload_offset(disk))
        raise SealedRootError(
            f"{path} is not the same disk: {where} Something wrote to one of the two, or the storage loses data: see"
            " to that, and run the same command again"
        )


def convert_all(runner: Runner, disk: str, paths: t.Mapping[str, str]) -> None:
    """Convert the disk to all formats at the same time, and raise the first error."""
    with concurrent.futures.ThreadPoolExecutor(len(paths) or 1) as pool:
        jobs = [pool.submit(convert, runner, disk, path, name) for name, path in paths.items()]
        for job in jobs:
            try:
                job.result()
            except CommandError as exc:
                raise SealedRootError(f"the disk could not be converted: {exc}") from exc


def payload_offset(disk: str) -> int:
    """Return the offset of the encrypted data in the LUKS partition, by the version in its header."""
    with open(disk, "rb") as file:
        file.seek(layout.ROOT_OFFSET)
        header = file.read(8)
    version = int.from_bytes(header[6:], "big")
    return PAYLOAD_OFFSETS.get(f"luks{version}", max(PAYLOAD_OFFSETS.values()))


__all__ = ("convert", "convert_all", "difference", "is_done", "payload_offset")
