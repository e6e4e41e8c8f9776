# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host sends a break on the serial console, and then a key of the kernel's own keyboard.

The guest must take it for a letter.

Why: such keys kill programs, dump memory to the console, and remount file systems.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import Attack, Outcome, Stage, stopped, won
from guests import Guest


def probe(stage: Stage, guest: Guest) -> Outcome:
    stage.control.human("chardev-send-break serial0")
    guest.console.send("s")
    guest.console.send("\x15")
    # What the kernel does with a key it says in its log, too.
    said = guest.run("sleep 3; dmesg | tail -n 5; cat /proc/sys/kernel/sysrq")
    if "Emergency Sync" in said or "sysrq: " in said:
        return won("the kernel obeyed: «sysrq: Emergency Sync»")
    return stopped("the kernel did not obey")


ATTACK = Attack(images=ONE_EACH, probe=probe)
