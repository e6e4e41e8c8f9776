# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host lets the disk answer twice a second, when GRUB has read it.

The guest must boot late, reset, halt or wait, without a shell.

Why: an initramfs that has waited for long enough may offer a shell, and has the key in reach.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import GENUINE, INITRAMFS_SHELL, Attack, Outcome, Stage


def play(stage: Stage) -> Outcome:
    guest = stage.genuine()
    stage.unlock(guest)
    stage.after_grub(guest)
    stage.slow_down(2)
    silence = "it waits for its disk"
    return stage.watch(guest, won=[INITRAMFS_SHELL], stopped=GENUINE, seconds=150, silence=silence)


ATTACK = Attack(images=ONE_EACH, play=play)
