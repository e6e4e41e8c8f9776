# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this document fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The options that say where a LUKS container is."""

from __future__ import annotations


class ModuleDocFragment:
    """Options shared by the LUKS modules."""

    DOCUMENTATION = r"""
options:
  path:
    description:
      - The image file or block device that holds the LUKS container.
    type: path
    required: true
  offset:
    description:
      - Where the container begins in O(path), in bytes; a whole number of 512-byte sectors.
    type: int
    default: 0
  size:
    description:
      - The size of the container in bytes; V(0) means up to the end of O(path).
    type: int
    default: 0
"""
