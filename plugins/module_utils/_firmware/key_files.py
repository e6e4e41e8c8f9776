# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The files with keys that an owner gives for a launch secret."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    secret_table,
    session,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks import container
from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


def image_key(path: str) -> bytes:
    """Read the key of the image."""
    container.check_key_file(path)
    key = regular_file.demand(path, most=regular_file.SMALL, follow=False)
    if not secret_table.READABLE.fullmatch(key):
        raise SealedRootError(
            f"{path} has no key that GRUB's script reads, {secret_table.KEY_BYTES} characters of base64 without a"
            " newline: give the boot.key of the image"
        )
    return key


def session_keys(tik: str, tek: str) -> t.Tuple[bytes, bytes]:
    """Read the keys of the session: that for integrity, and that for encryption."""
    keys = _session_key(tik, "TIK"), _session_key(tek, "TEK")
    if keys[0] == keys[1]:
        raise SealedRootError(
            f"{tik} and {tek} hold the same key, so the guest would find no secret: give both files of the session"
        )
    return keys


def _session_key(path: str, what: str) -> bytes:
    container.check_key_file(path, what)
    key = regular_file.demand(path, most=regular_file.SMALL, follow=False)
    if len(key) != session.KEY_BYTES:
        raise SealedRootError(
            f"the {what} {path} has {len(key)} bytes: give one with {session.KEY_BYTES}"
        )
    return key


__all__ = ("image_key", "session_keys")
