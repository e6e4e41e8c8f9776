# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._shell_defaults import (
    assign,
    merge_words,
    values,
)

GRUB = """\
# If you change this file, run update-grub.
GRUB_DEFAULT=0
GRUB_CMDLINE_LINUX_DEFAULT="quiet"  # hush
#GRUB_TERMINAL=console
  export GRUB_CMDLINE_LINUX='a b'
"""


def test_values_are_what_a_shell_reads():
    assert values(GRUB) == {
        "GRUB_DEFAULT": "0",
        "GRUB_CMDLINE_LINUX_DEFAULT": "quiet",
        "GRUB_CMDLINE_LINUX": "a b",
    }


def test_the_last_assignment_counts_and_is_the_one_replaced():
    assert assign("A=1\nB=2\nA=3\n", "A", "4") == "A=1\nB=2\nA=4\n"


def test_comments_and_order_stay():
    text = assign(GRUB, "GRUB_DEFAULT", "saved")
    assert text == GRUB.replace("GRUB_DEFAULT=0", "GRUB_DEFAULT=saved")


def test_a_comment_is_no_assignment():
    assert assign(GRUB, "GRUB_TERMINAL", "console").endswith("\nGRUB_TERMINAL=console\n")


def test_what_is_right_is_left_alone_in_its_own_quotes():
    assert assign(GRUB, "GRUB_CMDLINE_LINUX", "a b") == GRUB


@pytest.mark.parametrize("value", ["", "two words", 'a "quoted" one', "$HOME `id` \\n", "x=y,z"])
def test_a_shell_reads_back_what_was_assigned(value):
    text = assign("", "V", value)
    shell = subprocess.run(
        ["sh", "-c", f'{text}printf %s "$V"'], capture_output=True, text=True, check=True
    )
    assert shell.stdout == value
    assert values(text)["V"] == value


def test_words_are_merged_once():
    assert merge_words("quiet console=tty0", "console=tty0 console=ttyS0") == (
        "quiet console=tty0 console=ttyS0"
    )
