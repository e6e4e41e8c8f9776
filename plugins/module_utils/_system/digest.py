# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Digests of files."""

from __future__ import annotations

import hashlib
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


def sha256(path: str) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return digest_of(path)


def digest_of(path: str, algorithm: str = "sha256") -> str:
    """Return a digest of a file in hexadecimal."""
    digest = hashlib.new(algorithm)
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        count = file.readinto(buffer)
        while count:
            digest.update(view[:count])
            count = file.readinto(buffer)
    return digest.hexdigest()


def check_digest(path: str, found: str, wanted: t.Optional[str]) -> None:
    """Raise an error if the digest *found* differs from the expected one, *wanted*."""
    if wanted is None:
        return
    expected = wanted.lower()
    if expected.startswith("sha256:"):
        expected = expected[len("sha256:") :]
    if not re.fullmatch(r"[0-9a-f]{64}", expected):
        raise SealedRootError(
            f"digest '{wanted}' is not a SHA-256: write 64 hexadecimal digits, with or without sha256:"
        )
    if expected != found:
        raise SealedRootError(
            f"{path} has the SHA-256 {found}, not {expected}: get the file again, or correct the digest"
        )


__all__ = ("check_digest", "digest_of", "sha256")
