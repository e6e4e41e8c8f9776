# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host overwrites the superblock of the root when GRUB has read the disk.

The guest must reset or halt, without a shell.

Why: the shell of an initramfs that cannot mount its root has the boot key in reach.
"""

from __future__ import annotations

import os

from attack_images import BLOCK, ONE_EACH
from attacks import GENUINE, INITRAMFS_SHELL, Attack, Outcome, Stage
from hostile import write


def play(stage: Stage) -> Outcome:
    guest = stage.genuine()
    stage.unlock(guest)
    stage.after_grub(guest)
    write(stage.raw, stage.image.payload, os.urandom(BLOCK))
    return stage.watch(guest, won=[INITRAMFS_SHELL], stopped=GENUINE)


ATTACK = Attack(images=ONE_EACH, play=play)
