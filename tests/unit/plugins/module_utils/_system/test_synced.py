# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is on the disk, and what is left where it could not be written."""

from __future__ import annotations

import os
import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system import synced


def test_a_new_file_is_on_the_disk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: asked.append(os.fstat(handle).st_ino))
    path = tmp_path / "it"
    synced.write_new(str(path), b"content", 0o604, is_output=False)
    synced.sync(str(tmp_path))
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"content", 0o604)
    assert asked == [path.stat().st_ino, tmp_path.stat().st_ino]


def test_what_is_there_stays(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("other")
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "link"):
        with pytest.raises(FileExistsError):
            synced.write_new(str(tmp_path / name), b"content", 0o600, is_output=False)
    assert (tmp_path / "file").read_text() == "other"
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


def test_nothing_half_written_is_left(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left"):
        synced.write_new(str(tmp_path / "it"), b"content", 0o600, is_output=False)
    assert os.listdir(tmp_path) == []
