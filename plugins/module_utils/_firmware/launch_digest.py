# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Launch digests: what the secure processor measures of a guest before it runs, by sev-snp-measure.

Those for SEV-ES depend on how QEMU sets registers before (docs/facts.md: sev-es-registers).
"""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

try:
    from sevsnpmeasure.guest import calc_launch_digest
    from sevsnpmeasure.sev_mode import SevMode
    from sevsnpmeasure.vcpu_types import CPU_SIGS

    IS_INSTALLED = True
except ImportError:
    IS_INSTALLED = False


def processor(vcpu_type: t.Optional[str]) -> int:
    """Return the signature of a type of processor; for none, which SEV does not measure, 0."""
    if vcpu_type is None:
        return 0
    if vcpu_type not in CPU_SIGS:
        raise SealedRootError(
            f"sev-snp-measure knows no vcpu_type '{vcpu_type}': give one of {', '.join(CPU_SIGS)}"
        )
    found: int = CPU_SIGS[vcpu_type]
    return found


def digest(
    kind: str, firmware: str, kernel: str, *, vcpus: int, signature: int, guest_features: int
) -> str:
    """Return the launch digest of a guest, in hexadecimal: never without the kernel's hashes."""
    if not kernel:
        raise ValueError("a digest without a kernel is not one of a guest that can be trusted")
    mode = SevMode.from_str(kind)
    # No initramfs and no command line: GRUB needs none.
    found: bytes = calc_launch_digest(
        mode, vcpus, signature, firmware, kernel, "", "", guest_features
    )
    return found.hex()


__all__ = ("IS_INSTALLED", "digest", "processor")
