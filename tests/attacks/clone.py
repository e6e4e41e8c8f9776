# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host attaches a clone with a forged header before or behind the genuine disk: same UUIDs, labels and partition
table; and lets the genuine one give a block a minute when GRUB has read it.

The guest must boot the genuine root, reset or halt.

Why: two disks that answer to one name are a race, and the host chooses who is faster.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import INITRAMFS_SHELL, MARKER, Attack, Outcome, Stage
from hostile import forge_disk

# Where on the bus the clone is; the genuine one is at 6.
PLACES = {"before": 4, "behind": 9}


def play(stage: Stage) -> Outcome:
    clone = stage.copy("clone.raw")
    forge_disk(stage.image, clone, stage.folder)
    return stage.each(PLACES, lambda where: attach(stage, PLACES[where]))


def attach(stage: Stage, place: int) -> Outcome:
    guest = stage.guest(
        *("-drive", f"file={stage.raw},format=raw,if=none,id=genuine"),
        *("-device", "virtio-blk-pci,drive=genuine,addr=6,bootindex=0"),
        *("-drive", f"file={stage.folder / 'clone.raw'},format=raw,if=none,id=clone"),
        *("-device", f"virtio-blk-pci,drive=clone,addr={place}"),
    )
    stage.unlock(guest)
    stage.after_grub(guest)
    return stage.watch_slow(guest, won=[MARKER, INITRAMFS_SHELL])


ATTACK = Attack(images=ONE_EACH, play=play)
