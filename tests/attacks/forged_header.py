# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host exchanges the disk when GRUB has read it: a LUKS2 header that calls the payload unencrypted, and a root of
its own behind it. A LUKS1 header is converted for that.

The guest must reset or halt.

Why: the genuine key opens the forged header, since nothing ties the data segment to it, and the host's root runs where
the boot key was.
"""

from __future__ import annotations

from attack_images import ALL
from attacks import GENUINE, INITRAMFS_SHELL, MARKER, Attack, Outcome, Stage
from hostile import forge_disk


def play(stage: Stage) -> Outcome:
    guest = stage.genuine()
    stage.unlock(guest)
    stage.after_grub(guest)
    with stage.halted():
        forge_disk(stage.image, stage.raw, stage.folder)
    return stage.watch(guest, won=[MARKER, INITRAMFS_SHELL], stopped=GENUINE)


ATTACK = Attack(images=ALL, play=play)
