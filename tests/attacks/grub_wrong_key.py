# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host types wrong keys until GRUB gives up.

The guest must reset or halt, without a prompt.

Why: where a TPM or the launch secret opens the volume, GRUB's shell can ask them again and read the key.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import Attack, Outcome, Stage


def play(stage: Stage) -> Outcome:
    return stage.without_key("wrong\r")


ATTACK = Attack(images=ONE_EACH, play=play)
