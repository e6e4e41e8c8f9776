# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The hashes of what QEMU starts by ``-kernel``, which the firmware compares before it starts that: pure.

QEMU writes this table into the guest's memory with ``kernel-hashes=on``, so it is measured. Here the kernel is a core
image of GRUB, without an initramfs and without a command line (docs/facts.md: kernel-hashes).
"""

from __future__ import annotations

import hashlib
import struct
import uuid

KERNEL = uuid.UUID("4de79437-abd2-427f-b835-d5b172d2045b").bytes_le
_TABLE = uuid.UUID("9438d606-4f22-4cc9-b479-a793d411fd21").bytes_le
_INITRD = uuid.UUID("44baf731-3a2f-4bd7-9af1-41e29169781d").bytes_le
_CMDLINE = uuid.UUID("97d02dd8-bd20-4c94-aa78-e7714d36ab2a").bytes_le
_HEAD = struct.Struct("<16sH")
_ENTRY = struct.Struct("<16sH32s")
_LENGTH = _HEAD.size + 3 * _ENTRY.size
# SEV encrypts 16 bytes at a time.
SIZE = (_LENGTH + 15) // 16 * 16


def table(kernel: bytes) -> bytes:
    """Return the table for a kernel."""
    # The command line is hashed with the NUL at its end.
    parts = ((_CMDLINE, b"\0"), (_INITRD, b""), (KERNEL, kernel))
    rows = (_ENTRY.pack(guid, _ENTRY.size, hashlib.sha256(it).digest()) for guid, it in parts)
    return (_HEAD.pack(_TABLE, _LENGTH) + b"".join(rows)).ljust(SIZE, b"\0")


__all__ = ("KERNEL", "SIZE", "table")
