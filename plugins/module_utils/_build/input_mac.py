# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Values of an image that mean something only to those who have its boot key. Pure.

A manifest is public, so with a digest of a secret input anyone could test guesses. A MAC with the boot
key can be tested only with that key, and whoever has it can read the image anyway.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import typing as t
import uuid

# A guess of the boot key costs 1000 iterations with the LUKS header, which is public too; it must not be cheaper here.
ITERATIONS = 10_000


def macs(
    boot_key: bytes, image: str, *, root_password_hash: str, customize: t.Sequence[str]
) -> t.Dict[str, str]:
    """Return the MAC of each secret input of *image*; the one of ``boot_key`` identifies the key of the others.

    *customize* are digests of the owner's roles and tasks, which can contain secrets.
    """
    key = hashlib.pbkdf2_hmac("sha256", boot_key, image.encode(), ITERATIONS)
    inputs = {"boot_key": "", "root_password": root_password_hash, "customize": list(customize)}
    return {
        name: hmac.new(key, json.dumps([name, value]).encode(), "sha256").hexdigest()
        for name, value in inputs.items()
    }


def root_uuid(boot_key: bytes, image_uuid: str) -> str:
    """Return the UUID of the root file system, derived from the key and the image's UUID.

    It must not be derivable from public data: Btrfs would take a host's disk with this UUID for one of its own. It is
    not published, so that no guess of the key can be tested with it.
    """
    salt = b"root file system " + uuid.UUID(image_uuid).bytes
    data = hashlib.pbkdf2_hmac("sha256", boot_key, salt, ITERATIONS, dklen=16)
    return str(uuid.UUID(bytes=data, version=4))


def different(found: t.Mapping[str, str], stored: t.Mapping[str, t.Any]) -> t.List[str]:
    """Name the inputs whose MAC differs from the stored one."""
    return [
        name for name, mac in found.items() if not hmac.compare_digest(mac, str(stored.get(name)))
    ]


__all__ = ("ITERATIONS", "different", "macs", "root_uuid")
