# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/deploy.md, the specification of the input and the modules name the same ways as the table."""

from __future__ import annotations

import pathlib
import re

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._grub import unlock_ways
from ansible_collections.sealedroot.image.plugins.plugin_utils import _documented, _inputs

ROOT = pathlib.Path(__file__).resolve().parents[5]
ROWS = re.findall(
    r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$",
    (ROOT / "docs/deploy.md").read_text(),
    re.MULTILINE,
)


def test_the_page_has_each_way() -> None:
    assert {name: (measured, learns) for name, _needs, measured, learns in ROWS} == {
        name: (way.measured, way.host_learns) for name, way in unlock_ways.WAYS.items()
    }


@pytest.mark.parametrize("way", unlock_ways.WAYS.values(), ids=unlock_ways.WAYS)
def test_the_page_says_what_it_needs(way: unlock_ways.Way) -> None:
    (needs,) = [needs for name, needs, _measured, _learns in ROWS if name == way.name]
    words = [*way.modules, *([f"GRUB {way.grub}"] if way.grub else [])]
    words += ["image_firmware"] if way.needs_firmware else []
    words += ["no Secure Boot"] if way.no_secure_boot else []
    words += ["no `image_debug_console`"] if way.no_debug_console else []
    words += way.architectures if len(way.architectures) == 1 else ()
    assert [word for word in words if word not in needs] == []


def test_the_choices_are_the_ways() -> None:
    ways = sorted(unlock_ways.WAYS)
    assert _inputs.options()["image_unlock"]["choices"] == ways
    assert (
        _documented.documentation("modules", "grub_cryptodisk")["options"]["unlock"]["choices"]
        == ways
    )
    audit = _documented.documentation("modules", "image_audit")["options"]["expected"]["suboptions"]
    assert audit["unlock"]["choices"] == ways


def test_chosen_are_in_the_order_of_the_table() -> None:
    assert unlock_ways.chosen(["tpm2", "prompt", "launch_secret"]) == [*unlock_ways.WAYS.values()]
    assert unlock_ways.chosen(["launch_secret"]) == [unlock_ways.LAUNCH_SECRET]
