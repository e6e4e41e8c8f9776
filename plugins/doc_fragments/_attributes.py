# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this document fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Attributes that every module of the collection documents."""

from __future__ import annotations


class ModuleDocFragment:
    """What a module must say of itself; a module overrides the support levels that differ."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode) and return what it would change without changing anything.
  diff_mode:
    support: full
    description: Returns what was changed, or would be in C(check_mode), when in diff mode; never a key.
  platform:
    support: full
    description: The operating system that the module runs on.
    platforms: linux
"""

    # For modules that only read: the same table, with nothing to show as a difference.
    INFO = r"""
options: {}
attributes:
  check_mode:
    support: full
    description: Can run in C(check_mode); the module only reads.
  diff_mode:
    support: N/A
    description: The module changes nothing, so there is no difference to show.
  platform:
    support: full
    description: The operating system that the module runs on.
    platforms: linux
"""
