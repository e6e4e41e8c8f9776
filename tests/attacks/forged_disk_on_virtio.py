# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host attaches the genuine disk to a controller that the kernel has no driver for, and a clone with a forged
header to another one.

The guest must reset or halt.

Why: the firmware reads the genuine disk, so GRUB asks for the key and opens it, and the initramfs finds the clone.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import GENUINE, INITRAMFS_SHELL, MARKER, Attack, Outcome, Stage
from hostile import forge_disk


def play(stage: Stage) -> Outcome:
    clone = stage.copy("clone.raw")
    forge_disk(stage.image, clone, stage.folder)
    guest = stage.guest(
        *("-drive", f"file={stage.raw},format=raw,if=none,id=genuine"),
        *("-device", "ide-hd,drive=genuine,bootindex=0"),
        *("-drive", f"file={clone},format=raw,if=virtio"),
    )
    stage.unlock(guest)
    return stage.watch(guest, won=[MARKER, INITRAMFS_SHELL], stopped=GENUINE)


ATTACK = Attack(images=ONE_EACH, play=play)
