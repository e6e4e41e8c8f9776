# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host overwrites one block of the ciphertext, the first one of grub.cfg.

The guest must reset or halt after the key, or ask for a user, of which there is none.

Why: the encryption has no integrity, and a GRUB without a menu falls into its shell with the volume open.
"""

from __future__ import annotations

import os

from attack_images import ALL, BLOCK, blocks
from attacks import GRUB_SHELL, Attack, Outcome, Stage, stopped
from hostile import write


def play(stage: Stage) -> Outcome:
    block = blocks(stage.image, "/boot/grub/grub.cfg")[0]
    write(stage.raw, block, os.urandom(BLOCK))
    guest = stage.genuine()
    stage.unlock(guest)
    # What is left of the file may be a menu, of which nobody starts an entry by itself.
    seen = guest.console.expect(
        [GRUB_SHELL, "to select which entry", "no menu to go on", "username:"], timeout=120
    )
    if seen == 1:
        guest.console.send("c")
    if seen == 3:
        return stopped("«Enter username:»")
    if seen:
        return stage.watch(guest, won=[GRUB_SHELL], stopped=["username:"], seconds=90)
    guest.console.send("\rcat (crypto0)/etc/shadow\r")
    return stage.watch(guest, won=[r"daemon:\*?:"], seconds=60)


ATTACK = Attack(images=ALL, play=play)
