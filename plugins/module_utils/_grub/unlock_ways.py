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

from ansible_collections.sealedroot.image.plugins.module_utils._grub import own_volume
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

CRYPTODISK = "cryptodisk"
# docs/facts.md: grub-luks2
_NO_LUKS2 = "GRUB reads a LUKS2 header of the host without checking its sizes, and could have the key by then"


@dataclasses.dataclass(frozen=True)
class Way:
    """A way to unlock.

    *grub* is the oldest GRUB that can, which *distribution* has, and *sign* what its module cryptodisk has and older
    ones do not; all are empty if every GRUB can. *modules* are what its core image needs besides those that read the
    disk, and *left_out* those that it must not have. *packages* are needs of the root (needs.py).
    *no_secure_boot*, *no_debug_console* and *no_luks2* say why it does not work with these; else they are empty.
    *needs_firmware* says whether it depends on a firmware that image_firmware names.
    *measured* is what is compared before the key is given, *host_learns* what the host gets to know.
    """

    name: str
    grub: str
    distribution: str
    sign: bytes
    modules: t.Tuple[str, ...]
    left_out: t.Tuple[str, ...]
    packages: t.Tuple[str, ...]
    architectures: t.Tuple[str, ...]
    no_secure_boot: str
    no_debug_console: str
    no_luks2: str
    needs_firmware: bool
    measured: str
    host_learns: str


PROMPT = Way(
    name="prompt",
    grub="",
    distribution="",
    sign=b"",
    modules=(),
    left_out=(),
    packages=(),
    architectures=tuple(architectures.ARCHITECTURES),
    no_secure_boot="",
    no_debug_console="",
    no_luks2="",
    needs_firmware=False,
    measured="nothing",
    host_learns="the key, if the console that it is typed on is the host's",
)
LAUNCH_SECRET = Way(
    name="launch_secret",
    grub="2.12",
    distribution="Debian 13",
    # docs/facts.md: cryptomount-password
    sign=b"Password to open volumes.",
    modules=("eval", "memrw", "test", *own_volume.MODULES),
    # It logs each command with its arguments, and the key is one.
    left_out=("tpm",),
    packages=(),
    architectures=(architectures.X86_64.machine,),
    no_secure_boot="under Secure Boot GRUB reads no memory, so it would not find the key",
    no_debug_console="image_debug_console gives the host's console a shell that reads the key in the memory",
    no_luks2=_NO_LUKS2,
    needs_firmware=True,
    measured="the firmware and GRUB's core image with its script",
    host_learns="that a key was given",
)
TPM2 = Way(
    name="tpm2",
    grub="2.14",
    distribution="Debian 14",
    # docs/facts.md: grub-tpm2
    sign=b"Unlock volume(s) using key protector(s).",
    # Without "tpm", what is typed or read changes no register, and any GRUB with this hash could have the key.
    modules=("key_protector", "tpm", "tpm2_key_protector", *own_volume.MODULES),
    # It reads no file system of the host's, but one with the UUID of the volume.
    left_out=("fat",),
    packages=("tpm2_tools",),
    architectures=(architectures.X86_64.machine,),
    no_secure_boot="a signed GRUB has no module tpm2_key_protector, and under Secure Boot it loads none",
    no_debug_console="image_debug_console shows a shell that has the open disk to whoever has the console",
    no_luks2=_NO_LUKS2,
    needs_firmware=False,
    measured="the TPM compares GRUB's core image, what GRUB was told, and the state of Secure Boot",
    host_learns="the key, if the TPM is the host's; else that it was given",
)
WAYS = {it.name: it for it in (PROMPT, LAUNCH_SECRET, TPM2)}


def chosen(names: t.Iterable[str]) -> t.List[Way]:
    """Return the ways of these names, in the order of the table."""
    wanted = set(names)
    return [way for name, way in WAYS.items() if name in wanted]


def contradictions(
    names: t.Iterable[str], *, secure_boot: bool, debug_console: bool, luks_type: str
) -> t.Iterator[t.Tuple[Way, str, str]]:
    """Yield each of these ways that does not work with another option, with the option's name and the reason."""
    for way in chosen(names):
        for option, is_set, reason in (
            ("secure_boot", secure_boot, way.no_secure_boot),
            ("debug_console", debug_console, way.no_debug_console),
            ("luks_type", luks_type == "luks2", way.no_luks2),
        ):
            if is_set and reason:
                yield way, option, reason


def check(params: t.Mapping[str, t.Any]) -> None:
    """Refuse a way that lacks what it needs, or does not work with another option; *params* are grub_cryptodisk's."""
    options = {key: params[key] for key in ("secure_boot", "debug_console", "luks_type")}
    for way, option, reason in contradictions(params["unlock"], **options):
        raise SealedRootError(
            f"unlock has {way.name}, but {reason}: take another way, or change {option}"
        )
    if "launch_secret" in params["unlock"] and not (
        params["secret_area"] and params["launch_core"]
    ):
        raise SealedRootError("launch_secret needs secret_area and launch_core: give both")


__all__ = (
    "CRYPTODISK",
    "LAUNCH_SECRET",
    "PROMPT",
    "TPM2",
    "WAYS",
    "Way",
    "check",
    "chosen",
    "contradictions",
)
