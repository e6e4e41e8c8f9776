# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""grub-fstest with scripted answers, recorded from 2.06."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._grub import fstest

ARGV = ["grub-fstest", "-C", "/disk.raw", "cat", "(crypto0)/boot/grub/grub.cfg"]
PROMPT = "Attempting to decrypt master key...\nEnter passphrase for loop0,gpt2 (58ad): \n"


def cat(runner: t.Any) -> fstest.Reading:
    return fstest.cat(runner, image="/disk.raw", key=b"key", name="/boot/grub/grub.cfg")


def test_luks1(script: t.Any, runner: t.Any) -> None:
    script.expect(ARGV, stdin=b"key\n", stdout=f"{PROMPT}Slot 1 opened\nset a=b\n")
    found = cat(runner)
    assert (found.slot, found.content) == (1, "set a=b\n")


def test_luks2(script: t.Any, runner: t.Any) -> None:
    script.expect(ARGV, stdin=b"key\n", stdout=f'{PROMPT}Slot "0" opened\nset a=b\n')
    assert cat(runner).slot == 0


def test_wrong_key(script: t.Any, runner: t.Any) -> None:
    errors = "error: access denied.\ngrub-fstest: error: disk `crypto0' not found.\n"
    script.expect(ARGV, stdin=b"key\n", rc=1, stdout=PROMPT, stderr=errors)
    found = cat(runner)
    assert (found.slot, found.content) == (None, None)
    assert "access denied" in found.said


def test_an_unreadable_file_system(script: t.Any, runner: t.Any) -> None:
    errors = "grub-fstest: error: unknown filesystem.\n"
    script.expect(ARGV, stdin=b"key\n", rc=1, stdout=f"{PROMPT}Slot 0 opened\n", stderr=errors)
    found = cat(runner)
    assert (found.slot, found.content) == (0, None)
    assert "unknown filesystem" in found.said


def test_the_other_name(script: t.Any, runner: t.Any) -> None:
    runner.missing.add("grub-fstest")
    script.expect(["grub2-fstest", *ARGV[1:]], stdin=b"key\n", rc=1)
    assert cat(runner).said == "nothing"
