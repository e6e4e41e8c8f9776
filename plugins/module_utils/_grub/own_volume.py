# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""How GRUB knows this image's own volume from one that a host gives for it: pure.

GRUB opens any volume that has the UUID, also by a passphrase that the host types, and what it reads there it runs. A
key that GRUB had from a TPM or from a launch secret can still be in its memory then. So the volume has a file of random
bytes, and the core image, which is measured, has their checksum (docs/facts.md: grub-hashsum).
"""

from __future__ import annotations

import hashlib
import re
import typing as t

# Where core images have their sources, in GRUB's directory.
SOURCES = "sealedroot"
# The file there, and its checksum in the memdisk.
FILE, CHECKSUM = "own_volume", "own_volume.sha256"
BYTES = 32
MODULES = ("gcry_sha256", "hashsum")
_LINE = re.compile(rf"[0-9a-f]{{64}}  {FILE}\n")


def checksum(content: bytes) -> str:
    """Return the line for GRUB's hashsum."""
    return f"{hashlib.sha256(content).hexdigest()}  {FILE}\n"


def is_checksum(text: str) -> bool:
    """Say whether this is such a line, and nothing else: GRUB compares as many files as there are lines."""
    return bool(_LINE.fullmatch(text))


def checked(menu: t.Sequence[str], *, prefix: str) -> t.List[str]:
    """Return lines that go on to the *menu* only if the volume has the file below GRUB's *prefix*."""
    check = f"hashsum --hash sha256 --check (memdisk)/{CHECKSUM} --prefix {prefix}/{SOURCES}"
    return [
        f"if {check}; then",
        *(f"  {line}" for line in menu),
        "fi",
        'echo "The volume is not this image\'s own."',
        "sleep 3",
        "halt",
    ]


__all__ = ("BYTES", "CHECKSUM", "FILE", "MODULES", "SOURCES", "checked", "checksum", "is_checksum")
