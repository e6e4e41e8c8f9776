# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Test whether KVM works by starting a machine with it: the device alone proves nothing."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._machine import pty_console
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

PROBE_SECONDS = 10


def choose(
    wanted: str,
    start: t.Callable[[], pty_console.PtyConsole],
    *,
    who: str,
    sign: str,
    machine: str,
) -> t.Tuple[str, str]:
    """Return the accelerator and the reason for it.

    For ``auto``, *start* starts a machine under KVM. KVM works if *who* (``the firmware``) prints *sign*, a pattern, on
    the serial console. *machine* is the architecture, which must be the host's for KVM.
    """
    foreign = os.uname().machine != machine
    if wanted == "kvm" and foreign:
        raise SealedRootError(f"KVM of {os.uname().machine} runs no {machine}: use tcg or auto")
    if wanted != "auto":
        return wanted, "asked for"
    if foreign:
        return "tcg", f"KVM of {os.uname().machine} runs no {machine}"
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR))
    except OSError as exc:
        return "tcg", f"/dev/kvm cannot be opened ({exc.strerror})"
    with start() as console:
        try:
            seen = console.wait(["KVM internal error", sign], PROBE_SECONDS)
        except EOFError:
            seen = -1
        if seen == 1:
            return "kvm", f"{who} starts under KVM"
        message = next((line for line in console.text.splitlines() if "KVM" in line), "QEMU ended")
    if seen is None:
        return "tcg", f"{who} said nothing under KVM within {PROBE_SECONDS} seconds"
    return "tcg", f"{who} does not run under KVM ({message.strip()})"


__all__ = ("PROBE_SECONDS", "choose")
