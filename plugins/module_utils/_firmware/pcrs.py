# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!
"""What a TPM holds after the firmware has started one EFI program from a disk: pure.

The values are those of the SHA-256 bank (docs/facts.md: tpm-registers).
"""

from __future__ import annotations

import hashlib
import struct
import typing as t
import uuid

_GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
_DATABASES = uuid.UUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
_SEPARATOR = bytes(4)
_STARTS = b"Calling EFI Application from Boot Option"
# What the firmware measures of Secure Boot, in this order, when it is off and no keys are enrolled.
_SECURE_BOOT = (
    ("SecureBoot", _GLOBAL, b"\0"),
    *((name, _GLOBAL, b"") for name in ("PK", "KEK")),
    *((name, _DATABASES, b"") for name in ("db", "dbx")),
)


def boot_loader(authenticode: bytes) -> str:
    """Return PCR 4 for a program with this Authenticode hash that is the first boot option, in hexadecimal."""
    return _extended((_hash(_STARTS), _hash(_SEPARATOR), authenticode))


def without_secure_boot() -> str:
    """Return PCR 7 with Secure Boot off and no keys, in hexadecimal."""
    return _extended((*(_hash(_variable(*it)) for it in _SECURE_BOOT), _hash(_SEPARATOR)))


def _variable(name: str, vendor: uuid.UUID, data: bytes) -> bytes:
    """Return UEFI_VARIABLE_DATA."""
    return (
        vendor.bytes_le + struct.pack("<QQ", len(name), len(data)) + name.encode("utf-16-le") + data
    )


def _extended(digests: t.Iterable[bytes]) -> str:
    value = bytes(hashlib.sha256().digest_size)
    for digest in digests:
        value = _hash(value + digest)
    return value.hex()


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


__all__ = ("boot_loader", "without_secure_boot")
