# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the keys of a machine can be exchanged, and where the new one is meanwhile."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.plugin_utils import _rotation_plan


@pytest.mark.parametrize(
    ("luks", "key_slot", "keep", "spare", "says"),
    [
        ("luks1", 0, [1], 7, ""),
        ("luks2", 0, [1], 31, ""),
        # One that is not to be touched, or opens the machine now, is not spare.
        ("luks1", 0, [1, 7], 6, ""),
        ("luks1", 7, [1], 6, ""),
        ("luks1", 0, [1, 3], 7, ""),
        # Slot 1 is the recovery key's, whether it is exchanged or not.
        ("luks1", 0, [2, 3, 4, 5, 6, 7], -1, "leaves none. Take one out of rotate_keep_slots."),
        ("luks1", 7, [1, 3, 4, 5, 6], 2, ""),
        # As on the command line of ansible-playbook.
        ("luks1", 0, ["1", "7"], 6, ""),
        ("luks1", 2, [1, 2], 7, "is in slot 2, which rotate_keep_slots leaves alone,"),
        ("luks2", 31, ["31"], 30, "Take 31 out of rotate_keep_slots."),
    ],
)
def test_where_the_new_key_is(
    luks: str, key_slot: int, keep: list[int], spare: int, says: str
) -> None:
    found = _rotation_plan.plan({"type": luks, "key_slot": key_slot}, keep, "web-1")
    assert found["spare_slot"] == spare
    assert len(found["problems"]) == bool(says)
    assert says in " ".join(found["problems"])
