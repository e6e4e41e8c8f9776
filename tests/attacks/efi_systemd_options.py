# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host sets the EFI variable SystemdOptions to words for systemd's command line.

The guest must boot its own root and not take them.

Why: systemd.run= and init= are such words.
"""

from __future__ import annotations

from attack_images import ALL
from attacks import Attack, Outcome, Stage, looked
from guests import Guest
from hostile import SYSTEMD


def prepare(stage: Stage) -> None:
    words = "systemd.hostname=the-host\0".encode("utf-16-le")
    stage.variables["SystemdOptions", SYSTEMD] = words


def probe(_stage: Stage, guest: Guest) -> Outcome:
    return looked(guest, "hostname", "the-host")


ATTACK = Attack(images=ALL, prepare=prepare, probe=probe)
