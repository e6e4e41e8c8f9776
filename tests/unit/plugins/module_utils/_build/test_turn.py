# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The turn of a build, on real directories."""

from __future__ import annotations

import concurrent.futures
import fcntl
import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import turn


def test_a_build_waits_for_those_beside_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "PAUSE", 0.01)
    work = tmp_path / "builds"
    assert turn.take(str(work / "a"), 2) == []
    assert (work / "a").stat().st_mode & 0o777 == 0o700
    assert turn.take(str(work / "b"), 2) == []
    assert turn.take(str(work / "c"), 2, seconds=0.05) == ["a", "b"]
    # It has its turn as long as it has its directory.
    assert turn.take(str(work / "b"), 1) == []
    # A file is no build, nor is a directory without the mark of one, or with other things in it.
    (work / ".d.lease").touch()
    (work / "lost+found").mkdir()
    (work / "notes" / "private").mkdir(parents=True)
    (work / "notes" / "a file").touch()
    (work / "a" / "private").rmdir()
    (work / "a").rmdir()
    assert turn.take(str(work / "c") + "/", 2, seconds=0) == []


def test_who_looks_for_a_turn_does_not_stop_the_others_for_ever(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "PAUSE", 0.01)
    with (tmp_path / ".turn").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert turn.take(str(tmp_path / "a"), 1, seconds=0.1) == ["another that looks for its turn"]
    assert turn.take(str(tmp_path / "a"), 1, seconds=5) == []


def test_of_many_at_once_no_more_than_asked_for_get_a_turn(tmp_path: pathlib.Path) -> None:
    names = [str(tmp_path / f"build{number}") for number in range(12)]
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:
        found = list(pool.map(lambda name: turn.take(name, 3, seconds=0.5), names))
    assert found.count([]) == 3
    assert sum(it.is_dir() for it in tmp_path.iterdir()) == 3
