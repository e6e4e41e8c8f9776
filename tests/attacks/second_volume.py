# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host attaches a LUKS volume of its own with the UUID of the genuine one, before it.

The guest must open the genuine volume, or none.

Why: GRUB looks for the volume by its UUID, and what it opens decides what is started.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import GENUINE, GRUB_SHELL, MARKER, Attack, Outcome, Stage
from guests import MENU
from hostile import own_volume


def play(stage: Stage) -> Outcome:
    volume = own_volume(stage.image, stage.folder / "host")
    guest = stage.guest(
        *("-drive", f"file={volume},format=raw,if=none,id=host"),
        *("-device", "virtio-blk-pci,drive=host,addr=4"),
        *("-drive", f"file={stage.raw},format=raw,if=none,id=genuine"),
        *("-device", "virtio-blk-pci,drive=genuine,addr=6,bootindex=0"),
    )
    stage.unlock(guest)
    stopped = [*GENUINE, MENU, r"Invalid passphrase[^\n]*", r"No key opens[^\n]*"]
    return stage.watch(guest, won=["HOST-GRUB-CFG", MARKER, GRUB_SHELL], stopped=stopped)


ATTACK = Attack(
    images=ONE_EACH,
    play=play,
    no_control="the key opens no volume that does not hold it, whatever the image",
)
