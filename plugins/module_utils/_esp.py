# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The files of an EFI system partition inside an image, through mtools: it is never mounted."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    Runner,
    SealedRootError,
)

# mtools refuses partitions whose geometry fields are not those of a floppy or hard disk.
ENV = {"MTOOLS_SKIP_CHECK": "1"}


def image(path: str, offset: int) -> str:
    """Name the partition in mtools' notation."""
    return f"{path}@@{offset}"


def names(runner: Runner, path: str, offset: int) -> t.List[str]:
    """Return every file, as ``EFI/BOOT/BOOTX64.EFI``."""
    argv = [runner.find("mdir"), "-/", "-b", "-a", "-i", image(path, offset), "::"]
    result = runner.run(argv, check=False, env=ENV)
    if result.rc != 0 and "File not found" not in result.stderr + result.stdout:
        raise SealedRootError(f"the EFI system partition of {path} is unreadable: {result.stderr}")
    lines = [line.strip() for line in result.stdout.splitlines()]
    return sorted(
        re.sub(r"^::/?", "", line)
        for line in lines
        if line.startswith("::") and not line.endswith("/")
    )


def read(runner: Runner, path: str, offset: int, name: str) -> bytes:
    """Return the bytes of one file."""
    argv = [runner.find("mcopy"), "-i", image(path, offset), f"::/{name}", "-"]
    return runner.run(argv, env=ENV, timeout=60).stdout.encode("utf-8", "surrogateescape")


def write(runner: Runner, path: str, offset: int, name: str, data: bytes) -> None:
    """Write one file, making its directories, and read it back."""
    parts = name.split("/")[:-1]
    disk = image(path, offset)
    for depth in range(1, len(parts) + 1):
        directory = "::/" + "/".join(parts[:depth])
        # -D s: a directory that is there is skipped.
        argv = [runner.find("mmd"), "-D", "s", "-i", disk, directory]
        runner.run(argv, check=False, env=ENV, timeout=60)
    argv = [runner.find("mcopy"), "-D", "o", "-i", disk, "-", f"::/{name}"]
    runner.run(argv, stdin=data, env=ENV, timeout=60)
    if read(runner, path, offset, name) != data:
        raise SealedRootError(f"{name} reads back differently from the EFI system partition")


def remove(runner: Runner, path: str, offset: int, name: str) -> None:
    """Delete one file."""
    argv = [runner.find("mdel"), "-i", image(path, offset), f"::/{name}"]
    runner.run(argv, env=ENV, timeout=60)


__all__ = ("ENV", "image", "names", "read", "remove", "write")
