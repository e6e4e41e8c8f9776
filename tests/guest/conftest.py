# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests on a kernel with device-mapper and udev share; tests/vm runs them in the builder VM."""

from __future__ import annotations

import pathlib
import shutil
import tempfile
import typing as t

import pytest
from guest_disk import Disk, sh


@pytest.fixture(scope="session", autouse=True)
def _device_mapper() -> None:
    """Without it these tests would prove nothing."""
    sh("dmsetup", "version")
    assert pathlib.Path("/run/udev/control").exists(), "udev does not run here"


@pytest.fixture
def disks() -> t.Iterator[t.Callable[..., Disk]]:
    """Makes disks; a test that leaves anything open fails."""
    # Where builds work: teardown looks nowhere else.
    base = pathlib.Path(tempfile.mkdtemp(prefix="guest-", dir="/var/tmp"))
    made: list[Disk] = []

    def make(name: str = "a, ü", type: str = "luks1") -> Disk:
        made.append(Disk(base / name, type))
        return made[-1]

    yield make
    left = [disk.held() for disk in made]
    for disk in made:
        disk.clean()
    shutil.rmtree(base)
    assert left == [[] for _ in made]


@pytest.fixture(params=["luks1", "luks2"])
def disk(request: pytest.FixtureRequest, disks: t.Callable[..., Disk]) -> Disk:
    """One disk for each type of LUKS."""
    return disks(type=request.param)
