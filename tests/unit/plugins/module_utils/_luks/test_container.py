# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a container may be."""

from __future__ import annotations

import os
import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import container
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


@pytest.fixture
def disk(tmp_path: pathlib.Path) -> str:
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(1 << 20)
    return str(path)


@pytest.mark.parametrize(
    ("offset", "size", "words"),
    [
        (-512, 0, "whole 512-byte sectors"),
        (0, -512, "whole 512-byte sectors"),
        (100, 0, "whole 512-byte sectors"),
        (512, 1000, "whole 512-byte sectors"),
        (512, 1 << 20, "ends at 1048576 bytes"),
        (2 << 20, 0, "ends at 1048576 bytes"),
    ],
)
def test_regions_that_cannot_be(disk: str, offset: int, size: int, words: str) -> None:
    with pytest.raises(SealedRootError, match=words):
        container.check(disk, offset, size)


def test_paths_that_cannot_be(tmp_path: pathlib.Path) -> None:
    with pytest.raises(SealedRootError, match="does not exist"):
        container.check(str(tmp_path / "none"), 0, 0)
    for path in (str(tmp_path), "/dev/null"):
        with pytest.raises(SealedRootError, match="neither a file nor a block device"):
            container.check(path, 0, 0)


def test_a_region_in_the_file(disk: str) -> None:
    container.check(disk, 0, 0)
    container.check(disk, 512, (1 << 20) - 512)


def test_a_lock_keeps_a_second_one_waiting(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "disk"
    path.touch()
    with (
        container.locked(str(path)),
        pytest.raises(SealedRootError, match=r"locked by another program for 0\.2 seconds"),
        container.locked(str(path), seconds=0.2),
    ):
        pass
    with container.locked(str(path), seconds=0):
        pass


@pytest.fixture
def key(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "a.key"
    path.write_bytes(b"secret")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_private_key_file_is_taken(key: pathlib.Path, mode: int) -> None:
    key.chmod(mode)
    container.check_key_file(str(key))


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o660])
def test_a_key_file_of_others_is_refused(key: pathlib.Path, mode: int) -> None:
    key.chmod(mode)
    with pytest.raises(SealedRootError, match=f"chmod 0600 {key}"):
        container.check_key_file(str(key))


def test_a_key_file_of_another_user_is_refused(
    key: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "lstat", lambda path: _Owned(os.stat(path)))
    with pytest.raises(SealedRootError, match="belongs to user 4242"):
        container.check_key_file(str(key))


class _Owned:
    """A stat result of a file that belongs to somebody else."""

    def __init__(self, info: os.stat_result) -> None:
        self.st_mode, self.st_size, self.st_uid = info.st_mode, info.st_size, 4242


def test_an_empty_key_file_is_refused(key: pathlib.Path) -> None:
    # cryptsetup would take it: the container would open with just Enter.
    key.write_bytes(b"")
    with pytest.raises(SealedRootError, match="is empty: a container would open without a key"):
        container.check_key_file(str(key))


def test_what_is_refused_has_its_name(tmp_path: pathlib.Path, key: pathlib.Path) -> None:
    """A pinned header is as private as a key, and opens nothing by itself."""
    container.check_key_file(str(key), "header file")
    key.chmod(0o644)
    with pytest.raises(SealedRootError, match=f"the header file {key} can be read by others"):
        container.check_key_file(str(key), "header file")
    key.write_bytes(b"")
    with pytest.raises(SealedRootError, match=f"the header file {key} is empty: it would open"):
        container.check_key_file(str(key), "header file")
    with pytest.raises(SealedRootError, match=r"the header file .*/none does not exist"):
        container.check_key_file(str(tmp_path / "none"), "header file")


def test_no_key_file_at_all(tmp_path: pathlib.Path, key: pathlib.Path) -> None:
    with pytest.raises(SealedRootError, match="does not exist"):
        container.check_key_file(str(tmp_path / "none"))
    with pytest.raises(SealedRootError, match="regular file"):
        container.check_key_file(str(tmp_path))
    link = tmp_path / "link"
    link.symlink_to(key)
    with pytest.raises(SealedRootError, match="regular file"):
        container.check_key_file(str(link))
