# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Run GRUB's own disk, LUKS and file system code in user space: ``grub-fstest`` (docs/facts.md: grub-fstest)."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import Runner

# Far more than any key should take; a malicious header must not block the audit.
DEADLINE = 300


@dataclasses.dataclass(frozen=True)
class Reading:
    """The result of GRUB's attempt to read a file with a key."""

    content: t.Optional[str]
    slot: t.Optional[int]
    said: str


def cat(runner: Runner, *, image: str, key: bytes, name: str) -> Reading:
    """Let GRUB open the first LUKS partition of the disk *image* with *key* and read a file in it."""
    argv = [runner.find("grub-fstest", "grub2-fstest"), "-C", image, "cat", f"(crypto0){name}"]
    # GRUB reads the key at a prompt, so it ends with a newline.
    result = runner.run(argv, stdin=key + b"\n", check=False, timeout=DEADLINE)
    # GRUB prints Slot 0 opened for LUKS1, Slot "0" opened for LUKS2. The file follows.
    opened = re.search(r'Slot "?(\d+)"? opened\n', result.stdout)
    errors = [line for line in result.stderr.splitlines() if "error:" in line]
    return Reading(
        content=result.stdout[opened.end() :] if opened and result.rc == 0 else None,
        slot=int(opened.group(1)) if opened else None,
        said="; ".join(errors) or result.stderr.strip() or "nothing",
    )


__all__ = ("DEADLINE", "Reading", "cat")
