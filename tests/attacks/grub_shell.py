# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host presses c in GRUB's menu, and reads /etc/shadow of the opened volume.

The guest must ask for a user, of which there is none.

Why: the volume is open, so GRUB's shell reads and boots what it likes.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import GRUB_SHELL, Attack, Outcome, Stage, stopped
from guests import MENU


def play(stage: Stage) -> Outcome:
    guest = stage.genuine()
    stage.unlock(guest)
    guest.console.expect(MENU, timeout=120)
    guest.console.send("c")
    if guest.console.expect([GRUB_SHELL, "username:"], timeout=60):
        return stopped("«Enter username:»")
    guest.console.send("cat (crypto0)/etc/shadow\r")
    return stage.watch(guest, won=[r"daemon:\*?:"], seconds=60)


ATTACK = Attack(images=ONE_EACH, play=play)
