# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Files that hold one key each: how a key is generated, named and written."""

from __future__ import annotations

import base64
import os
import re

from ansible_collections.sealedroot.image.plugins.module_utils._system import synced
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# 33 bytes give 44 characters and no padding (docs/facts.md: boot-key-entropy).
_BYTES = 33
_GENERATED = re.compile(rb"[A-Za-z0-9+/]{44}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def generate() -> bytes:
    """Return a new key that can be typed at GRUB and used as a key file without change."""
    return base64.b64encode(os.urandom(_BYTES))


def is_generated(key: bytes) -> bool:
    """Say whether a key looks like one that :func:`generate` made."""
    return _GENERATED.fullmatch(key) is not None


def check_name(name: str) -> None:
    """Refuse a name that is not a plain file name."""
    if not _NAME.fullmatch(name):
        raise SealedRootError(
            f"'{name}' cannot name a key file: use letters, digits, '.', '_', '-'"
        )


def write(path: str, key: bytes, *, is_output: bool = False) -> None:
    """Write a key to a new file that only its owner can read: for an output, the caller of sudo if there is one.

    The file appears with its whole content, which is on the disk by then. A process that is killed before that leaves a
    file that :func:`is_part` recognises.
    """
    folder, name = os.path.split(path)
    part = os.path.join(folder, part_name(name))
    synced.write_new(part, key, 0o600, is_output=is_output)
    try:
        # Unlike a rename, a link never replaces a key that another process has made meanwhile.
        os.link(part, path)
    finally:
        os.unlink(part)
    synced.sync(folder)


def part_name(name: str) -> str:
    """Return the name under which this process writes the file *name*."""
    return f".{name}.{os.getpid()}"


def is_part(leaf: str, name: str) -> bool:
    """Say whether a file is left over from an interrupted :func:`write` of the file *name*."""
    return re.fullmatch(rf"\.{re.escape(name)}\.[0-9]+", leaf) is not None


__all__ = ("check_name", "generate", "is_generated", "is_part", "part_name", "write")
