# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Files of an EFI system partition inside an image, through mtools: it is never mounted."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

# mtools refuses partitions whose geometry fields are not those of a floppy or hard disk. FAT stores local time. Without
# a directory as home, it reads no ~/.mtoolsrc (docs/facts.md: mtoolsrc).
ENV = {"MTOOLS_SKIP_CHECK": "1", "TZ": "UTC", "HOME": "/dev/null"}

# mtools treats '*', '?' and '[' in a name as a pattern; FAT has no other special characters.
_SAFE = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+ -]{0,199}(?<![. ])")


def check_name(name: str) -> str:
    """Refuse a file name that FAT or mtools would take for another one."""
    if not all(_SAFE.fullmatch(part) for part in name.split("/")):
        raise SealedRootError(
            f"'{name}' cannot be the name of a file on an EFI system partition: use letters, digits,"
            " '.', '_', '+' and '-'"
        )
    return name


def image(path: str, offset: int) -> str:
    """Return the partition's name for mtools."""
    return f"{path}@@{offset}"


def entries(runner: Runner, path: str, offset: int) -> t.List[str]:
    """Return every file and directory; the name of a directory ends with a slash."""
    argv = [runner.find("mdir"), "-/", "-b", "-a", "-i", image(path, offset), "::"]
    result = runner.run(argv, check=False, env=ENV, timeout=60)
    # mdir fails on an empty file system.
    if result.rc != 0 and 'File "::" not found' not in result.stderr:
        raise SealedRootError(
            f"the EFI system partition of {path} is unreadable: {result.stderr.strip()}"
        )
    lines = [line.strip() for line in result.stdout.splitlines()]
    return sorted(line[len("::/") :] for line in lines if line.startswith("::/") and line != "::/")


def names(runner: Runner, path: str, offset: int) -> t.List[str]:
    """Return every file, such as ``EFI/BOOT/BOOTX64.EFI``."""
    return [name for name in entries(runner, path, offset) if not name.endswith("/")]


def read(runner: Runner, path: str, offset: int, name: str) -> bytes:
    """Return the content of a file."""
    argv = [runner.find("mcopy"), "-i", image(path, offset), f"::/{name}", "-"]
    content = runner.run(argv, env=ENV, timeout=60).stdout
    return content.encode("utf-8", "surrogateescape")


def free_bytes(runner: Runner, path: str, offset: int) -> int:
    """Return the free space."""
    argv = [runner.find("mdir"), "-i", image(path, offset), "::"]
    match = re.search(r"([\d ]+) bytes free", runner.run(argv, env=ENV, timeout=60).stdout)
    return int(match.group(1).replace(" ", "")) if match else 0


def write(
    runner: Runner,
    path: str,
    offset: int,
    name: str,
    data: bytes,
    *,
    known: t.Set[str],
    epoch: int = 0,
) -> None:
    """Write a file and read it back; *known* holds the existing entries, and new directories are added to it.

    *epoch* is its time in seconds since 1970, 0 for the present one.
    """
    disk = image(path, offset)
    env = {**ENV, **({"SOURCE_DATE_EPOCH": str(epoch)} if epoch else {})}
    parts = check_name(name).split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        directory = "/".join(parts[:depth]) + "/"
        if directory.upper() not in {entry.upper() for entry in known}:
            runner.run(
                [runner.find("mmd"), "-i", disk, f"::/{directory[:-1]}"], env=env, timeout=60
            )
            known.add(directory)
    argv = [runner.find("mcopy"), "-D", "o", "-i", disk, "-", f"::/{name}"]
    message = runner.run(argv, stdin=data, env=env, timeout=60).stderr.strip()
    # mcopy exits with 0 even when the disk is full.
    if read(runner, path, offset, name) != data:
        raise SealedRootError(
            f"{name} reads back differently from the EFI system partition of {path}:"
            f" {message or 'no reason given'}"
        )


def remove(runner: Runner, path: str, offset: int, name: str) -> None:
    """Delete a file, or an empty directory, whose name ends with a slash."""
    tool, target = ("mrd", name[:-1]) if name.endswith("/") else ("mdel", name)
    argv = [runner.find(tool), "-i", image(path, offset), f"::/{check_name(target)}"]
    runner.run(argv, env=ENV, timeout=60)


__all__ = (
    "ENV",
    "check_name",
    "entries",
    "free_bytes",
    "image",
    "names",
    "read",
    "remove",
    "write",
)
