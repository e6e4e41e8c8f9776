# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a container may be."""

from __future__ import annotations

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
