# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The ways in which the boot key reaches GRUB, and what each needs: a table. Pure.

docs/deploy.md shows it to users.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures

CRYPTODISK = "cryptodisk"


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to unlock.

    *grub* is the oldest GRUB that can, and *sign* what its module cryptodisk has and older ones do not; both are empty
    if every GRUB can. *modules* are what its core image needs besides those that read the disk, and *left_out* those
    that it must not have. *needs_firmware* says whether it depends on a firmware that image_firmware names.
    *measured* is what the owner can compare before the key is given, *host_learns* what the host gets to know.
    """

    name: str
    grub: str
    sign: bytes
    modules: t.Tuple[str, ...]
    left_out: t.Tuple[str, ...]
    architectures: t.Tuple[str, ...]
    secure_boot: bool
    debug_console: bool
    needs_firmware: bool
    measured: str
    host_learns: str


PROMPT = Way(
    name="prompt",
    grub="",
    sign=b"",
    modules=(),
    left_out=(),
    architectures=tuple(architectures.ARCHITECTURES),
    secure_boot=True,
    debug_console=True,
    needs_firmware=False,
    measured="nothing",
    host_learns="the key, if the console that it is typed on is the host's",
)
LAUNCH_SECRET = Way(
    name="launch_secret",
    grub="2.12",
    # docs/facts.md: cryptomount-password
    sign=b"Password to open volumes.",
    modules=("eval", "memrw", "test"),
    # It logs each command with its arguments, and the key is one.
    left_out=("tpm",),
    architectures=(architectures.X86_64.machine,),
    secure_boot=False,
    debug_console=False,
    needs_firmware=True,
    measured="the firmware and GRUB's core image with its script",
    host_learns="that a key was given",
)
WAYS = {it.name: it for it in (PROMPT, LAUNCH_SECRET)}


def chosen(names: t.Iterable[str]) -> t.List[Way]:
    """Return the ways of these names, in the order of the table."""
    wanted = set(names)
    return [way for name, way in WAYS.items() if name in wanted]


__all__ = ("CRYPTODISK", "LAUNCH_SECRET", "PROMPT", "WAYS", "Way", "chosen")
