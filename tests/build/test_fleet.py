# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Six images on two builders, both this machine: what ./run fanout does with a virtual machine."""

from __future__ import annotations

import pathlib
import secrets
import subprocess
import typing as t

import fan_out
import pytest
import sshd
from builds import held


@pytest.fixture
def fleet(
    tmp_path: pathlib.Path, server: sshd.Server, root_tar: pathlib.Path
) -> t.Iterator[fan_out.Fleet]:
    tars = {fan_out.HERE: str(root_tar), fan_out.THERE: str(root_tar)}
    yield fan_out.Fleet(
        tmp_path, there=server.variables(), tars=tars, at_once={fan_out.HERE: 2, fan_out.THERE: 1}
    )
    assert held(pathlib.Path(fan_out.WORK)) == []


@pytest.mark.long
def test_a_fleet_with_one_image_that_cannot_be(
    fleet: fan_out.Fleet, tmp_path: pathlib.Path
) -> None:
    first = fleet.build(broken=True)
    assert first.rc != 0
    assert fleet.sealed() == [name for name in fleet.images if name != fan_out.BROKEN], first.output
    assert "GRUB" in first.output
    assert fleet.retry.read_text().split() == [fan_out.BROKEN]
    # Both builders are this machine, so all five are beside each other in one directory of builds.
    assert fleet.at_once("") <= 2

    before = {name: fleet.manifest(name)["created"] for name in fleet.sealed()}
    second = fleet.build(f"--limit=@{fleet.retry}", broken=False)
    assert second.rc == 0, second.output
    assert fleet.sealed() == fleet.images
    assert second.recap("here-1") == {}
    third = fleet.build(broken=False)
    assert third.rc == 0
    assert [third.recap(name)["changed"] for name in fleet.images] == [0] * 6
    assert (
        before.items() <= {name: fleet.manifest(name)["created"] for name in fleet.images}.items()
    )

    left = fleet.keys_left(here, places=places(tmp_path))
    assert left == []
    assert fan_out.summary(fleet, first, left) == (
        "fanout: 5 sealed, 1 refused, 0 keys left on builders"
    )


def places(path: pathlib.Path) -> list[str]:
    """All places but those where other tests build: the search would hold what they have to release."""
    return [str(path), *(it for it in fan_out.PLACES if it != "/tmp")]


def here(_builder: str, line: str, data: bytes) -> str:
    """Run a line on a builder, of which both are this machine."""
    return subprocess.run(
        ["sh", "-c", line], input=data, capture_output=True, check=True
    ).stdout.decode()


def test_a_key_that_is_left_is_found(fleet: fan_out.Fleet, tmp_path: pathlib.Path) -> None:
    """The search itself can fail."""
    image = fleet.out / "here-1"
    image.mkdir(parents=True)
    (image / "manifest.json").write_text('{"audit": {"checks": [{"verdict": "ok"}]}}')
    for name in ("boot", "recovery"):
        (image / f"{name}.key").write_text(secrets.token_hex())
    (tmp_path / "forgotten").write_bytes(b"\0" + (image / "boot.key").read_bytes() + b"\0")
    assert fleet.keys_left(here, places=places(tmp_path)) == [
        f"{builder}: {tmp_path}/forgotten" for builder in (fan_out.HERE, fan_out.THERE)
    ]
