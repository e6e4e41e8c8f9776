# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Whether the keys of a machine can be exchanged, and where the new one is meanwhile. Pure."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._build import image_files
from ansible_collections.sealedroot.image.plugins.module_utils._luks import key_plan


def plan(root: t.Mapping[str, t.Any], keep_slots: t.Iterable[int], name: str) -> t.Dict[str, t.Any]:
    """Return *problems*, sentences, and *spare_slot*; *root* is what `encrypted_root_info` says of a machine."""
    kept, own = set(map(int, keep_slots)), int(root["key_slot"])
    problems = []
    if own in kept:
        problems.append(
            f"The key that {name} unlocks itself with is in slot {own}, which rotate_keep_slots leaves alone, so it"
            f" would stay valid. Take {own} out of rotate_keep_slots."
        )
    # The highest one: an interrupted rotation finds the same one again.
    used = {own, *kept, *image_files.SLOTS.values()}
    spare = [slot for slot in range(key_plan.MAX_SLOTS[root["type"]]) if slot not in used]
    if not spare:
        problems.append(
            f"The new key of {name} needs a slot beside the old one, and rotate_keep_slots leaves none. Take one out of"
            " rotate_keep_slots."
        )
    return {"problems": problems, "spare_slot": max(spare, default=-1)}


__all__ = ("plan",)
