# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The key slot commands of cryptsetup(8). Keys are passed as files, never as arguments."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    Runner,
)

# A slot with many iterations takes long on a slow or emulated builder.
SLOT_SECONDS = 300


def opens(
    runner: Runner, device: str, key_file: str, *, slot: t.Optional[int] = None
) -> t.Optional[int]:
    """Return the slot that *key_file* opens, or None; try only *slot* if given."""
    argv = [runner.find("cryptsetup"), "open", "--test-passphrase", "--verbose"]
    argv += ["--key-file", key_file]
    if slot is not None:
        argv += ["--key-slot", str(slot)]
    result = runner.run([*argv, device], check=False, timeout=SLOT_SECONDS)
    if result.rc == 0:
        match = re.search(r"Key slot (\d+) unlocked", result.stdout)
        if match:
            return int(match.group(1))
        return slot
    # 2: no key available with this passphrase; 1: that slot is not active, but any invalid input as well
    if result.rc == 2 or (result.rc == 1 and "No usable keyslot" in result.stderr):
        return None
    raise CommandError(argv, result)


def add_key(
    runner: Runner,
    device: str,
    *,
    unlock: str,
    key_file: str,
    slot: int,
    iterations: int,
    hash_: str,
) -> None:
    """Add the key to an empty slot; *hash_* is the header's, because LUKS2 slots do not inherit it."""
    argv = [runner.find("cryptsetup"), "luksAddKey", "--batch-mode", "--key-slot", str(slot)]
    argv += ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", str(iterations), "--hash", hash_]
    runner.run([*argv, "--key-file", unlock, device, key_file], timeout=SLOT_SECONDS)


def kill_slot(runner: Runner, device: str, *, unlock: str, slot: int) -> None:
    """Wipe a slot; *unlock* must open another slot, so that the last key cannot be removed."""
    argv = [runner.find("cryptsetup"), "luksKillSlot", "--batch-mode", "--key-file", unlock]
    runner.run([*argv, device, str(slot)], timeout=SLOT_SECONDS)


__all__ = ("SLOT_SECONDS", "add_key", "kill_slot", "opens")
