# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host lets the disk give a block a minute when GRUB has read it, and makes it quick when the boot has failed.

The guest must reset or halt, without a shell.

Why: an initramfs that has waited for long enough may offer a shell, and has the key in reach.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import INITRAMFS_SHELL, Attack, Outcome, Stage


def play(stage: Stage) -> Outcome:
    guest = stage.genuine()
    stage.unlock(guest)
    stage.after_grub(guest)
    return stage.watch_slow(guest, won=[INITRAMFS_SHELL])


ATTACK = Attack(images=ONE_EACH, play=play)
