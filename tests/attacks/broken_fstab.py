# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host does nothing; a line of /etc/fstab names a disk that is not there, as when the host takes one away.

The guest must reset, without a question.

Why: systemd's emergency mode asks for root's password, and gives a shell without one where root has none.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import GENUINE, Attack, Outcome, Stage

LINE = "LABEL=lost /mnt ext4 x-systemd.device-timeout=1s 0 2"


def play(stage: Stage) -> Outcome:
    guest = stage.genuine()
    guest.boot(stage.image.boot_key)
    guest.log_in(stage.image.password)
    guest.run(f"echo '{LINE}' >>/etc/fstab && sync")
    stage.control.do("quit")
    guest = stage.genuine()
    stage.unlock(guest)
    return stage.watch(guest, won=["emergency mode", "for maintenance"], stopped=GENUINE)


ATTACK = Attack(images=ONE_EACH, play=play)
