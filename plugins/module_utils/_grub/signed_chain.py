# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The Secure Boot chain: the image's own signed shim and GRUB, and the stub for them. Pure.

docs/facts.md: signed-grub says what a signed GRUB can open.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._grub import cfg, core_image, pe
from ansible_collections.sealedroot.image.plugins.module_utils._system.architectures import (
    Architecture,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

BOOT = "EFI/BOOT"


def places(arch: Architecture) -> t.Dict[str, str]:
    """Return the path of each program on the ESP; shim looks for the others in its own directory, by these names."""
    return {
        "shim": arch.boot_file,
        "grub": f"{BOOT}/grub{arch.efi}.efi",
        "mok_manager": f"{BOOT}/mm{arch.efi}.efi",
    }


def vendor(prefix: str) -> str:
    """Return the vendor's directory on the ESP, from the prefix of the vendor's GRUB; empty for other prefixes."""
    match = re.fullmatch(r"/EFI/([A-Za-z0-9][A-Za-z0-9._-]*)/?", prefix)
    return match.group(1) if match else ""


def stubs(of_vendor: str) -> t.List[str]:
    """Return each place where a signed GRUB looks for its configuration: its own directory and its vendor's.

    Some look in only one, others in both, in different order (docs/facts.md: signed-grub-stub).
    """
    return [f"{BOOT}/grub.cfg", f"EFI/{of_vendor}/grub.cfg"]


def missing_modules(
    modules: t.AbstractSet[str], *, luks_type: str, hash: str, filesystem: str
) -> t.List[str]:
    """Return the modules that a signed GRUB with *modules* lacks for this disk; under Secure Boot it loads no more."""
    needed = cfg.needed(luks_type=luks_type, hash_name=hash, filesystem=filesystem)
    return sorted({*needed, *cfg.SIGNED} - modules)


def make(
    arch: Architecture,
    programs: t.Mapping[str, t.Tuple[str, bytes]],
    *,
    kernels: t.Mapping[str, bytes],
    header: t.Mapping[str, str],
    stub: str,
) -> t.Tuple[t.Dict[str, bytes], t.AbstractSet[str]]:
    """Return the files of the ESP, and the modules of the signed GRUB; raise an error if they would not boot.

    *programs* are shim, grub and optionally mok_manager, each with its path in the image; *header* has luks_type, hash
    and filesystem. fbx64.efi is omitted: shim would start it instead of GRUB, and it restarts a machine with a TPM.
    """
    for name, (path, data) in programs.items():
        if not data:
            raise SealedRootError(
                f"the image has no {path}, its signed {name}: install the package that brings it"
            )
    for path, data in programs.values():
        _refuse_unsigned(path, data, sbat=True)
    path, data = programs["grub"]
    core = core_image.parse(data)
    if core is None or not vendor(core.prefix):
        reason = f"its prefix is '{core.prefix}'" if core else "it is another program"
        raise SealedRootError(
            f"{path} is not the GRUB that a distribution signs for installed systems ({reason}): install"
            " the package with the signed GRUB again"
        )
    lost = missing_modules(core.modules, **header)
    if lost:
        raise SealedRootError(
            f"the signed GRUB {path} has no {', '.join(lost)}, and under Secure Boot it loads no module:"
            " set image_luks and image_filesystem to what it reads (LUKS1 with sha256 on ext4 is in every"
            " one), take a root with a newer signed GRUB, or do not set image_secure_boot"
        )
    for path, data in kernels.items():
        _refuse_unsigned(path, data, sbat=False)
    where = places(arch)
    files = {where[name]: data for name, (_path, data) in programs.items()}
    files.update((name, stub.encode("ascii")) for name in stubs(vendor(core.prefix)))
    return files, core.modules


def _refuse_unsigned(path: str, data: bytes, *, sbat: bool) -> None:
    wrong = pe.problems(path, data, sbat=sbat)
    if wrong:
        raise SealedRootError(
            f"{'; '.join(wrong)}, so Secure Boot would not start it: install what the distribution"
            " signed, remove it if it is not needed, or do not set image_secure_boot"
        )


__all__ = ("make", "missing_modules", "places", "stubs", "vendor")
