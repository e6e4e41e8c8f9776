# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What sfdisk(8) does not say of a GPT: the size of its sectors, and what is lost of it. Pure.

Of a GPT whose end is cut off, sfdisk shows only the one partition of the MBR in front of it.
"""

from __future__ import annotations

import struct

HEAD_BYTES = TAIL_BYTES = 8192
# The header is in the second sector, and a copy of it in the last.
_MAGIC = b"EFI PART"
_SECTORS = (512, 4096)
# The sector of the copy; UEFI specification, 5.3.2.
_COPY = 32


def sector(head: bytes) -> int:
    """Return the size of the sectors in which a GPT counts; 512 without a GPT."""
    return next((it for it in _SECTORS if head[it : it + len(_MAGIC)] == _MAGIC), _SECTORS[0])


def damage(head: bytes, tail: bytes, size: int) -> str:
    """Say what is lost of a disk of *size* bytes; empty if its GPT does not show a loss."""
    at = sector(head)
    if head[at : at + len(_MAGIC)] == _MAGIC and len(head) >= at + _COPY + 8:
        whole = (struct.unpack_from("<Q", head, at + _COPY)[0] + 1) * at
        if whole > size:
            return (
                f"it is cut off: {whole} bytes belong to it by its partition table, and {size} are there. Get the file"
                " again"
            )
    elif head[510:512] != b"\x55\xaa" and any(
        tail[-it:][: len(_MAGIC)] == _MAGIC for it in _SECTORS
    ):
        return (
            "its beginning is lost, and with it the partition table, of which a copy is at the end. Get the file again,"
            " or restore the table in a copy of the file (gdisk, recovery menu)"
        )
    return ""


__all__ = ("HEAD_BYTES", "TAIL_BYTES", "damage", "sector")
