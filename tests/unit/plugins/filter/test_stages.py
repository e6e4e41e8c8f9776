# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""When an image reached its stages, and how long each took."""

from __future__ import annotations

import re

from ansible_collections.sealedroot.image.plugins.filter.stages import reached, took


def test_a_stage_is_added_and_the_others_stay() -> None:
    before = {"source": "2026-01-02T03:04:05.678Z"}
    after = reached(before, "disk")
    assert list(after) == ["source", "disk"]
    assert after["source"] == before["source"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", after["disk"])
    assert list(before) == ["source"]


def test_the_manifest_has_no_time_at_which_a_key_was_made() -> None:
    stages = {
        "source": "2026-01-02T23:59:58.900Z",
        "audit": "2026-01-03T00:01:08.100Z",
        "disk": "2026-01-03T00:00:08.000Z",
    }
    assert took(stages) == {"disk": 9, "audit": 60}
    assert took({"source": stages["source"]}) == took({}) == {}
