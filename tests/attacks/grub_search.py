# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host attaches a plain disk whose file system has the UUID of the root, with a kernel and initramfs of its own,
and overwrites the superblock of the genuine root while GRUB shows its menu.

The guest must start nothing of that disk.

Why: grub.cfg of the distributions looks for the root by that UUID, which is derived from the public one of the volume.
The host's kernel finds the boot key in the memory that GRUB used.
"""

from __future__ import annotations

import os

from attack_images import ONE_EACH
from attacks import LOGIN, MARKER, Attack, Outcome, Stage
from guests import MENU
from hostile import boot_files, host_root, write


def play(stage: Stage) -> Outcome:
    files = boot_files(stage.image, stage.folder)
    root = host_root(stage.folder / "host", uuid=stage.image.root_uuid, mib=128, files=files)
    guest = stage.guest(
        *("-drive", f"file={stage.raw},format=raw,if=virtio"),
        *("-drive", f"file={root},format=raw,if=virtio"),
    )
    stage.unlock(guest)
    guest.console.expect(MENU, timeout=120)
    # The superblock is in the second half of the first block.
    write(stage.raw, stage.image.payload, os.urandom(4096))
    # Where nothing is found, GRUB says so and waits for a key.
    errors = [r"error: [^\n]*(?:no such|not found|unknown|failed|invalid)[^\n]*"]
    return stage.watch(guest, won=[MARKER], stopped=[LOGIN, "username:", *errors], seconds=120)


ATTACK = Attack(images=ONE_EACH, play=play)
