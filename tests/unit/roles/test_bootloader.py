# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel command line that the role bootloader gives to GRUB."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import role_variables
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest

ROLE = pathlib.Path(__file__).resolve().parents[3] / "roles" / "bootloader"
CONSOLES = "console=tty0 console=ttyS0,115200"
ACTIVE = {"image_selinux_plan": {"active": True, "stage": True}}


def command_line(given: dict[str, t.Any]) -> str:
    """Return the kernel command line as a play with the variables *given* has it."""
    return templated("{{ __bootloader_kernel_cmdline }}", given)


def templated(text: str, given: dict[str, t.Any]) -> str:
    found = {
        "image_luks_uuid": "u",
        "image_root_tar": {"initramfs": "initramfs_tools"},
        "image_selinux_plan": {"active": False, "stage": False},
    }
    variables = {**role_variables.of("bootloader"), **found}
    variables.update({"image_kernel_cmdline": CONSOLES, **given})
    templar = Templar(loader=DataLoader(), variables=variables)
    return str(templar.template(trust_as_template(text)))


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
    # Of a word that is given twice, the last one counts.
    assert command_line(given) == f"{words} {said('initramfs_tools')}"


def said(generator: str, **more: bool) -> str:
    return " ".join(guest.words(generator, luks_uuid="u", **more))


@pytest.mark.parametrize("generator", guest.GENERATOR_CONSOLE_WORDS)
def test_what_builds_the_initramfs_decides_words_and_device(generator: str) -> None:
    given = {**ACTIVE, "image_root_tar": {"initramfs": generator}}
    # What an owner may override comes before what the owner says.
    first = guest.DEFAULT_WORDS.get(generator, ())
    wanted = [*first, CONSOLES, "security=selinux", said(generator)]
    assert command_line(given) == " ".join(wanted)
    given = {"image_root_tar": {"initramfs": generator}, "image_kernel_cmdline": ""}
    assert command_line(given) == " ".join([*first, said(generator)])
    device = templated("{{ __bootloader_guest.device }}", given)
    assert device == guest.device(generator, "u")


@pytest.mark.parametrize("value", [True, "true", "yes"])
def test_a_console_that_is_to_be_open(value: t.Any) -> None:
    """On the command line of ansible-playbook it is a text."""
    given = {"image_root_tar": {"initramfs": "dracut"}, "image_debug_console": value}
    words = command_line(given)
    assert words == f"rd.timeout=600 {CONSOLES} {said('dracut', debug_console=True)}"
    assert "panic=" not in words
    # What the host would have a say in has nothing to do with it.
    assert "systemd.import_credentials=no" in words


def test_an_initramfs_that_is_not_known_is_an_error() -> None:
    with pytest.raises(AnsibleError, match="'' builds no initramfs that is known"):
        command_line({"image_root_tar": {"initramfs": ""}})
