# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host attaches a disk with the label cidata, and a command for cloud-init on it.

The guest must boot its own root and not run the command.

Why: cloud-init runs as root what the host says; that is what it is for.
"""

from __future__ import annotations

from attack_images import AGENTS
from attacks import Attack, Outcome, Stage, looked
from guests import Guest
from hostile import run

USER = "#cloud-config\nbootcmd: [touch /run/host-seed]\nruncmd: [touch /run/host-seed]\n"


def prepare(stage: Stage) -> None:
    seed = stage.folder / "seed"
    run("truncate", "-s", "4M", seed)
    run("mkfs.vfat", "-n", "CIDATA", seed)
    for name, text in (("user-data", USER), ("meta-data", "instance-id: the-host\n")):
        (stage.folder / name).write_text(text)
        run("mcopy", "-i", seed, stage.folder / name, f"::/{name}")
    stage.more += ["-drive", f"file={seed},format=raw,if=virtio,readonly=on"]
    stage.more += ["-smbios", "type=1,serial=ds=nocloud"]


def probe(_stage: Stage, guest: Guest) -> Outcome:
    return looked(guest, "ls /run", "host-seed")


ATTACK = Attack(images=AGENTS, prepare=prepare, probe=probe)
