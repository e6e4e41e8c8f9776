# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""root_info on trees: it sees in a directory what root_tar_info sees in a tar of it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import typing as t

import distribution_trees as trees
import pytest
from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule
from ansible_collections.sealedroot.image.plugins.modules import root_info, root_tar_info
from distribution_tools import Here

PARAMS: dict[str, t.Any] = {
    "families": LookupModule().run([]),
    "filesystem": "ext4",
    "secure_boot": None,
}


def from_tar(root: pathlib.Path, **more: t.Any) -> dict[str, t.Any]:
    tar = root.parent / "root.tar"
    subprocess.run(["tar", "-C", str(root), "--sort=name", "-cf", str(tar), "."], check=True)
    asked = {**PARAMS, "path": str(tar), "digest": None, "get_checksum": False, **more}
    return root_tar_info.inspect(Here(), asked)


@pytest.mark.parametrize("it", trees.ALL, ids=lambda it: it.name)
@pytest.mark.parametrize("signed", [False, True], ids=["", "secure-boot"])
def test_it_sees_what_is_in_a_tar(it: trees.Distribution, signed: bool, tmp_path) -> None:
    root = trees.make(it, tmp_path / "root")
    (root / "swapfile").write_text("x" * 5000)
    (root / "etc/a\\b").touch()
    os.link(root / "etc/os-release", root / "etc/os-release-too", follow_symlinks=False)
    (root / "dev-of-its-own").mkdir()
    header = {"luks_type": "luks1", "hash": "sha256", "filesystem": "ext4"} if signed else None
    there = from_tar(root, secure_boot=header)
    here = root_info.look(str(root), {**PARAMS, "secure_boot": header})
    # The tar has an entry for the root itself, and spells names as ./name.
    assert here.pop("entries") == there.pop("entries") - 1
    # Not what the tar itself is.
    for name in ("path", "compression", "sha256"):
        there.pop(name)
    assert abs(here.pop("unpacked_bytes") - there.pop("unpacked_bytes")) <= 8192
    assert [f"./{name}" for name in here.pop("excluded")] == there.pop("excluded")
    assert here == there


def test_a_root_that_lacks_something(tmp_path) -> None:
    it = next(it for it in trees.ALL if it.family == "redhat")
    root = trees.make(it, tmp_path / "root")
    (root / "usr/bin/dracut").unlink()
    assert root_info.look(str(root), PARAMS)["missing_packages"] == ["dracut"]


def test_what_is_mounted_below_is_not_of_the_root(tmp_path, monkeypatch) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/1").touch()
    (tmp_path / "etc").mkdir()
    real = os.lstat

    def lstat(path: t.Any) -> os.stat_result:
        info = list(real(path))
        if str(path).endswith("/proc"):
            info[2] += 1
        return os.stat_result(info)

    monkeypatch.setattr(os, "lstat", lstat)
    assert [member.name for member in root_info.members(str(tmp_path))] == ["etc"]


@pytest.mark.parametrize(
    ("versions", "newest"),
    [(["6.1.0-9-amd64", "6.1.0-10-amd64", "6.1.0-2-cloud-amd64"], "6.1.0-10-amd64"), ([], "")],
)
def test_the_newest_kernel(versions: list[str], newest: str) -> None:
    assert root_info.newest(versions) == newest
