# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""launch_files takes a core image from an image that may be hostile."""

from __future__ import annotations

import hashlib
import pathlib
import typing as t

import firmware
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    kernel_hashes,
    volumes,
)

Run = t.Callable[..., t.Any]
GIVEN = firmware.ovmf(front=firmware.dxe(firmware.driver(firmware.FAT, firmware.FILES, name="Fat")))


@pytest.fixture
def args(tmp_path: pathlib.Path) -> dict[str, str]:
    (tmp_path / "own").mkdir()
    (tmp_path / "own/core.efi").write_bytes(b"core")
    (tmp_path / "x.fd").write_bytes(GIVEN)
    return {
        "core": f"{tmp_path}/own/core.efi",
        "dest": f"{tmp_path}/out/launch",
        "firmware": f"{tmp_path}/x.fd",
    }


def test_what_is_written(run_module: Run, args: dict[str, str], tmp_path: pathlib.Path) -> None:
    assert run_module("launch_files", _check=True, **args)["changed"]
    assert not (tmp_path / "out").exists()
    found = run_module("launch_files", **args)
    assert found["changed"]
    assert pathlib.Path(found["core"]).read_bytes() == b"core"
    assert pathlib.Path(found["hashes"]).read_bytes() == kernel_hashes.table(b"core")
    assert found["removed"] == ["Fat"]
    assert found["given_sha256"] == hashlib.sha256(GIVEN).hexdigest()
    volumes.check(pathlib.Path(found["firmware"]).read_bytes(), "it")
    names = {path.name for path in (tmp_path / "out/launch").iterdir()}
    assert names == {"core.efi", "hashes.bin", "firmware.fd"}
    assert not run_module("launch_files", **args)["changed"]


def test_a_link_of_the_image_is_not_followed(
    run_module: Run, args: dict[str, str], tmp_path: pathlib.Path
) -> None:
    (tmp_path / "secret").write_bytes(b"of the builder")
    (tmp_path / "own/core.efi").unlink()
    (tmp_path / "own/core.efi").symlink_to(tmp_path / "secret")
    assert "is a symbolic link" in run_module("launch_files", **args)["msg"]
    (tmp_path / "own/core.efi").unlink()
    assert "cannot be read" in run_module("launch_files", **args)["msg"]
    assert not (tmp_path / "out").exists()


def test_a_firmware_that_nobody_understands(run_module: Run, args: dict[str, str]) -> None:
    pathlib.Path(args["firmware"]).write_bytes(bytes(4096))
    assert (
        "x.fd has something else than volumes, so what" in run_module("launch_files", **args)["msg"]
    )
    assert not pathlib.Path(args["dest"]).exists()
