# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this document fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The options that say what a root is looked at for."""

from __future__ import annotations


class ModuleDocFragment:
    """Options shared by the modules that look at a root."""

    DOCUMENTATION = r"""
options:
  families:
    description: The families of distributions that the root may be of; the roles C(family_*) say theirs.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the family.
        type: str
        required: true
      ids:
        description: The words of ID and ID_LIKE of os-release(5) that belong to it.
        type: list
        elements: str
        required: true
      boot_entries:
        description: Whether GRUB reads boot loader entries. It is for a later stage, as O(families[].package_list) is.
        type: bool
        default: false
      package_list:
        description: The C(command) that lists the packages, and the C(type) of its lines.
        type: dict
        default: {}
      packages:
        description:
          - The package that brings each thing that an encrypted boot needs.
          - Names of the architecture can be in it in braces, such as C({debian}) for C(amd64).
        type: dict
        required: true
      packages_of:
        description: For some of O(families[].ids), names that differ from those in O(families[].packages).
        type: dict
        default: {}
      secure_boot:
        description:
          - Where the signed C(shim), C(grub) and C(mok_manager) are, a list of paths for each, the preferred first.
          - Names of the architecture can be in them in braces, such as C({efi}) for C(x64).
        type: dict
        default: {}
  secure_boot:
    description:
      - Look for the signed boot files as well, and into the signed GRUB, which cannot load modules under Secure Boot.
    type: dict
    suboptions:
      luks_type:
        description: The LUKS version that it has to read.
        type: str
        choices: [luks1, luks2]
        default: luks1
      hash:
        description: The hash of the LUKS header that it has to read.
        type: str
        default: sha256
      filesystem:
        description: The type of the root file system that it has to read.
        type: str
        choices: [btrfs, ext4, xfs]
        default: ext4
"""
