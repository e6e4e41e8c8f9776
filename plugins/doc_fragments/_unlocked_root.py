# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this document fragment is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Options of the modules that let an initramfs unlock the root."""

from __future__ import annotations


class ModuleDocFragment:
    """What plugins/module_utils/_initramfs/unlocked_root.py takes."""

    DOCUMENTATION = r"""
options:
  luks_uuid:
    description: The UUID of the LUKS header.
    type: str
    required: true
  filesystem:
    description: The type of the root file system.
    type: str
    default: ext4
  esp_label:
    description: The label of the EFI system partition.
    type: str
    default: ESP
  key_file:
    description: The boot key.
    type: path
    default: /run/sealedroot/boot.key
  header_file:
    description:
      - The LUKS header, as O(sealedroot.image.keyfile_rotate#module:header) of
        M(sealedroot.image.keyfile_rotate) leaves it.
      - It is put into C(/etc/cryptsetup-headers.d), and every initramfs opens the root with it, never with the
        header on the disk.
    type: path
    default: /run/sealedroot/luks.header
  debug_console:
    description:
      - Whether a boot that fails may end in a shell. With V(false), it ends in a restart.
    type: bool
    default: false
"""
