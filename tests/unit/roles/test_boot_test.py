# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which boots an image has to pass: each way to unlock it, and what a host can change."""

from __future__ import annotations

import typing as t

import pytest
import role_variables
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.sealedroot.image.plugins.module_utils._disk import enrolled

LAUNCH = {
    "core": "c",
    "hashes": "h",
    "secret": "s",
    "measured": {"sev": "56f8"},
}
PROMPTS = {"wrong": "refused", "boot": "login", "recovery": "started"}
ATTACKS = ("launch-other-key", "launch-no-secret", "launch-no-hashes", "launch-longer-core")


def cases(ways: list[str]) -> dict[str, dict[str, t.Any]]:
    variables = {
        **role_variables.of("boot_test"),
        "image_unlock": ways,
        "image_firmware": "/OVMF.fd",
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


def test_an_image_that_asks() -> None:
    found = cases(["prompt"])
    assert {name: it["expect"] for name, it in found.items()} == PROMPTS
    assert found["boot"]["key_file"] == "/boot.key"


@pytest.mark.parametrize(
    ("ways", "without", "more"),
    [(["launch_secret"], "halted", {}), (["prompt", "launch_secret"], "asked", PROMPTS)],
)
def test_an_image_with_a_launch_secret(ways: list[str], without: str, more: dict[str, str]) -> None:
    """Nothing asks, unless that is a way, too."""
    found = cases(ways)
    ends = (without, without, without if more else "stopped", "stopped")
    assert {name: it["expect"] for name, it in found.items()} == {
        "launch": "login",
        **dict(zip(ATTACKS, ends, strict=True)),
        **more,
    }
    assert found["launch"]["launch"] == "published"
    assert not any("launch" in found[name] for name in more)


def test_an_image_with_a_tpm() -> None:
    """Where it does not give the key, GRUB asks."""
    found = cases(["prompt", "tpm2"])
    sealed = {name: it for name, it in found.items() if "tpm" in it}
    assert {name: it["expect"] for name, it in sealed.items()} == {
        "tpm": "login",
        **dict.fromkeys(("tpm-other-core", "tpm-other-firmware", "tpm-no-sealed-key"), "asked"),
    }
    assert {it["key_file"] for it in sealed.values()} == {"/boot.key"}
    assert {it["tpm"] for it in sealed.values()} == set(enrolled.STARTS)
    assert {name: it["expect"] for name, it in found.items() if name not in sealed} == PROMPTS
