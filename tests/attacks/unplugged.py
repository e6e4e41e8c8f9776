# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host unplugs the disk: at GRUB's question, while GRUB loads, while the kernel starts, in the initramfs, and when
the system runs.

The guest must reset, halt or stand still, without a shell.

Why: the shell of an initramfs that cannot find its root has the boot key in reach.
"""

from __future__ import annotations

from attack_images import ONE_EACH
from attacks import INITRAMFS_SHELL, LOGIN, Attack, Outcome, Stage
from guests import PROMPT, Guest

# How often a system has read its disk when it is about to mount its root, and no more than that.
OPENED = 60
SHELLS = (r"grub rescue> ", INITRAMFS_SHELL)
SILENCE = "it stands still"


def question(stage: Stage, guest: Guest) -> None:
    guest.console.expect(PROMPT, timeout=120)
    stage.unplug()
    guest.console.send(f"{stage.image.boot_key}\r")


def loading(stage: Stage, guest: Guest) -> None:
    stage.unlock(guest)
    guest.console.expect("Loading initial ramdisk", timeout=120)
    stage.unplug()


def kernel(stage: Stage, guest: Guest) -> None:
    stage.unlock(guest)
    stage.after_grub(guest)
    stage.unplug()


def initramfs(stage: Stage, guest: Guest) -> None:
    stage.unlock(guest)
    stage.after_grub(guest)
    stage.after_reads(guest, OPENED)
    stage.unplug()


def running(stage: Stage, guest: Guest) -> None:
    stage.unlock(guest)
    guest.console.expect(LOGIN, timeout=300)
    stage.unplug()
    guest.console.send("root\r")


MOMENTS = {it.__name__: it for it in (question, loading, kernel, initramfs, running)}


def play(stage: Stage) -> Outcome:
    return stage.each(MOMENTS, lambda name: at(stage, name))


def at(stage: Stage, name: str) -> Outcome:
    guest = stage.genuine()
    MOMENTS[name](stage, guest)
    return stage.watch(guest, won=SHELLS, seconds=100, silence=SILENCE)


ATTACK = Attack(images=ONE_EACH, play=play)
