# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""No control character of an image reaches a terminal or a report."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit.reports import Report
from ansible_collections.sealedroot.image.plugins.module_utils._build import bom
from ansible_collections.sealedroot.image.plugins.module_utils._etc import os_release
from ansible_collections.sealedroot.image.plugins.module_utils._system import printable
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    Result,
    SealedRootError,
)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Zürich 東京 \U0001f600", "Zürich 東京 \U0001f600"),
        ("two\n\tlines", "two\n\tlines"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("\x9b31m\x7f\r", "\\x9b31m\\x7f\\x0d"),
        # A byte that is no UTF-8, and what turns the direction of a line around.
        ("a\udcffb", "a\\xffb"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
    ],
)
def test_what_is_shown(said: str, shown: str) -> None:
    assert printable.text(said) == shown
    assert str(SealedRootError(said)) == shown


def test_a_message_has_an_end() -> None:
    said = str(SealedRootError("first " + "\x1b" * 100_000 + " last"))
    assert (said[:10], said[-5:], len(said) < 40_000) == ("first \\x1b", " last", True)


def test_all_of_a_result() -> None:
    value = {"a\x1b": ["\x1b", ("x", 1, None, True, 2.5)], "b": {"c": "\x9b"}}
    shown = {"a\\x1b": ["\\x1b", ["x", 1, None, True, 2.5]], "b": {"c": "\\x9b"}}
    assert printable.result(value) == shown


def test_what_a_tool_says_of_an_image() -> None:
    error = CommandError(["tar", "\x1b"], Result(2, "", "\x1b]0;x\x07: not found"))
    assert str(error) == "'tar \\x1b' failed with exit status 2: \\x1b]0;x\\x07: not found"


def test_what_is_published() -> None:
    release = os_release.parse_os_release('ID=debian\nPRETTY_NAME="a\x1b[2Jb"\n')
    assert release["PRETTY_NAME"] == "a\\x1b[2Jb"
    uuid = "11111111-2222-4333-8444-555555555555"
    bill = bom.bill("deb", ["x\x1b 1\x9b amd64", "\udcff 1"], release, image_uuid=uuid)
    assert str(bill).isprintable()
    report = Report()
    report.add("esp", ["EFI/\x1b[2J is too many"], "")
    report.facts["kernels"] = ["6.1\x9b"]
    assert "\x1b" not in str(report.outcome()) + report.failed()[0].detail
    assert report.outcome()["facts"] == {"kernels": ["6.1\\x9b"]}
