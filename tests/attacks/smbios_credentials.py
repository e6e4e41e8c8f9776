# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host gives systemd credentials in SMBIOS strings: a line for systemd-tmpfiles, and a unit.

The guest must boot its own root and take neither.

Why: each of them is code that runs as root, with the volume open.
"""

from __future__ import annotations

from attack_images import ALL
from attacks import Attack, Outcome, Stage, looked
from guests import Guest

UNIT = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'id -u >/run/host-unit'\n[Install]\nWantedBy=sysinit.target\n"


def prepare(stage: Stage) -> None:
    for name, text in (
        ("tmpfiles.extra", "f /run/host-tmpfiles 0644 root root - x\n"),
        ("systemd.extra-unit.host.service", UNIT),
        ("systemd.unit-dropin.sysinit.target", "[Unit]\nWants=host.service\n"),
    ):
        stage.more += ["-smbios", f"type=11,value={stage.credential(name, text)}"]


def probe(_stage: Stage, guest: Guest) -> Outcome:
    return looked(guest, "ls /run", "host-(tmpfiles|unit)")


ATTACK = Attack(images=ALL, prepare=prepare, probe=probe)
