# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The formats that an image is published in. Pure.

By itself: a module that only names them carries nothing of what converts or examines them.
"""

from __future__ import annotations

import dataclasses
import typing as t


@dataclasses.dataclass(frozen=True)
class Format:
    """One format: QEMU's name of it and the options that it is made with.

    *is_flat* says whether its file is as long as the disk, and mostly holes.
    """

    driver: str
    options: t.Tuple[str, ...]
    is_flat: bool = False


# By the end of the file's name: a file is never asked what it is. Everything is written sparse, and with the size of
# the disk, which is a whole number of MiB (docs/outputs.md). Nothing is compressed: ciphertext does not shrink, and
# holes stay holes without it. Only streamOptimized is compressed by its nature; it is read as a stream, so it is
# written in order (without -W).
# force_size: a vhd's size would else be rounded to cylinders, heads and sectors.
FORMATS = {
    "qcow2": Format("qcow2", ("-W",)),
    "raw": Format("raw", ("-W",), is_flat=True),
    "vhd": Format("vpc", ("-W", "-o", "subformat=fixed,force_size=on"), is_flat=True),
    "vhdx": Format("vhdx", ("-W", "-o", "subformat=dynamic")),
    "vmdk": Format("vmdk", ("-o", "subformat=streamOptimized")),
}

__all__ = ("FORMATS", "Format")
