# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this document fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Options of the modules that look at a published image."""

from __future__ import annotations


class ModuleDocFragment:
    """What plugins/module_utils/_build/published.py takes."""

    DOCUMENTATION = r"""
options:
  secret_inputs:
    description:
      - The inputs that the image is to be made from and that are secrets, to be compared with those that it was made
        from. Without it they are not compared.
    type: dict
    suboptions:
      boot_key:
        description: The boot key; empty when one is generated.
        type: str
        default: ""
      recovery_passphrase:
        description: The recovery passphrase; empty when a key is generated.
        type: str
        default: ""
      root_password_hash:
        description: The hash of root's password; empty when the root keeps its own.
        type: str
        default: ""
      customize:
        description: The digests of the roles and tasks that customise the image.
        type: list
        elements: str
        default: []
"""
