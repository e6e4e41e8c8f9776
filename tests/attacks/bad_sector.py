# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host answers with errors where the disk has the journal of the root's file system, which GRUB does not read.

The guest must reset or halt, without a shell.

Why: an initramfs whose root cannot be mounted ends in a shell, which has the boot key in reach.
"""

from __future__ import annotations

import json

from attack_images import BLOCK, ONE_EACH, SECTOR, blocks
from attacks import GENUINE, INITRAMFS_SHELL, Attack, Outcome, Stage

# The inode of the journal (ext4, EXT4_JOURNAL_INO).
JOURNAL = "<8>"


def play(stage: Stage) -> Outcome:
    # QEMU's own errors, for every read that has one of these sectors in it (blkdebug).
    begin = blocks(stage.image, JOURNAL)[0]
    sectors = range(begin // SECTOR, (begin + BLOCK) // SECTOR)
    image = {"driver": "file", "filename": str(stage.raw)}
    errors = [{"event": "none", "iotype": "read", "errno": 5, "sector": it} for it in sectors]
    disk = {
        "driver": "raw",
        "node-name": "genuine",
        "file": {"driver": "blkdebug", "image": image, "inject-error": errors},
    }
    guest = stage.guest(
        *("-blockdev", json.dumps(disk), "-device", "virtio-blk-pci,drive=genuine,bootindex=1")
    )
    stage.unlock(guest)
    return stage.watch(guest, won=[INITRAMFS_SHELL], stopped=GENUINE)


ATTACK = Attack(images=ONE_EACH, play=play)
