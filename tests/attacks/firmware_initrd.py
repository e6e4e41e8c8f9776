# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host gives the firmware an initramfs (QEMU's -initrd) beside a kernel that does not start, so that the disk does.

The guest cannot refuse it where its kernel takes the firmware's initramfs instead of GRUB's.

Why: the host's initramfs runs under the genuine kernel, where GRUB has left the boot key in memory.
"""

from __future__ import annotations

from attacks import GENUINE, GRUB_SHELL, MARKER, Attack, Outcome, Stage
from hostile import host_initrd


def play(stage: Stage) -> Outcome:
    kernel = bytearray(stage.image.kernels[0].read_bytes()[: 1 << 20])
    # Neither a program for EFI, nor of a boot protocol that EDK II starts (LoadLinuxCheckKernelSetup: 2.05 and later).
    kernel[:2] = b"XX"
    kernel[0x206:0x208] = b"\x04\x02"
    bogus = stage.folder / "bogus"
    bogus.write_bytes(kernel)
    initrd = host_initrd(stage.folder / "initrd")
    stage.more += ["-kernel", str(bogus), "-initrd", str(initrd)]
    guest = stage.genuine()
    stage.unlock(guest)
    return stage.watch(guest, won=[MARKER, GRUB_SHELL], stopped=GENUINE)


# GRUB 2.06 of Debian 12 hands its initramfs over in a way that a firmware has no part in.
ATTACK = Attack(
    images=("dracut-luks2",),
    play=play,
    open_because="the EFI stub of the kernel asks the firmware for an initramfs, and GRUB 2.12 goes on when its own"
    " was refused.",
    combine_with="a measured boot that covers what the firmware is given (SEV: kernel hashes; TDX: RTMR1; a vTPM:"
    " PCR 9).",
)
