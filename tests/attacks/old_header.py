# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host keeps the header of the disk, and puts it back after the boot key was rotated.

The guest cannot tell GRUB which header is the newer one.

Why: rotation changes what opens the volume key, not that key. Who has an old boot key and an old header has the data.
"""

from __future__ import annotations

import secrets

from attack_images import ONE_EACH
from attacks import Attack, Outcome, Stage, stopped
from guests import MENU, PROMPT
from hostile import change_boot_key, read, write


def play(stage: Stage) -> Outcome:
    image, new = stage.image, secrets.token_hex(16)
    position, size = image.luks.start, image.payload - image.luks.start
    old = read(stage.raw, position, size)
    write(stage.raw, position, change_boot_key(image, old, new, stage.folder))
    # First what rotation is for: the old key is dead, and the new one lives.
    guest = stage.genuine()
    stage.unlock(guest)
    if guest.console.expect([PROMPT, "grub", MENU, r"opened"], timeout=60) > 1:
        return stopped("the old key was never dead: this proves nothing")
    stage.control.do("quit")
    write(stage.raw, position, old)
    guest = stage.genuine()
    stage.unlock(guest)
    return stage.watch(guest, won=[MENU], stopped=[PROMPT, "grub"], seconds=60)


ATTACK = Attack(
    images=ONE_EACH,
    play=play,
    open_because="the old boot key opens the old header for ever, and the volume key in it is the same.",
    combine_with="a new image (or `cryptsetup reencrypt` on a trusted machine) when a boot key has become known.",
)
