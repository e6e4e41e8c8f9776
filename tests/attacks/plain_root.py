# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host attaches the genuine disk to a controller that the kernel has no driver for, and a plain disk whose file
system has the UUID of the root to another one.

The guest must reset or halt.

Why: nothing is forged; the UUID is derived from the public one of the volume, and root=UUID= finds it anywhere.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import GENUINE, INITRAMFS_SHELL, MARKER, Attack, Outcome, Stage
from hostile import host_root


def play(stage: Stage) -> Outcome:
    root = host_root(stage.folder / "host", uuid=stage.image.root_uuid)
    guest = stage.guest(
        *("-drive", f"file={stage.raw},format=raw,if=none,id=genuine"),
        *("-device", "ide-hd,drive=genuine,bootindex=0"),
        *("-drive", f"file={root},format=raw,if=virtio"),
    )
    stage.unlock(guest)
    return stage.watch(guest, won=[MARKER, INITRAMFS_SHELL], stopped=GENUINE)


ATTACK = Attack(images=ONE_EACH, play=play)
