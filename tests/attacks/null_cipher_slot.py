# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host exchanges the header when GRUB has read the disk: a key slot without encryption, whose volume key the host
knows, opens a root of the host's.

The guest must reset or halt.

Why: such a slot opens with any key.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import GENUINE, INITRAMFS_SHELL, MARKER, Attack, Outcome, Stage
from hostile import forge_disk_with_null_slot


def play(stage: Stage) -> Outcome:
    guest = stage.genuine()
    stage.unlock(guest)
    stage.after_grub(guest)
    with stage.halted():
        forge_disk_with_null_slot(stage.image, stage.raw, stage.folder)
    return stage.watch(guest, won=[MARKER, INITRAMFS_SHELL], stopped=GENUINE)


# cryptsetup itself refuses such a slot, so the host's gain is a shell where a failure ends in one.
ATTACK = Attack(images=ONE_EACH, play=play)
