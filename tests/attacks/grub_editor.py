# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host presses e in GRUB's menu.

The guest must ask for a user, of which there is none, and boot the entry by itself.

Why: who edits an entry has the kernel's arguments, and with init=/bin/sh a root shell in the opened volume.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import Attack, Outcome, Stage
from guests import MENU


def play(stage: Stage) -> Outcome:
    guest = stage.genuine()
    stage.unlock(guest)
    guest.console.expect(MENU, timeout=120)
    guest.console.send("e")
    return stage.watch(guest, won=["Emacs-like", "setparams"], stopped=["username:"], seconds=60)


ATTACK = Attack(images=ONE_EACH, play=play)
