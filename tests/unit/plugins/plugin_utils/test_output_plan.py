# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of an image that is there already."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.plugin_utils._output_plan import (
    SPARE_BYTES,
    Output,
    plan,
)

WAS = {"size": 1, "luks": {}, "uuid": "u"}
WHOLE = {
    "exists": True,
    "intact": True,
    "problem": "",
    "other_inputs": [],
    "free_bytes": 0,
    "manifest": {"inputs": WAS},
}
NONE = {**WHOLE, "exists": False, "intact": False, "manifest": None}
OUTPUT = Output(
    published=WHOLE,
    inputs=WAS,
    directory="/out/web-1",
    work_dir="/work/web-1",
    free=SPARE_BYTES + 3001,
    unpacked=1000,
    formats=["qcow2", "vhd"],
    replace=False,
    together=True,
    collected=False,
)


@pytest.mark.parametrize(
    ("published", "change", "same", "says"),
    [
        (NONE, {}, False, ""),
        ({}, {}, True, ""),
        ({}, {"inputs": {**WAS, "size": 2}}, False, "made from other inputs (size): remove it,"),
        # One that is given no more, and one that was not.
        ({}, {"inputs": {"size": 1, "luks": {}}}, False, "made from other inputs (uuid):"),
        ({}, {"inputs": {**WAS, "boot_key": "given"}}, False, "other inputs (boot_key):"),
        # Those that are secrets are compared elsewhere.
        (
            {"other_inputs": ["recovery"]},
            {},
            False,
            "made from other inputs (recovery): remove it,",
        ),
        (
            {"other_inputs": ["boot_key"]},
            {"inputs": {**WAS, "size": 2}},
            False,
            "/out/web-1 exists and was made from other inputs (boot_key, size):",
        ),
        ({"other_inputs": ["boot_key"]}, {"replace": True}, False, ""),
        # What is wrong with the files says the module, and nothing else is said then.
        (
            {"intact": False, "problem": "It is broken."},
            {"inputs": {**WAS, "size": 2}},
            False,
            "It is broken.",
        ),
        ({"intact": False, "problem": "It is broken."}, {"replace": True}, False, ""),
        # Of another hand than ours.
        ({"manifest": {}}, {}, False, "from other inputs (all)"),
        ({"manifest": {"inputs": None}}, {}, False, "from other inputs (all)"),
        ({"manifest": None}, {}, False, "from other inputs (all)"),
        ({}, {"free": 0}, True, ""),
    ],
)
def test_an_image_that_may_be_there(
    published: dict[str, t.Any], change: dict[str, t.Any], same: bool, says: str
) -> None:
    output = dataclasses.replace(OUTPUT, published={**WHOLE, **published}, **change)
    found = plan(output)
    assert found["same"] is same
    assert len(found["problems"]) == bool(says)
    assert says in " ".join(found["problems"])


WORK = ["/work/web-1 has room for {}, but building this image needs {} there"]
PUBLISHED = ["/out/web-1 has room for {}, but building this image needs {} there"]


@pytest.mark.parametrize(
    ("together", "collected", "free", "there", "lacking"),
    [
        # The disk and two formats in one file system, whatever is said of the other.
        (True, False, 3001, 0, []),
        (True, False, 3000, 9000, WORK),
        # The formats are in another one.
        (False, False, 1001, 2001, []),
        (False, False, 1000, 2001, WORK),
        (False, False, 1001, 2000, PUBLISHED),
        (False, False, 1000, 2000, [*WORK, *PUBLISHED]),
        # They are made beside the disk, and go to another machine at the end.
        (False, True, 3001, 2001, []),
        (False, True, 3000, 2001, WORK),
        (False, True, 3001, 2000, PUBLISHED),
    ],
)
def test_where_there_is_no_room(
    together: bool, collected: bool, free: int, there: int, lacking: list[str]
) -> None:
    output = dataclasses.replace(
        OUTPUT,
        published={**NONE, "free_bytes": SPARE_BYTES + there},
        free=SPARE_BYTES + free,
        together=together,
        collected=collected,
    )
    found = plan(output)["problems"]
    said = [it.format("256.00 MB", "256.00 MB") for it in lacking]
    assert [it.split(":")[0] for it in found] == said
    options = [it.rpartition(" ")[2] for it in found]
    chosen = {WORK[0]: "image_work_dir.", PUBLISHED[0]: "image_output_dir."}
    assert options == [chosen[it] for it in lacking]
