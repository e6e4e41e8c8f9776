# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the manifest has of the inputs. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import layout
from ansible_collections.sealedroot.image.plugins.module_utils._grub import unlock_ways
from ansible_collections.sealedroot.image.plugins.plugin_utils import _specified


def recorded(given: t.Mapping[str, t.Any]) -> t.Dict[str, t.Any]:
    """Return what an image is made from, without a secret: for those only whether they were given.

    What only some images have is not in the others' manifests. The digest of the root is not known yet.
    """
    is_set = _specified.is_set
    found = {
        "size": layout.size_bytes(given["image_size"]),
        "source": {"type": given["image_source"]["type"]},
        "architecture": given["image_architecture"],
        "hostname": given["image_hostname"],
        "filesystem": given["image_filesystem"],
        "filesystem_features": given["image_filesystem_features"],
        "luks": given["image_luks"],
        "formats": given["image_formats"],
        "kernel_cmdline": given["image_kernel_cmdline"],
        "packages": given["__image_packages"],
        "customize": len(given["image_customize"]),
        "selinux": given["__image_selinux"],
        # YAML's true is True, and that of the command line a word.
        "grow": str(given["image_grow"]).lower(),
        "root_password": "given" if given["image_root_password_hash"] else "left",
        "authorized_keys": given["image_authorized_keys"],
        "recovery": "given" if given["image_recovery_passphrase"] else "generated",
        "secure_boot": is_set(given["image_secure_boot"]),
        "host_agents": sorted(given["image_host_agents"]),
        "debug_console": is_set(given["image_debug_console"]),
        "boot_tested": is_set(given["image_boot_test"]),
    }
    if int(given["image_source_date_epoch"]):
        found["source_date_epoch"] = int(given["image_source_date_epoch"])
    if list(given["image_unlock"]) != [unlock_ways.PROMPT.name]:
        found["unlock"] = sorted(given["image_unlock"])
    if "launch_secret" in given["image_unlock"]:
        found["measurements"] = given["__image_measurements"]
    if given["image_uuid"]:
        found["uuid"] = given["image_uuid"]
    if given["image_boot_key"]:
        found["boot_key"] = "given"
    return found


__all__ = ("recorded",)
