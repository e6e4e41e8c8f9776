# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Views of a disk: what QEMU is told, and what is left behind."""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import view as disk_view
from ansible_collections.sealedroot.image.plugins.module_utils._system import mounts, storage_daemon
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


def test_nothing_is_writable_and_nothing_else_is_opened() -> None:
    node = disk_view.disk_node("/a,b.qcow2", "qcow2")
    assert node == {
        "driver": "qcow2",
        "read-only": True,
        "backing": None,
        "file": {"driver": "file", "filename": "/a,b.qcow2", "read-only": True},
    }
    payload = disk_view.payload_node(node, offset=100, size=200, image_format="qcow2")
    assert payload["driver"] == "luks"
    assert payload["read-only"]
    assert payload["file"] == {
        "driver": "raw",
        "read-only": True,
        "offset": 100,
        "size": 200,
        "file": node,
    }


def test_a_raw_payload_is_on_the_file_itself() -> None:
    node = disk_view.disk_node("/disk.raw", "raw")
    assert "backing" not in node
    payload = disk_view.payload_node(node, offset=1, size=2, image_format="raw")
    assert payload["file"]["file"] == node["file"]


def test_daemon_argv() -> None:
    argv = disk_view.daemon_argv("qsd", {"driver": "raw"}, mountpoint="/w/a,b", key_file="/k,1")
    assert argv == [
        "qsd",
        "--object",
        "secret,id=key,file=/k,,1",
        "--blockdev",
        json.dumps({"node-name": "view", "driver": "raw"}),
        "--export",
        "type=fuse,id=export,node-name=view,mountpoint=/w/a,,b"
        ",writable=off,growable=off,allow-other=off",
        "--daemonize",
    ]


def test_shown(
    script: t.Any, runner: t.Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[int] = []
    view = str(tmp_path / "view")
    monkeypatch.setattr(storage_daemon, "daemons", lambda path: [7] if path == view else [])
    monkeypatch.setattr(storage_daemon, "stop", stopped.append)
    argv = disk_view.daemon_argv("qemu-storage-daemon", {"driver": "raw"}, mountpoint=view)
    script.expect(argv)
    with disk_view.shown(runner, {"driver": "raw"}, mountpoint=view) as path:
        assert path == view
        assert not stopped
    assert stopped == [7]
    assert not os.path.exists(view)


@pytest.mark.parametrize(
    ("user", "says"), [(0, r"any keyslot\.$"), (1000, r"any keyslot\. Run it as root\.$")]
)
def test_the_daemon_fails(
    script: t.Any,
    runner: t.Any,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    user: int,
    says: str,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    view = str(tmp_path / "view")
    argv = disk_view.daemon_argv("qemu-storage-daemon", {"driver": "raw"}, mountpoint=view)
    script.expect(argv, rc=1, stderr="Invalid password, cannot unlock any keyslot")
    with (
        pytest.raises(SealedRootError, match=says),
        disk_view.shown(runner, {"driver": "raw"}, mountpoint=view),
    ):
        pytest.fail("must not be reached")
    assert not os.path.exists(view)


def test_secrets_go_to_memory_only(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "type_of", lambda _path, _mounts: "ext4")
    with (
        pytest.raises(SealedRootError, match="Set work_dir"),
        disk_view.private_directory(str(tmp_path)),
    ):
        pytest.fail("must not be reached")
    monkeypatch.setattr(mounts, "type_of", lambda _path, _mounts: "tmpfs")
    with disk_view.private_directory(str(tmp_path)) as path:
        assert os.stat(path).st_mode & 0o777 == 0o700
        pathlib.Path(path, "initrd").touch()
    assert list(tmp_path.iterdir()) == []


def test_format_info(script: t.Any, runner: t.Any) -> None:
    argv = ["qemu-img", "info", "--output=json", "/disk"]
    script.expect(argv, stdout='{"format": "qcow2"}')
    assert disk_view.format_info(runner, "/disk")["format"] == "qcow2"
    script.expect(argv, rc=1, stderr="Could not open")
    with pytest.raises(SealedRootError, match="not a disk image: Could not open"):
        disk_view.format_info(runner, "/disk")


def test_a_vhd_of_fixed_size_is_told_by_its_footer(
    script: t.Any, runner: t.Any, tmp_path: pathlib.Path
) -> None:
    """To qemu-img it would be a raw disk with 512 bytes too many."""
    path = tmp_path / "disk.vhd"
    path.write_bytes(bytes(4096) + b"conectix".ljust(512, b"\0"))
    argv = ["qemu-img", "info", "--output=json", "-f", "vpc", str(path)]
    script.expect(argv, stdout='{"format": "vpc", "virtual-size": 4096}')
    info = disk_view.format_info(runner, str(path))
    assert disk_view.is_fixed_vhd(str(path), info)
    # One that says another size than it has is left to QEMU's driver.
    assert not disk_view.is_fixed_vhd(str(path), {**info, "virtual-size": 2048})
    node = disk_view.disk_node(str(path), "vpc", size=4096)
    assert (node["driver"], node["size"]) == ("raw", 4096)


@pytest.mark.parametrize("content", [b"", b"conectix", b"conectix" + bytes(600)])
def test_what_is_no_footer(tmp_path: pathlib.Path, content: bytes) -> None:
    path = tmp_path / "disk"
    path.write_bytes(content)
    assert disk_view.has_vhd_footer(str(path)) == (content == b"conectix")


@pytest.mark.parametrize(
    ("rc", "stdout", "damaged", "packed"),
    [
        (0, '{"check-errors": 0}', False, False),
        (0, '{"compressed-clusters": 3}', False, True),
        (63, "", False, True),
        (2, "{}", True, True),
        (3, "{}", True, True),
    ],
)
def test_check_container(
    script: t.Any, runner: t.Any, rc: int, stdout: str, damaged: bool, packed: bool
) -> None:
    argv = ["qemu-img", "check", "--output=json", "-f", "qcow2", "/disk"]
    script.expect(argv, rc=rc, stdout=stdout)
    problems, found = disk_view.check_container(runner, "/disk", "qcow2")
    assert bool(problems) is damaged
    assert found is packed
