# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host presses Escape at GRUB's question.

The guest must ask again, reset or halt, without a prompt.

Why: as with a wrong key; Escape ends the question without one.
"""

from __future__ import annotations

import pexpect
from attack_images import ONE_EACH
from attacks import GRUB_SHELL, Attack, Outcome, Stage
from guests import PROMPT


def play(stage: Stage) -> Outcome:
    guest = stage.genuine()
    for _ in range(6):
        if guest.console.expect([PROMPT, GRUB_SHELL, pexpect.EOF], timeout=120):
            break
        guest.console.expect(": ", timeout=30)
        guest.console.send("\x1b")
    guest.console.send("\r")
    return stage.watch(guest, won=[GRUB_SHELL], seconds=60)


ATTACK = Attack(images=ONE_EACH, play=play)
