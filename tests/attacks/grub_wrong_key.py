# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host types wrong keys until GRUB gives up.

The guest must reset or halt, without a prompt.

Why: where a TPM or the launch secret opens the volume, GRUB's shell can ask them again and read the key.
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
        guest.console.send("wrong\r")
    guest.console.send("\r")
    return stage.watch(guest, won=[GRUB_SHELL], seconds=60)


ATTACK = Attack(images=ONE_EACH, play=play)
