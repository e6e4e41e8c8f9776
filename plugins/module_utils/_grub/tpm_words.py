# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What whoever seals a key in a TPM should know of that TPM and of the registers: pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._grub import tpm_program

_PROPERTY = re.compile(
    r"^TPM2_PT_(MANUFACTURER|VENDOR_STRING_[1-4]):\n +raw: 0x([0-9a-fA-F]{1,8})$", re.MULTILINE
)
# docs/facts.md: tpm-maker
_SWTPM = ("IBM", "SW TPM")
_FIRMWARE = (0, 2)


def maker(properties: str) -> t.Tuple[str, str]:
    """Return the manufacturer and the vendor's string, as the TPM gives them to tpm2_getcap; '' for none."""
    found = {name: bytes.fromhex(raw.zfill(8)) for name, raw in _PROPERTY.findall(properties)}
    vendor = b"".join(found.get(f"VENDOR_STRING_{number}", b"") for number in range(1, 5))
    return _text(found.get("MANUFACTURER", b"")), _text(vendor)


def said(properties: str, pcrs: t.Sequence[int]) -> t.List[str]:
    """Return sentences on a TPM that says these *properties* of itself, and on what it compares."""
    manufacturer, vendor = maker(properties)
    if not manufacturer:
        found = ["The TPM does not say who made it."]
    else:
        found = [f"The TPM says that {manufacturer} made it ({vendor or 'it says no more'})."]
    if (manufacturer, vendor) == _SWTPM:
        found.append(
            "That is what swtpm says, a program, and whoever runs that has the key, such as the host."
        )
    else:
        found.append("That proves nothing, and whoever runs the TPM has the key.")
    computed = [it for it in pcrs if it in tpm_program.NEEDED_PCRS]
    taken = [it for it in pcrs if it not in computed]
    found.append(
        f"It compares {_listed(computed)} with what they are when this root's GRUB asks for the key."
    )
    if taken:
        found.append(f"It compares {_listed(taken)} with what is there now, whatever that is.")
    left = [it for it in _FIRMWARE if it not in pcrs]
    if left:
        found.append(
            f"It does not compare {_listed(left)}, so other firmware and drivers of the host's can have the key."
        )
    return found


def _listed(numbers: t.Sequence[int]) -> str:
    texts = [str(it) for it in numbers]
    return f"register{'s' if len(texts) > 1 else ''} {', '.join(texts)}"


def _text(data: bytes) -> str:
    """Return the words in what the TPM says, which a host can have written."""
    printable = "".join(chr(it) if 0x20 <= it < 0x7F else " " for it in data)
    return " ".join(printable.split())


__all__ = ("maker", "said")
