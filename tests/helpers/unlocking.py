# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""initramfs_unlock on a tree, with the options that it has by default."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.modules import initramfs_unlock

if t.TYPE_CHECKING:
    import pathlib

UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"


def ensure(root: pathlib.Path, *, check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
    """Let the initramfs of a tree unlock its root; *options* are those of the module."""
    params = {
        "generator": None,
        "luks_uuid": UUID,
        "filesystem": "ext4",
        "key_file": "/run/sealedroot/boot.key",
        "header_file": "/run/sealedroot/luks.header",
        "debug_console": False,
        **options,
    }
    return initramfs_unlock.ensure(params, root=str(root), check_mode=check_mode)
