# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The kernel that a guest is started with, which is a core image of GRUB."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# Firmware takes what the guest has memory for. This leaves room in a guest of 512 MiB (docs/facts.md: kernel-size).
LARGEST = 64 << 20


def read(path: str, *, how: t.Callable[..., bytes] = regular_file.demand) -> bytes:
    """Read a kernel by *how*, which takes *most*; refuse one that is too large for a guest."""
    try:
        return how(path, most=LARGEST)
    except regular_file.TooLargeError:
        raise SealedRootError(
            f"{path} is larger than {regular_file.size(LARGEST)}, and a guest's firmware has three copies of it in"
            " memory: a core image of GRUB is smaller, so install GRUB in the root again, or give the right file"
        ) from None


__all__ = ("LARGEST", "read")
