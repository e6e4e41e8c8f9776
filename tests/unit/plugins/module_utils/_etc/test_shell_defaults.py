# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._etc.shell_defaults import (
    assign,
    merge_words,
    values,
    without_words,
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


SPREAD = """\
A="one \\
two"  # a comment
B='three
four'
C=5
"""


def test_a_value_may_take_several_lines():
    assert values(SPREAD) == {"A": "one two", "B": "three\nfour", "C": "5"}
    assert assign(SPREAD, "A", "x") == "A=x  # a comment\nB='three\nfour'\nC=5\n"


def test_a_comment_behind_a_value_and_an_export_stay():
    text = assign(GRUB, "GRUB_CMDLINE_LINUX_DEFAULT", "splash")
    assert text == GRUB.replace('"quiet"', "splash")
    assert "  export GRUB_CMDLINE_LINUX=c\n" in assign(GRUB, "GRUB_CMDLINE_LINUX", "c")


def test_the_output_of_a_command_is_left_to_the_shell():
    text = "A=`echo x 2> /dev/null || echo y`\nB=1; C=$(id -u)\n"
    assert values(text)["A"] == "`echo x 2> /dev/null || echo y`"
    assert values(text)["B"] == "1"


def test_a_quote_that_is_never_closed_does_not_swallow_the_file():
    assert values("A='x\nB=1\n")["B"] == "1"
    assert assign("A='x\nB=1\n", "B", "2") == "A='x\nB=2\n"


@pytest.mark.parametrize(
    "text",
    [
        'A=1\nB="$A 2"\n',
        "A=1\nA=${A}2\n",
        "A=1\nB='$A'\n",
        'B="$UNSET_HERE 2"\n',
        'B="\\$A"\n',
        "A=1\nB=$A\n",
        'A="x y"\nA="$A z"\n',
    ],
)
def test_other_variables_are_read_as_a_shell_does(text):
    script = f'unset A B UNSET_HERE\n{text}printf "%s|%s" "$A" "$B"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    found = values(text)
    assert f"{found.get('A', '')}|{found.get('B', '')}" == shell.stdout


def test_words_that_are_out_of_place_are_taken_out():
    assert without_words(
        "quiet root=/dev/sda1 noroot=1", lambda word: word.startswith("root=")
    ) == (
        "quiet noroot=1",
        ["root=/dev/sda1"],
    )
    # What is wanted stays in its place, so that a second run changes nothing.
    assert without_words("a=1 quiet a=2", lambda word: word.startswith("a="), ["a=2"]) == (
        "quiet a=2",
        ["a=1"],
    )


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
