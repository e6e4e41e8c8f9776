# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which boots the role boot_test asks for, and with which files."""

from __future__ import annotations

import typing as t

import pytest
import role_variables
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

LAUNCH = {
    "core": "c",
    "hashes": "h",
    "firmware": "/OVMF.fd",
    "secret": "s",
    "measured": {"sev": "56f8"},
}
ATTACKS = ("launch-other-key", "launch-no-secret", "launch-no-hashes", "launch-longer-core")
SEALED = ("tpm", "tpm-other-core", "tpm-other-firmware", "tpm-no-sealed-key")


def cases(ways: list[str]) -> dict[str, dict[str, t.Any]]:
    variables = {
        **role_variables.of("boot_test"),
        "image_unlock": ways,
        "image_keys": {"boot.key": "/boot.key", "recovery.key": "/recovery.key"},
        **({"image_launch": LAUNCH} if "launch_secret" in ways else {}),
    }
    templar = Templar(loader=DataLoader(), variables=variables)
    found = templar.template(role_variables.trusted("{{ __boot_test_cases }}"))
    launch = templar.template(role_variables.trusted("{{ boot_test_launch }}"))
    assert launch == (
        {"firmware": "/OVMF.fd", "core": "c", "hashes": "h", "secret": "s", "digest": "56f8"}
        if "launch_secret" in ways
        else {}
    )
    return {it["name"]: it for it in found}


@pytest.mark.parametrize(
    ("ways", "names"),
    [
        (["prompt"], ["wrong", "boot", "recovery"]),
        (["launch_secret"], ["launch", *ATTACKS]),
        (["prompt", "launch_secret"], ["launch", *ATTACKS, "wrong", "boot", "recovery"]),
        (["prompt", "tpm2"], [*SEALED, "wrong", "boot", "recovery"]),
    ],
)
def test_which_boots_a_build_has(ways: list[str], names: list[str]) -> None:
    """What is expected of each: test_boot_cases.py."""
    found = cases(ways)
    assert list(found) == names
    if "prompt" in ways:
        assert found["boot"]["key_file"] == "/boot.key"
