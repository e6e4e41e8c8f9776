# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Check whether an image can be unlocked as its inputs say. Pure; each check returns a sentence or ''."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._firmware import ovmf, secret_table
from ansible_collections.sealedroot.image.plugins.module_utils._grub import unlock_ways
from ansible_collections.sealedroot.image.plugins.plugin_utils import _specified

Inputs = t.Mapping[str, t.Any]
_OTHERWISE = {
    "secure_boot": "set image_secure_boot to false",
    "debug_console": "set image_debug_console to false",
    "luks_type": "take type luks1 in image_luks, the default",
}


def _unlock(given: Inputs, _around: object) -> str:
    ways = given["image_unlock"]
    said = _specified.once_each("image_unlock", ways, "way", "launch_secret", "prompt")
    if said or "tpm2" not in ways:
        return said
    if "launch_secret" in ways:
        return (
            "image_unlock has launch_secret and tpm2, but the first starts no GRUB from the disk, and the second no"
            " other: take one of them."
        )
    if "prompt" in ways:
        return ""
    return (
        "image_unlock has tpm2 without prompt, but the key can only be sealed on the running machine, which somebody"
        " must have started, and GRUB asks by itself where its TPM does not give the key: add prompt."
    )


def _unlock_where(given: Inputs, _around: object) -> str:
    arch, ways = given["image_architecture"], unlock_ways.chosen(given["image_unlock"])
    for way in ways:
        if arch not in way.architectures:
            return (
                f"image_unlock has {way.name}, which only machines of {' and '.join(way.architectures)} have, and the"
                f" image is to be {arch}: take another way, or set image_architecture."
            )
        for _way, option, reason in unlock_ways.contradictions(
            [way.name],
            secure_boot=_specified.is_set(given["image_secure_boot"]),
            debug_console=_specified.is_set(given["image_debug_console"]),
            luks_type=given["__image_luks"]["type"],
        ):
            return f"image_unlock has {way.name}, but {reason}: {_OTHERWISE[option]}, or take another way."
        if given["__image_selinux"] == "relabel_at_boot" and way == unlock_ways.LAUNCH_SECRET:
            return (
                f"image_unlock has {way.name}, and with image_selinux relabel_at_boot the first boot is followed by a"
                " second one, for which nobody gives the key: set image_selinux to auto or label."
            )
    return ""


def _firmware(given: Inputs, _around: object) -> str:
    path = given["image_firmware"]
    users = [it.name for it in unlock_ways.chosen(given["image_unlock"]) if it.needs_firmware]
    if not users and path:
        return (
            "image_firmware is given, but no way in image_unlock uses it: leave it out, or add launch_secret to"
            " image_unlock."
        )
    if not users or os.path.isabs(path):
        return ""
    said = f"image_firmware {path} is no absolute path" if path else "image_firmware is missing"
    return (
        f"{said}, and image_unlock has {users[0]}: give the path, on the builder, of the firmware that the"
        " machine's is made of, such as OVMF.amdsev.fd of Debian's package ovmf-amdsev."
    )


def _measurements(given: Inputs, _around: object) -> str:
    asked = given["__image_measurements"]
    if given["image_measurements"] and "launch_secret" not in given["image_unlock"]:
        return (
            "image_measurements is given, but only launch_secret in image_unlock is measured so: leave it out, or add"
            " launch_secret to image_unlock."
        )
    odd = [it for it in asked["vcpus"] or () if not 1 <= it <= ovmf.MOST_VCPUS]
    if odd:
        return f"image_measurements has vcpus {odd[0]}: use numbers from 1 to {ovmf.MOST_VCPUS}."
    if asked["types"] and asked["vcpus"]:
        return ""
    return "image_measurements names no guest: give at least one of types and one of vcpus, or leave it out."


def _launch_key(given: Inputs, _around: object) -> str:
    key = given["image_boot_key"]
    if not key or "launch_secret" not in given["image_unlock"]:
        return ""
    if secret_table.READABLE.fullmatch(key.encode("utf-8", "replace")):
        return ""
    return (
        "image_boot_key has another form than GRUB's script for launch_secret reads: take what 'openssl rand -base64"
        " 33' prints, which is 44 characters, or leave it out to have one generated."
    )


CHECKS: t.Tuple[t.Callable[[Inputs, object], str], ...] = (
    *(_unlock, _unlock_where, _firmware, _measurements, _launch_key),
)

__all__ = ("CHECKS",)
