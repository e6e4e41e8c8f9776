# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host gives systemd a credential in a file of QEMU's fw_cfg: a line for systemd-sysctl.

The guest must boot its own root and not take it.

Why: kernel.core_pattern and kernel.modprobe are such lines, and run programs as root.
"""

from __future__ import annotations

from attack_images import INITRAMFS_TOOLS
from attacks import Attack, Outcome, Stage, looked
from guests import Guest


def prepare(stage: Stage) -> None:
    name = "opt/io.systemd.credentials/sysctl.extra"
    stage.more += ["-fw_cfg", f"name={name},string=kernel.domainname=the-host"]


def probe(_stage: Stage, guest: Guest) -> Outcome:
    return looked(guest, "cat /proc/sys/kernel/domainname", "the-host")


# With dracut, systemd has the SMBIOS strings in the initramfs already, and takes no others after that.
ATTACK = Attack(images=INITRAMFS_TOOLS, prepare=prepare, probe=probe)
