# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which boots an image has to pass: each way to unlock it, and what a host can change."""

from __future__ import annotations

import typing as t

import pytest
import role_variables
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

LAUNCH = {
    "core": "c",
    "hashes": "h",
    "firmware": "f",
    "secret": "s",
    "measured": {"sev": "56f8"},
}
PROMPTS = {"wrong": "refused", "boot": "login", "recovery": "started"}
ATTACKS = ("launch-other-key", "launch-no-secret", "launch-no-hashes", "launch-longer-core")


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
        {"firmware": "f", "core": "c", "hashes": "h", "secret": "s", "digest": "56f8"}
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
    ends = (without, without, "stopped", "stopped")
    assert {name: it["expect"] for name, it in found.items()} == {
        "launch": "login",
        **dict(zip(ATTACKS, ends, strict=True)),
        **more,
    }
    assert found["launch"]["launch"] == "published"
    assert not any("launch" in found[name] for name in more)
