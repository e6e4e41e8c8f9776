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


def trusted(value: t.Any) -> t.Any:
    """Mark every text in what a file of the role has as a template, as Ansible does."""
    if isinstance(value, dict):
        return {key: trusted(inner) for key, inner in value.items()}
    return trust_as_template(value) if isinstance(value, str) else value


def command_line(given: dict[str, t.Any]) -> str:
    """Return the kernel command line as a play with the variables *given* has it."""
    variables: dict[str, t.Any] = {}
    for name in ("defaults", "vars"):
        variables.update(trusted(yaml.safe_load((ROLE / name / "main.yml").read_text())))
    variables.update({"image_luks_uuid": "u", "image_kernel_cmdline": CONSOLES, **given})
    templar = Templar(loader=DataLoader(), variables=variables)
    return str(templar.template(trust_as_template("{{ __bootloader_kernel_cmdline }}")))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, CONSOLES),
        (ACTIVE, f"{CONSOLES} security=selinux"),
        ({"image_selinux_plan": {"active": False, "stage": True}}, CONSOLES),
        # Who chooses a security module has the last word.
        ({**ACTIVE, "image_kernel_cmdline": "lsm=yama,selinux"}, "lsm=yama,selinux"),
        ({**ACTIVE, "image_kernel_cmdline": "quiet security=apparmor"}, "quiet security=apparmor"),
        ({**ACTIVE, "image_kernel_cmdline": "selinux=0 quiet"}, "selinux=0 quiet"),
    ],
)
def test_selinux_is_started_where_it_is_on(given: dict[str, t.Any], words: str) -> None:
    assert command_line(given) == words


def test_an_initramfs_has_words_of_its_own() -> None:
    given = {**ACTIVE, "image_root_tar": {"initramfs": "dracut"}}
    assert command_line(given) == f"{CONSOLES} rd.luks.uuid=luks-u security=selinux"
    given = {"image_root_tar": {"initramfs": "initramfs_tools"}, "image_kernel_cmdline": ""}
    assert command_line(given) == ""
