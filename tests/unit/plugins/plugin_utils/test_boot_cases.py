# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which boots an image has to pass: each way to unlock it, and what a host can change."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import enrolled
from ansible_collections.sealedroot.image.plugins.plugin_utils import _boot_cases

KEYS = {"boot": "/boot.key", "recovery": "/recovery.key"}
PROMPTS = {"wrong": "refused", "boot": "login", "recovery": "started"}
SEALED = {
    "tpm": "login",
    "tpm-other-core": "asked",
    "tpm-other-firmware": "asked",
    "tpm-no-sealed-key": "asked",
}


@pytest.mark.parametrize(
    ("keys", "ways", "launched", "expected"),
    [
        (KEYS, ["prompt"], False, PROMPTS),
        # An image of an earlier build, with one key at hand.
        ({"mine": "/k"}, ["prompt"], False, {"wrong": "refused", "mine": "login"}),
        (
            KEYS,
            ["launch_secret"],
            True,
            {
                "launch": "login",
                "launch-other-key": "halted",
                "launch-no-secret": "halted",
                "launch-no-hashes": "stopped",
                "launch-longer-core": "stopped",
            },
        ),
        # GRUB asks where the secret does not open the disk.
        (
            KEYS,
            ["prompt", "launch_secret"],
            True,
            {
                "launch": "login",
                "launch-other-key": "asked",
                "launch-no-secret": "asked",
                "launch-no-hashes": "stopped",
                "launch-longer-core": "stopped",
                **PROMPTS,
            },
        ),
        (KEYS, ["prompt", "tpm2"], False, {**SEALED, **PROMPTS}),
        # The boot key, which is sealed, is not at hand.
        ({"mine": "/k"}, ["prompt", "tpm2"], False, {"wrong": "refused", "mine": "login"}),
        # The files of the launch are not at hand.
        (KEYS, ["prompt", "launch_secret"], False, PROMPTS),
    ],
)
def test_which_boots(
    keys: dict[str, str], ways: list[str], launched: bool, expected: dict[str, str]
) -> None:
    found = _boot_cases.cases(keys, ways, launched)
    assert {it["name"]: it["expect"] for it in found} == expected
    assert {it["name"]: it["key_file"] for it in found if "key_file" in it and "tpm" not in it} == (
        keys if "prompt" in ways else {}
    )


def test_what_is_changed_of_a_launch() -> None:
    found = _boot_cases.cases({}, ["launch_secret"], True)
    assert [it["launch"] for it in found] == [
        *("published", "other_key", "no_secret", "no_hashes", "longer_core")
    ]


def test_what_is_changed_of_an_enrolled_machine() -> None:
    found = [it for it in _boot_cases.cases(KEYS, ["prompt", "tpm2"], False) if "tpm" in it]
    assert [it["tpm"] for it in found] == [*enrolled.STARTS]
    assert {it["key_file"] for it in found} == {"/boot.key"}
