# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inputs that name files: whatever else is there is refused at the first look, and nothing is opened for it."""

from __future__ import annotations

import os
import pathlib
import signal
import socket
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import published
from ansible_collections.sealedroot.image.plugins.module_utils._system import file_kind

CHECKSUM = {"checksum": f"sha256:{'0' * 64}"}


def make(kind: str, path: pathlib.Path) -> None:
    """Make what is no file."""
    if kind == "directory":
        path.mkdir()
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as it:
            it.bind(str(path))
    elif kind == "character device":
        path.symlink_to("/dev/zero")
    elif kind == "link that leads to nothing":
        path.symlink_to("nowhere")
    elif kind == "file":
        path.touch()


KINDS = {
    "directory": "is a directory, not a file",
    "FIFO": "is a FIFO, not ",
    "socket": "is a socket, not ",
    "character device": "is a character device, not ",
    "link that leads to nothing": "does not exist on the builder: correct the path",
    "nothing": "does not exist on the builder: correct the path",
}
Inputs = t.Callable[[str], tuple[str, dict[str, t.Any]]]
INPUTS: dict[str, Inputs] = {
    "tar": lambda path: ("root_info", {"path": path}),
    "disk": lambda path: ("root_tar", {"type": "disk", "path": path, "work_dir": "/nowhere/a/b"}),
    "oci": lambda path: ("root_tar", {"type": "oci", "path": path}),
    "url": lambda path: (
        "root_tar",
        {"type": "url", "work_dir": "/nowhere/a/b", "url": f"file://{path}", **CHECKSUM},
    ),
    "signature": lambda path: (
        "root_tar",
        {
            "type": "url",
            "work_dir": "/nowhere/a/b",
            "url": "https://example.org",
            "signature": path,
            "keyring": "/etc/hostname",
        },
    ),
    "keyring": lambda path: (
        "root_tar",
        {
            "type": "url",
            "work_dir": "/nowhere/a/b",
            "url": "https://example.org",
            "signature": "https://example.org",
            "keyring": path,
        },
    ),
}


@pytest.fixture(autouse=True)
def _not_for_ever() -> t.Iterator[None]:
    """Who opens a FIFO waits for ever, even for the time limit of a test that is not there."""
    signal.alarm(20)
    yield
    signal.alarm(0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", INPUTS)
@pytest.mark.parametrize("check", [False, True])
def test_an_input_that_is_no_file(
    name: str, kind: str, check: bool, tmp_path: pathlib.Path, run_module: t.Any
) -> None:
    path = tmp_path / "input"
    make(kind, path)
    module, args = INPUTS[name](str(path))
    if module != "root_info":
        args["cache_dir"] = str(tmp_path / "cache")
    outcome = run_module(module, _check=check, **args)
    assert outcome.failed
    if (name, kind) == ("oci", "directory"):  # which can have a layout in it
        assert "it has no index.json" in outcome["msg"]
    else:
        assert KINDS[kind] in outcome["msg"]
        assert "correct the path" in outcome["msg"]
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("kind", ["file", "FIFO", "socket", "character device", "nothing"])
def test_a_directory_that_is_none(kind: str, tmp_path: pathlib.Path, run_module: t.Any) -> None:
    make(kind, tmp_path / "input")
    args = {"path": str(tmp_path / "input"), "cache_dir": str(tmp_path / "cache")}
    outcome = run_module("root_tar", type="directory", **args)
    words = f"is a {kind}, not a directory" if kind != "nothing" else "does not exist"
    assert words in outcome["msg"]


def test_a_link_to_a_file_is_one(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    assert file_kind.problem(str(tmp_path / "link"), file_kind.FILE) == ""
    assert file_kind.problem(str(tmp_path), file_kind.FILE, file_kind.DIRECTORY) == ""


@pytest.mark.parametrize("kind", ["directory", "FIFO", "socket", "character device"])
def test_a_manifest_that_is_no_file(kind: str, tmp_path: pathlib.Path, runner: t.Any) -> None:
    make(kind, tmp_path / "manifest.json")
    found = published.read(runner, str(tmp_path))
    assert found["exists"]
    assert "is not whole" in found["problem"]


def test_a_manifest_that_is_nested_deeply(tmp_path: pathlib.Path, runner: t.Any) -> None:
    (tmp_path / "manifest.json").write_text("[" * 200000)
    assert "is not whole" in published.read(runner, str(tmp_path))["problem"]
