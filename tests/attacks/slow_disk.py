# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host lets the disk give a block a minute when GRUB has read it, and makes it quick when the boot has failed.

The guest must reset or halt, without a shell.

Why: an initramfs that has waited for long enough may offer a shell, and has the key in reach.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import GENUINE, INITRAMFS_SHELL, SLOW, Attack, Outcome, Stage

WAITS = "it waits for its disk"


def play(stage: Stage) -> Outcome:
    guest = stage.genuine()
    stage.unlock(guest)
    stage.after_grub(guest)
    stage.slow_down()
    shell, patience = [INITRAMFS_SHELL], SLOW[stage.image.kind.initramfs]
    found = stage.watch(guest, won=shell, stopped=GENUINE, seconds=patience, silence=WAITS)
    if not found.evidence.startswith(WAITS):
        return found
    # dracut looks at the disk once more before it shows its shell.
    stage.slow_down(slow=False)
    return stage.watch(guest, won=shell, stopped=GENUINE)


ATTACK = Attack(images=ONE_EACH, play=play)
