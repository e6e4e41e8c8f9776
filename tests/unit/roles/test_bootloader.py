# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel command line that the role bootloader gives to GRUB."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLE = pathlib.Path(__file__).resolve().parents[3] / "roles" / "bootloader"
CONSOLES = "console=tty0 console=ttyS0,115200"
ACTIVE = {"image_selinux_plan": {"active": True, "stage": True}}


def command_line(given: dict[str, t.Any]) -> str:
    """Return bootloader_kernel_cmdline as a play with the variables *given* has it."""
    variables: dict[str, t.Any] = {}
    for name in ("defaults", "vars"):
        texts = yaml.safe_load((ROLE / name / "main.yml").read_text())
        variables.update({key: trust_as_template(text) for key, text in texts.items()})
    templar = Templar(loader=DataLoader(), variables={**variables, **given})
    return str(templar.template(trust_as_template("{{ bootloader_kernel_cmdline }}")))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, CONSOLES),
        (ACTIVE, f"{CONSOLES} security=selinux"),
        ({"image_selinux_plan": {"active": False, "stage": True}}, CONSOLES),
        (
            {**ACTIVE, "image_kernel_cmdline": "quiet enforcing=1"},
            "quiet enforcing=1 security=selinux",
        ),
        # Who chooses a security module has the last word.
        ({**ACTIVE, "image_kernel_cmdline": "lsm=yama,selinux"}, "lsm=yama,selinux"),
        ({**ACTIVE, "image_kernel_cmdline": "quiet security=apparmor"}, "quiet security=apparmor"),
        ({**ACTIVE, "image_kernel_cmdline": "selinux=0 quiet"}, "selinux=0 quiet"),
    ],
)
def test_selinux_is_started_where_it_is_on(given: dict[str, t.Any], words: str) -> None:
    assert command_line(given) == words
