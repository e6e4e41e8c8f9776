# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""build_teardown's own decisions; releasing and finding have their own tests."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import (
    holds as build_holds,
    lease,
    release,
)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> dict[str, build_holds.Holds]:
    """What each directory holds; released directories are taken out."""
    holds: dict[str, build_holds.Holds] = {}
    monkeypatch.setattr(build_holds, "find", lambda path: holds.get(path, build_holds.Holds()))
    monkeypatch.setattr(release, "release", lambda _runner, path: holds.pop(path))
    return holds


def test_release_and_remove(
    held: dict[str, build_holds.Holds], tmp_path: pathlib.Path, run_module: t.Any
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    (one / "disk.raw").touch()
    held[str(two)] = build_holds.Holds(mappings=("m",))
    predicted = run_module("build_teardown", _check=True, work_dir=[str(one), str(two)])
    assert predicted["released"] == [f"directory {one}", "mapping m"]
    assert one.exists()
    assert held
    outcome = run_module("build_teardown", work_dir=[f"{one}/", str(two)])
    assert outcome["released"] == predicted["released"]
    assert not one.exists()
    assert not held
    assert run_module("build_teardown", work_dir=[str(one)])["changed"] is False


def test_foreign_files_stay_but_holds_go(
    held: dict[str, build_holds.Holds], tmp_path: pathlib.Path, run_module: t.Any
) -> None:
    (tmp_path / "thesis").touch()
    held[str(tmp_path)] = build_holds.Holds(nodes=("/dev/mapper/x",))
    outcome = run_module("build_teardown", work_dir=[str(tmp_path)])
    assert outcome.failed
    assert "'thesis' in it" in outcome["msg"]
    assert not held
    assert (tmp_path / "thesis").exists()


def test_all_are_checked_before_anything_is_touched(
    held: dict[str, build_holds.Holds], tmp_path: pathlib.Path, run_module: t.Any
) -> None:
    (tmp_path / "w").mkdir()
    outcome = run_module("build_teardown", work_dir=[str(tmp_path / "w"), "/usr"])
    assert outcome.failed
    assert (tmp_path / "w").exists()


def test_a_build_that_is_at_work_is_left_alone(
    held: dict[str, build_holds.Holds], tmp_path: pathlib.Path, run_module: t.Any
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for directory in (one, two):
        directory.mkdir()
    build = lease.Owner("1234", "process 7 of anna on ci-1")
    with lease.excluded(str(two), build):
        for more in ({}, {"_check": True}):
            outcome = run_module("build_teardown", work_dir=[str(one), str(two)], **more)
            assert outcome.failed
            assert f"{two} is being built by process 7 of anna on ci-1 since" in outcome["msg"]
        # Nor is the other one.
        assert one.exists()
        assert not run_module("build_teardown", work_dir=[str(one)], force=False).failed
        assert not run_module("build_teardown", work_dir=[str(two)], lease="1234").failed
    assert not two.exists()
    two.mkdir()
    with lease.excluded(str(two), build):
        assert not run_module("build_teardown", work_dir=[str(two)], force=True).failed
    assert not two.exists()
