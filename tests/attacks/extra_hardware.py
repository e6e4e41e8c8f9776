# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host plugs in a second console, a USB keyboard, and a file system by virtio-9p.

The guest must boot its own root, mount nothing of it, and give no shell without a password.

Why: what a system does with new hardware by itself, it does for the host.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import Attack, Outcome, Stage, looked, won
from guests import Guest


def prepare(stage: Stage) -> None:
    shared = stage.folder / "shared"
    shared.mkdir()
    stage.more += [
        *("-device", "virtio-serial-pci", "-device", "virtconsole,chardev=second"),
        *("-chardev", f"file,id=second,path={stage.folder / 'second'}"),
        *("-device", "qemu-xhci", "-device", "usb-kbd"),
        *("-fsdev", f"local,id=shared,path={shared},security_model=none"),
        *("-device", "virtio-9p-pci,fsdev=shared,mount_tag=root"),
    ]


def probe(stage: Stage, guest: Guest) -> Outcome:
    second = (stage.folder / "second").read_text(errors="replace")
    if "# " in second:
        return won(f"the second console shows «{second[-100:]}»")
    return looked(guest, "cat /proc/mounts", " 9p ")


ATTACK = Attack(
    images=ONE_EACH,
    prepare=prepare,
    probe=probe,
    no_control="no image uses such hardware by itself, except that systemd asks for a login on a console",
)
