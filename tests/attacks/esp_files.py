# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host adds files to the EFI system partition: configurations of GRUB where one could be looked for, modules, a
script of the EFI shell, and systemd's credentials and entries.

The guest must ask for the key and show its own menu.

Why: GRUB has its configuration inside, and what lies beside it is the host's.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import Attack, Outcome, Stage
from guests import MENU
from hostile import esp_write

SCRIPT = "echo HOST-GRUB-CFG\nreboot\n"
NAMES = (
    *(f"{folder}/grub.cfg" for folder in ("EFI/BOOT", "EFI/debian", "boot/grub", "grub")),
    *("EFI/BOOT/x86_64-efi/normal.mod", "boot/grub/x86_64-efi/normal.mod"),
    *("startup.nsh", "loader/loader.conf", "loader/credentials/tmpfiles.extra.cred"),
)


def play(stage: Stage) -> Outcome:
    file = stage.folder / "file"
    file.write_text(SCRIPT)
    for name in NAMES:
        esp_write(stage.image, stage.raw, name, file)
    guest = stage.genuine()
    stage.unlock(guest)
    return stage.watch(guest, won=["HOST-GRUB-CFG"], stopped=[MENU, "Booting `"], seconds=120)


ATTACK = Attack(
    images=ONE_EACH,
    play=play,
    no_control="every core image that this collection ever made has its configuration inside",
)
