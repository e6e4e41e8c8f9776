# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import turn


def test_it_waits_and_says_what_for(
    run_module: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "PAUSE", 0.01)
    monkeypatch.setattr(turn.take, "__defaults__", (0.05,))
    one, two = (str(tmp_path / name) for name in ("one", "two"))
    assert run_module("build_turn", work_dir=one, at_once=1, _check=True)["changed"]
    assert not pathlib.Path(one).exists()
    first = run_module("build_turn", work_dir=one, at_once=1)
    assert (first["changed"], first["waits_for"]) == (True, [])
    second = run_module("build_turn", work_dir=two, at_once=1)
    assert (second["changed"], second["waits_for"]) == (False, ["one"])
    assert run_module("build_turn", work_dir=one, at_once=1)["changed"] is False
    checked = run_module("build_turn", work_dir=two, at_once=1, _check=True)
    assert (checked["changed"], checked["waits_for"]) == (False, ["one"])
    (tmp_path / "three").touch()
    for check in (False, True):
        three = str(tmp_path / "three")
        outcome = run_module("build_turn", work_dir=three, at_once=9, _check=check)
        assert "is no directory: remove it" in outcome["msg"]


def test_none_at_once_is_refused(run_module: t.Any, tmp_path: pathlib.Path) -> None:
    outcome = run_module("build_turn", work_dir=str(tmp_path / "one"), at_once=0)
    assert outcome.failed
    assert "give 1 or more" in outcome["msg"]
