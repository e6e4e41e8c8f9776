# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""root_tar with real trees: what comes out of its tar is compared with what went in."""

from __future__ import annotations

import hashlib
import os
import pathlib
import stat
import subprocess
import typing as t

import pytest
from whole_tree import fill, survived, unpacked

Module = t.Callable[..., dict[str, t.Any]]


def run(*argv: str | pathlib.Path) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    top = fill(tmp_path / "root")
    (top / "etc/os-release").touch()
    return top


def test_everything_survives_but_what_belongs_to_the_machine(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    args = {"path": str(root), "cache_dir": str(tmp_path / "cache")}
    planned = real_module("root_tar", type="directory", _check=True, **args)
    assert planned["changed"]
    assert not (tmp_path / "cache").exists()
    first = real_module("root_tar", type="directory", **args)
    assert (first.get("msg"), first["changed"], first["path"]) == (None, True, planned["path"])
    assert stat.S_IMODE(os.stat(first["path"]).st_mode) == 0o600
    other = unpacked(first["path"], tmp_path / "other")
    survived(root, other)
    assert not list((tmp_path / "cache").glob("*.scratch"))


def test_it_is_packed_again_only_after_a_change_and_then_the_same_way(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    (root / "var/lib/sparse").unlink()
    args = {"path": str(root), "cache_dir": str(tmp_path / "cache")}
    first = real_module("root_tar", type="directory", **args)
    again = real_module("root_tar", type="directory", **args)
    assert (again["changed"], again["path"]) == (False, first["path"])
    digest = hashlib.sha256(pathlib.Path(first["path"]).read_bytes()).hexdigest()
    os.unlink(first["path"])
    assert real_module("root_tar", type="directory", **args)["path"] == first["path"]
    assert hashlib.sha256(pathlib.Path(first["path"]).read_bytes()).hexdigest() == digest
    # The same size and the same time: only the time of change tells it.
    times = (root / "etc/note").stat()
    (root / "etc/note").write_text("y")
    os.utime(root / "etc/note", ns=(times.st_atime_ns, times.st_mtime_ns))
    os.utime(first["path"], (1, 1))
    changed = real_module("root_tar", type="directory", **args)
    assert changed["changed"]
    assert changed["path"] != first["path"]
    assert not os.path.exists(first["path"])


def test_a_mounted_file_system_is_packed_or_not_as_it_is_said(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    point = root / "a boot"
    point.mkdir()
    run("mount", "-t", "tmpfs", "none", point)
    try:
        (point / "vmlinuz").write_text("kernel")
        args = {"path": str(root), "cache_dir": str(tmp_path / "cache")}
        refused = real_module("root_tar", type="directory", **args)
        assert "other file systems are mounted (a boot): set submounts" in refused["msg"]
        assert not (tmp_path / "cache").exists()
        tars = {
            how: real_module("root_tar", type="directory", submounts=how, **args)["path"]
            for how in ("include", "leave_out")
        }
    finally:
        run("umount", point)
    assert "./a boot/vmlinuz" in run("tar", "-tf", tars["include"])
    assert "./a boot/vmlinuz" not in run("tar", "-tf", tars["leave_out"])
    assert "./a boot/\n" in run("tar", "-tf", tars["leave_out"])


@pytest.mark.parametrize(
    ("path", "cache", "says"),
    [
        ("/", "cache", "is the root that the builder runs from"),
        ("gone", "cache", "does not exist on the builder"),
        ("root", "root/cache", "the tar would be packed into itself"),
    ],
    ids=["running", "gone", "inside"],
)
def test_what_is_refused(
    path: str,
    cache: str,
    says: str,
    root: pathlib.Path,
    tmp_path: pathlib.Path,
    real_module: Module,
) -> None:
    place, where = str(tmp_path / path), tmp_path / cache
    outcome = real_module("root_tar", type="directory", path=place, cache_dir=str(where))
    assert outcome["failed"]
    assert says in outcome["msg"]
    assert not where.exists()
    assert root.exists()


def test_a_directory_that_changes_meanwhile_gives_no_tar(
    root: pathlib.Path, tmp_path: pathlib.Path, real_module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.sealedroot.image.plugins.module_utils._source import tree_tar

    pack = tree_tar.pack

    def slow(*args: t.Any) -> None:
        pack(*args)
        (root / "etc/note").write_text("z")

    monkeypatch.setattr(tree_tar, "pack", slow)
    outcome = real_module(
        "root_tar", type="directory", path=str(root), cache_dir=str(tmp_path / "cache")
    )
    assert "changed while it was read" in outcome["msg"]
    assert [it.suffix for it in (tmp_path / "cache").iterdir()] == [".lock"]
