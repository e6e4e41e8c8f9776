# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""When an image reached its stages."""

from __future__ import annotations

import re

from ansible_collections.sealedroot.image.plugins.filter.stages import reached


def test_a_stage_is_added_and_the_others_stay() -> None:
    before = {"source": "2026-01-02T03:04:05.678Z"}
    after = reached(before, "disk")
    assert list(after) == ["source", "disk"]
    assert after["source"] == before["source"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", after["disk"])
    assert list(before) == ["source"]
