# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host presses Escape at GRUB's question.

The guest must ask again, reset or halt, without a prompt.

Why: as with a wrong key; Escape ends the question without one.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import Attack, Outcome, Stage


def play(stage: Stage) -> Outcome:
    return stage.without_key("\x1b")


ATTACK = Attack(images=ONE_EACH, play=play)
