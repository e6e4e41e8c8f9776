# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Which keys an initramfs holds: the proof of a closed image, and of a machine whose key was exchanged."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils import _initrd, _secret_search
from ansible_collections.sealedroot.image.plugins.module_utils._command import Runner


def problems(
    runner: Runner, path: str, *, boot_key: bytes, others: t.Mapping[str, bytes]
) -> t.List[str]:
    """Say what is wrong with an initramfs that is to hold the boot key once, and none of *others*.

    It is unpacked beside *path*; a key may be in any of the files that it is unpacked into.
    """
    found_problems: t.List[str] = []
    count = 0
    needles = {"boot": boot_key, **{f"other {name}": key for name, key in others.items()}}
    for part in _initrd.unpack(runner, path):
        handle = os.open(part.path, os.O_RDONLY)
        try:
            found = _secret_search.offsets(handle, needles, [(0, part.end)])
        finally:
            os.close(handle)
        places = found.pop("boot", [])
        count += len(places)
        for entry in (_initrd.holder(part, place) for place in places):
            if entry is None or entry.size != len(boot_key):
                found_problems.append("the boot key is not a file of its own")
            elif entry.mode & 0o077 or entry.uid != 0:
                found_problems.append(f"{entry.name} can be read by others than root: make it 0400")
        found_problems += [f"the {label[len('other ') :]} is in it" for label in found]
    if count != 1:
        found_problems.append(
            f"it holds the boot key {count} times, not once: "
            + ("the machine would ask a second time" if count == 0 else "remove the copies")
        )
    return found_problems


__all__ = ("problems",)
