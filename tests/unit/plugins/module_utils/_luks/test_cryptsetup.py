# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exact commands on key slots, and what their exit statuses mean."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import cryptsetup
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import CommandError

TEST = ["cryptsetup", "open", "--test-passphrase", "--verbose", "--key-file", "/k/a"]


def test_opens_says_which_slot(script: t.Any, runner: t.Any) -> None:
    said = "No usable token is available.\nKey slot 3 unlocked.\nCommand successful.\n"
    script.expect([*TEST, "/dev/loop0"], stdout=said)
    assert cryptsetup.opens(runner, "/dev/loop0", "/k/a") == 3


def test_opens_asks_for_one_slot(script: t.Any, runner: t.Any) -> None:
    script.expect([*TEST, "--key-slot", "0", "/dev/loop0"], stdout="Key slot 0 unlocked.\n")
    assert cryptsetup.opens(runner, "/dev/loop0", "/k/a", slot=0) == 0


@pytest.mark.parametrize(
    ("rc", "stderr"),
    [(2, "No key available with this passphrase.\n"), (1, "No usable keyslot is available.\n")],
)
def test_a_key_that_does_not_open(script: t.Any, runner: t.Any, rc: int, stderr: str) -> None:
    script.expect([*TEST, "--key-slot", "5", "/dev/loop0"], rc=rc, stderr=stderr)
    assert cryptsetup.opens(runner, "/dev/loop0", "/k/a", slot=5) is None


@pytest.mark.parametrize(
    ("rc", "stderr"),
    [
        (1, "Failed to open key file.\n"),
        (1, "Device /dev/loop0 is not a valid LUKS device.\n"),
        (3, "Not enough available memory to open a keyslot.\n"),
        (4, "Device /dev/loop0 does not exist or access denied.\n"),
    ],
)
def test_any_other_failure_is_not_a_wrong_key(
    script: t.Any, runner: t.Any, rc: int, stderr: str
) -> None:
    script.expect([*TEST, "/dev/loop0"], rc=rc, stderr=stderr)
    with pytest.raises(CommandError, match=stderr.strip()):
        cryptsetup.opens(runner, "/dev/loop0", "/k/a")


def test_add_key(script: t.Any, runner: t.Any) -> None:
    script.expect(
        [
            *["cryptsetup", "luksAddKey", "--batch-mode", "--key-slot", "1"],
            *["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "600000", "--hash", "sha512"],
            *["--key-file", "/k/old", "/dev/loop0", "/k/new"],
        ]
    )
    cryptsetup.add_key(
        runner,
        "/dev/loop0",
        unlock="/k/old",
        key_file="/k/new",
        slot=1,
        iterations=600000,
        hash_="sha512",
    )


def test_kill_slot(script: t.Any, runner: t.Any) -> None:
    argv = ["cryptsetup", "luksKillSlot", "--batch-mode", "--key-file", "/k/a", "/dev/loop0", "7"]
    script.expect(argv)
    cryptsetup.kill_slot(runner, "/dev/loop0", unlock="/k/a", slot=7)
