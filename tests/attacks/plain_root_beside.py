# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host attaches a plain disk whose file system has the UUID of the root, and overwrites the superblock of the
genuine root when GRUB has read it.

The guest must reset or halt.

Why: the volume opens as ever, and then root=UUID= finds the host's root alone.
"""

from __future__ import annotations

import os

from attack_images import BLOCK, ONE_EACH
from attacks import GENUINE, INITRAMFS_SHELL, MARKER, Attack, Outcome, Stage
from hostile import host_root, write


def play(stage: Stage) -> Outcome:
    root = host_root(stage.folder / "host", uuid=stage.image.root_uuid)
    guest = stage.guest(
        *("-drive", f"file={stage.raw},format=raw,if=virtio"),
        *("-drive", f"file={root},format=raw,if=virtio"),
    )
    stage.unlock(guest)
    stage.after_grub(guest)
    write(stage.raw, stage.image.payload, os.urandom(BLOCK))
    return stage.watch(guest, won=[MARKER, INITRAMFS_SHELL], stopped=GENUINE)


ATTACK = Attack(images=ONE_EACH, play=play)
