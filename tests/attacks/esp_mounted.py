# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host writes a file system of its own in place of the EFI system partition.

The guest must boot and not mount it by itself.

Why: nothing protects that partition, and a driver for file systems is no match for bytes that somebody made up.
"""

from __future__ import annotations

from attack_images import ALL
from attacks import Attack, Outcome, Stage, looked
from guests import Guest
from hostile import esp_write


def prepare(stage: Stage) -> None:
    file = stage.folder / "the-host"
    file.write_text("x")
    esp_write(stage.image, stage.raw, "the-host", file)


def probe(_stage: Stage, guest: Guest) -> Outcome:
    # An automount point does not count, which is mounted when somebody looks.
    return looked(guest, "cat /proc/mounts", "/boot/efi vfat")


ATTACK = Attack(images=ALL, prepare=prepare, probe=probe)
