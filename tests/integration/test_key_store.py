# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""key_store with a real tmpfs; looked at with findmnt and the kernel's own list."""

from __future__ import annotations

import base64
import json
import os
import pathlib
import subprocess
import typing as t

import pytest

Module = t.Callable[..., dict[str, t.Any]]


def sh(*argv: str | os.PathLike[str], check: bool = True) -> str:
    return subprocess.run(argv, check=check, capture_output=True, text=True, timeout=60).stdout


def mounts(path: pathlib.Path) -> list[dict[str, str]]:
    columns = "TARGET,FSTYPE,OPTIONS,SIZE"
    text = sh(
        "findmnt", "--json", "--bytes", "--output", columns, "--mountpoint", path, check=False
    )
    found: list[dict[str, str]] = json.loads(text)["filesystems"] if text else []
    return found


@pytest.fixture
def path(tmp_path: pathlib.Path) -> t.Iterator[pathlib.Path]:
    it = tmp_path / "a store"
    yield it
    while mounts(it):
        sh("umount", it)


def test_the_directories_of_a_build_are_for_nobody_else(
    path: pathlib.Path, real_module: Module
) -> None:
    """The open root is mounted beside the keys, and other users of the builder must not reach it."""
    umask = os.umask(0o022)
    try:
        real_module("key_store", path=str(path / "web-1" / "private"))
    finally:
        os.umask(umask)
    try:
        assert (path / "web-1").stat().st_mode & 0o777 == 0o700
        assert path.stat().st_mode & 0o777 == 0o700
    finally:
        real_module("key_store", path=str(path / "web-1" / "private"), state="absent")


def test_four_calls(path: pathlib.Path, real_module: Module) -> None:
    keys = [{"name": "boot.key"}, {"name": "recovery.key", "content": "correct horse battery"}]
    arguments: dict[str, t.Any] = {"path": str(path), "size": "2m", "keys": keys}
    first = real_module("key_store", _check=True, **arguments)
    assert (first["changed"], first["generated"]) == (True, ["boot.key"])
    assert not path.exists()
    second = real_module("key_store", **arguments)
    assert {**second, "invocation": 0} == {**first, "invocation": 0}
    (mount,) = mounts(path)
    options = set(mount["options"].split(","))
    assert mount["fstype"] == "tmpfs"
    assert {"nosuid", "nodev", "mode=700"} <= options
    release = tuple(int(number) for number in os.uname().release.split(".")[:2])
    assert ("noswap" in options) is (release >= (6, 4))
    assert int(mount["size"]) == 2 << 20
    modes = {
        line.split(" ", 1)[1]: line.split(" ", 1)[0]
        for line in sh("find", path, "-printf", "%m %P\n").splitlines()
    }
    assert modes == {
        "": "700",
        "keys": "700",
        "keys/boot.key": "600",
        "keys/recovery.key": "600",
        "run": "755",
    }
    key = pathlib.Path(second["files"]["boot.key"]).read_bytes()
    assert (len(key), len(base64.b64decode(key, validate=True))) == (44, 33)
    assert pathlib.Path(second["files"]["recovery.key"]).read_bytes() == b"correct horse battery"
    for check in (False, True):
        again = real_module("key_store", _check=check, **arguments)
        assert (again["changed"], again["generated"]) == (False, [])
    assert pathlib.Path(second["files"]["boot.key"]).read_bytes() == key
    for outcome in (first, second, again):
        assert "correct horse" not in str(outcome)
        assert key.decode() not in str(outcome)


def test_unmounted_it_is_forgotten(path: pathlib.Path, real_module: Module) -> None:
    arguments = {"path": str(path), "keys": [{"name": "boot.key"}]}
    key = pathlib.Path(real_module("key_store", **arguments)["files"]["boot.key"])
    first = key.read_bytes()
    assert real_module("key_store", _check=True, path=str(path), state="absent")["changed"] is True
    assert key.read_bytes() == first
    assert real_module("key_store", path=str(path), state="absent")["changed"] is True
    assert mounts(path) == []
    assert list(path.iterdir()) == []
    assert real_module("key_store", path=str(path), state="absent")["changed"] is False
    assert real_module("key_store", **arguments)["generated"] == ["boot.key"]
    assert key.read_bytes() != first


def test_through_a_symbolic_link_there_is_one_mount(
    path: pathlib.Path, real_module: Module
) -> None:
    link = path.parent / "link"
    path.mkdir()
    link.symlink_to(path)
    for given in (link, path, link):
        real_module("key_store", path=str(given), size="1m")
    assert len(mounts(path)) == 1


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_tmpfs_of_somebody_else_stays(
    path: pathlib.Path, real_module: Module, state: str
) -> None:
    path.mkdir()
    sh("mount", "-t", "tmpfs", "-o", "mode=0700,nosuid,nodev,size=1m", "tmpfs", path)
    outcome = real_module("key_store", path=str(path), state=state, keys=[{"name": "a"}])
    assert outcome["failed"] is True
    assert "another path" in outcome["msg"]
    assert len(mounts(path)) == 1
    assert list(path.iterdir()) == []


def test_a_directory_is_no_store(path: pathlib.Path, real_module: Module) -> None:
    """Keys on the disk below are not taken for the store's."""
    (path / "keys").mkdir(parents=True)
    (path / "keys" / "a").write_text("on disk")
    outcome = real_module("key_store", path=str(path), size="1m", keys=[{"name": "a"}])
    assert outcome["generated"] == ["a"]
    assert pathlib.Path(outcome["files"]["a"]).read_text() != "on disk"


def test_a_busy_store_is_not_torn_away(path: pathlib.Path, real_module: Module) -> None:
    key = real_module("key_store", path=str(path), keys=[{"name": "a"}])["files"]["a"]
    with open(key, "rb"):
        outcome = real_module("key_store", path=str(path), state="absent")
        assert outcome["failed"] is True
        assert "busy" in outcome["msg"]
    assert real_module("key_store", path=str(path), state="absent")["changed"] is True


def test_a_size_that_is_none(path: pathlib.Path, real_module: Module) -> None:
    outcome = real_module("key_store", path=str(path), size="much", keys=[{"name": "a"}])
    assert outcome["failed"] is True
    assert mounts(path) == []


def test_the_key_opens_a_container(path: pathlib.Path, real_module: Module) -> None:
    """As a file and as what is typed at a prompt: both are the same key."""
    keys = [
        {"name": "generated"},
        {"name": "given", "content": " it has ~ spaces \\ and $quotes' "},
    ]
    files = real_module("key_store", path=str(path), keys=keys)["files"]
    image = path.parent / "image"
    for file in files.values():
        image.write_bytes(b"")
        os.truncate(image, 4 << 20)
        argv = ["cryptsetup", "luksFormat", "-q", "--type", "luks1"]
        sh(*argv, "--pbkdf-force-iterations", "1000", image, file)
        typed = pathlib.Path(file).read_bytes() + b"\n"
        argv = ["cryptsetup", "open", "--test-passphrase", str(image)]
        assert subprocess.run(argv, input=typed, check=False, capture_output=True).returncode == 0
