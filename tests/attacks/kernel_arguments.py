# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host gives words for the kernel wherever a firmware can: with the boot entry, in SMBIOS strings, on the ESP.

The guest must boot its own root with its own command line.

Why: init=/bin/sh is such a word.
"""

from __future__ import annotations

import struct
import uuid

from attack_images import ONE_EACH
from attacks import Attack, Outcome, Stage, looked
from guests import Guest
from hostile import EFI_GLOBAL, esp_write

WORD = "the-host"


def prepare(stage: Stage) -> None:
    for name in ("io.systemd.stub.kernel-cmdline-extra", "io.systemd.boot.kernel-cmdline-extra"):
        stage.more += ["-smbios", f"type=11,value={name}={WORD}"]
    file = stage.folder / "words"
    file.write_text(WORD)
    for name in ("cmdline.txt", "loader/entries/host.conf", "EFI/BOOT/cmdline"):
        esp_write(stage.image, stage.raw, name, file)
    esp = stage.image.partitions[0]
    path = "\\EFI\\BOOT\\BOOTX64.EFI\0".encode("utf-16-le")
    # A load option (UEFI 3.1.3): the partition, the file, the end of the path, and the words.
    nodes = struct.pack(
        "<BBHIQQ16sBB",
        4,
        1,
        42,
        1,
        esp.start // 512,
        esp.size // 512,
        uuid.UUID(esp.uuid).bytes_le,
        2,
        2,
    )
    nodes += struct.pack("<BBH", 4, 4, 4 + len(path)) + path + struct.pack("<BBH", 0x7F, 0xFF, 4)
    option = struct.pack("<IH", 1, len(nodes)) + "host\0".encode("utf-16-le") + nodes
    stage.variables["Boot0000", EFI_GLOBAL] = option + f"{WORD}\0".encode("utf-16-le")
    stage.variables["BootOrder", EFI_GLOBAL] = struct.pack("<H", 0)


def probe(_stage: Stage, guest: Guest) -> Outcome:
    return looked(guest, "cat /proc/cmdline", WORD)


ATTACK = Attack(
    images=ONE_EACH,
    prepare=prepare,
    probe=probe,
    no_control="GRUB takes its words from grub.cfg alone, in every image",
)
