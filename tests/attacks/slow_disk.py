# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host lets the disk give a block a minute, when GRUB has read it.

The guest must reset or halt, without a shell.

Why: an initramfs that has waited for long enough may offer a shell, and has the key in reach.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import GENUINE, INITRAMFS_SHELL, SLOW, Attack, Outcome, Stage


def play(stage: Stage) -> Outcome:
    guest = stage.genuine()
    stage.unlock(guest)
    stage.after_grub(guest)
    stage.slow_down()
    return stage.watch(guest, won=[INITRAMFS_SHELL], stopped=GENUINE, seconds=SLOW)


ATTACK = Attack(images=ONE_EACH, play=play)
