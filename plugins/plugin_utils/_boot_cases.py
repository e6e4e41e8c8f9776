# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Which boots an image has to pass: each way to unlock it, and what a host can change. Pure."""

from __future__ import annotations

import typing as t

Case = t.Dict[str, str]


def cases(keys: t.Mapping[str, str], ways: t.Container[str], launched: bool) -> t.List[Case]:
    """Return the cases of `image_boot_test` for an image that *ways* unlock; *keys* are files by their names.

    *launched* says whether a launch secret is one of the ways of the disk at hand.
    """
    asks = "prompt" in ways
    return [
        *(_launches(asks) if launched else ()),
        *(_sealed(keys["boot"]) if "tpm2" in ways and "boot" in keys else ()),
        *(_prompts(keys) if asks else ()),
    ]


def _prompts(keys: t.Mapping[str, str]) -> t.Iterator[Case]:
    yield {"name": "wrong", "expect": "refused"}
    # After GRUB nothing depends on the key that was typed: the initramfs opens the root by its own. One login shows it.
    expected = "login"
    for name, path in keys.items():
        yield {"name": name, "key_file": path, "expect": expected}
        expected = "started"


def _launches(asks: bool) -> t.List[Case]:
    # Where no secret opens the disk, GRUB asks for the key if that is a way, too. Without hashes, the firmware starts
    # nothing.
    without = "asked" if asks else "halted"
    return [
        {"name": "launch", "launch": "published", "expect": "login"},
        {"name": "launch-other-key", "launch": "other_key", "expect": without},
        {"name": "launch-no-secret", "launch": "no_secret", "expect": without},
        {"name": "launch-no-hashes", "launch": "no_hashes", "expect": "stopped"},
        {"name": "launch-longer-core", "launch": "longer_core", "expect": "stopped"},
    ]


def _sealed(key_file: str) -> t.Iterator[Case]:
    # As after enroll_tpm. Where the TPM does not give the key, GRUB asks for it.
    for name, tpm, expected in (
        ("tpm", "sealed", "login"),
        ("tpm-other-core", "other_core", "asked"),
        ("tpm-other-firmware", "other_firmware", "asked"),
        ("tpm-no-sealed-key", "no_blob", "asked"),
    ):
        yield {"name": name, "tpm": tpm, "expect": expected, "key_file": key_file}


__all__ = ("cases",)
