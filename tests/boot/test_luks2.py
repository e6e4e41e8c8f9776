# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""LUKS2 from end to end: the image of a Debian 13 is built, proved and booted with each of its keys."""

from __future__ import annotations

import json
import pathlib

import pytest
from builds import DEBIAN, PLAYBOOK, Place, playbook
from guests import CMDLINE


@pytest.mark.long
def test_debian_13_boots_from_luks2(place: Place) -> None:
    source = {**DEBIAN, "release": "trixie"}
    variables = place.variables(
        image_source=source,
        image_luks={"type": "luks2"},
        image_boot_test=True,
        image_kernel_cmdline=CMDLINE,
    )
    run = playbook(PLAYBOOK, variables, timeout=2400)
    assert run.rc == 0, run.output[-6000:]
    manifest = json.loads(pathlib.Path(place.out / "web-1" / "manifest.json").read_text())
    assert any(line.startswith("grub-efi-amd64-bin 2.12") for line in manifest["packages"])
    assert manifest["audit"]["facts"]["luks_type"] == "luks2"
    assert {check["verdict"] for check in manifest["audit"]["checks"]} == {"ok"}
    cases = {case["name"]: case for case in manifest["boot_test"]["cases"]}
    assert {name: case["verdict"] for name, case in cases.items()} == dict.fromkeys(
        ("wrong", "boot", "recovery"), "ok"
    )
    assert cases["wrong"]["detail"] == "GRUB refused the wrong key and started nothing"
    for name in ("boot", "recovery"):
        assert (cases[name]["prompts"], cases[name]["second_prompts"]) == (1, 0)
