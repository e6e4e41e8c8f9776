# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The formats in which an image is published. Pure.

A separate file, so that a module that only names them need not carry the code that converts or examines images.
"""

from __future__ import annotations

import dataclasses
import typing as t


@dataclasses.dataclass(frozen=True)
class Format:
    """One format: its name in QEMU and the options for making it.

    *is_flat* says whether the file is as long as the disk, and sparse. *create_type* is QEMU's name of the variant, if
    it has one.
    """

    driver: str
    options: t.Tuple[str, ...]
    is_flat: bool = False
    create_type: str = ""


# By the extension of the file name: the format is never detected from the content. Everything is written sparse, and
# with the size of the disk, which is a whole number of MiB (docs/outputs.md). Nothing is compressed: ciphertext does
# not shrink, and holes take no space anyway. Only streamOptimized is always compressed; it is read as a stream, so it
# is written in order (without -W).
# force_size: otherwise the size of a vhd would be rounded to cylinders, heads and sectors.
FORMATS = {
    "qcow2": Format("qcow2", ("-W",)),
    "raw": Format("raw", ("-W",), is_flat=True),
    "vhd": Format("vpc", ("-W", "-o", "subformat=fixed,force_size=on"), is_flat=True),
    "vhdx": Format("vhdx", ("-W", "-o", "subformat=dynamic")),
    "vmdk": Format("vmdk", ("-o", "subformat=streamOptimized"), create_type="streamOptimized"),
}

__all__ = ("FORMATS", "Format")
