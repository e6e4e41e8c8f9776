# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this document fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The option that says which file system the root gets."""

from __future__ import annotations


class ModuleDocFragment:
    """What ARGUMENT of plugins/module_utils/_system/filesystems.py takes."""

    DOCUMENTATION = r"""
options:
  filesystem:
    description: The type of the root file system.
    type: str
    choices: [btrfs, ext4, xfs]
    default: ext4
"""
