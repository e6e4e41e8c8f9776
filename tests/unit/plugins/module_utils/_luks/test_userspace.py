# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The userspace backend with scripted commands; /dev/null plays the loop device."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import pathlib
import stat
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    luks1_view,
    metadata,
    userspace,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    mounts as system_mounts,
    processes,
    storage_daemon,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

COLUMNS = "NAME,OFFSET,BACK-MAJ:MIN,BACK-INO,BACK-FILE"
LIST = ["losetup", "--list", "--json", "--output", COLUMNS]
LOOP = "/dev/null"
ATTACH = ["losetup", "--find", "--show"]


class Place(t.NamedTuple):
    disk: str
    payload: str
    node: str


@pytest.fixture
def place(tmp_path: pathlib.Path) -> Place:
    disk = tmp_path / "disk.raw"
    disk.touch()
    return Place(str(disk), str(tmp_path / "payload"), str(tmp_path / "mapper" / "cr_root"))


@pytest.fixture(autouse=True)
def kernel(monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """What the kernel says of processes and mounts, and nodes that need no root to make."""
    said: dict[str, t.Any] = {"daemons": [], "mounts": [], "stopped": [], "nodes": []}

    def mknod(path: str, mode: int, device: int) -> None:
        said["nodes"].append((path, stat.S_IMODE(mode), stat.S_ISBLK(mode), device))
        pathlib.Path(path).touch()

    def mounts() -> list[system_mounts.Mount]:
        return [system_mounts.Mount(path, "fuse", 1) for path in said["mounts"]]

    monkeypatch.setattr(os, "mknod", mknod)
    monkeypatch.setattr(storage_daemon, "daemons", lambda _path: said["daemons"])
    monkeypatch.setattr(storage_daemon, "stop", said["stopped"].append)
    monkeypatch.setattr(system_mounts, "read", mounts)
    return said


def listing(payload: str, device: str = LOOP) -> str:
    row = {
        "name": device,
        "offset": 0,
        "back-maj:min": "0:50",
        "back-ino": 1,
        "back-file": payload,
    }
    return json.dumps({"loopdevices": [row]})


def argv(place: Place, **more: t.Any) -> list[str]:
    options = {"offset": 512, "size": 1024, "key_file": "/k", "read_only": False, **more}
    return userspace.daemon_argv(
        daemon="qemu-storage-daemon",
        **{"path": place.disk, "payload": place.payload, **options},
    )


def header(type_: str = "luks1") -> metadata.Header:
    return metadata.Header(
        type=type_,
        uuid="",
        cipher="aes-xts-plain64",
        hash="sha256",
        key_bits=512,
        payload_offset=512,
        digest_iterations=1000,
        slots={},
        slot_order=(),
    )


def open_mapping(runner, place: Place, *, read_only: bool = False, type_: str = "luks1") -> None:
    userspace.open_mapping(
        runner,
        path=place.disk,
        offset=512,
        size=1024,
        header=header(type_),
        payload=place.payload,
        node=place.node,
        key_file="/k",
        read_only=read_only,
    )


def test_the_chain(place: Place) -> None:
    assert argv(place) == [
        "qemu-storage-daemon",
        "--object",
        "secret,id=key,file=/k",
        "--blockdev",
        f"driver=file,node-name=file,filename={place.disk},discard=unmap",
        "--blockdev",
        "driver=raw,offset=512,size=1024,node-name=region-512,file=file,discard=unmap",
        "--blockdev",
        "driver=luks,node-name=luks,file=region-512,key-secret=key,discard=unmap",
        "--export",
        f"type=fuse,id=export,node-name=luks,mountpoint={place.payload}"
        ",writable=on,growable=off,allow-other=off",
        "--daemonize",
    ]


def test_the_chain_read_only(place: Place) -> None:
    words = argv(place, read_only=True, size=0)
    assert sum("read-only=on" in word for word in words) == 3
    assert "writable=off" in words[-2]
    assert not any("size=" in word for word in words)


def test_the_chain_of_a_luks2_container(place: Place) -> None:
    words = argv(place, descriptor="/proc/1/fd/2")
    assert words[4:9:2] == [
        "driver=file,node-name=file,filename=/proc/1/fd/2,discard=unmap",
        "driver=vmdk,node-name=region-512,file=file,discard=unmap",
        "driver=luks,node-name=luks,file=region-512,key-secret=key,discard=unmap",
    ]
    words = argv(place, descriptor="/proc/1/fd/2", read_only=True)
    assert sum("read-only=on" in word for word in words) == 3


def test_commas_are_doubled(place: Place, tmp_path: pathlib.Path) -> None:
    odd = tmp_path / "a,b"
    odd.touch()
    words = argv(place, path=str(odd), key_file="/k,y", payload="/p,l")
    assert words[2] == "secret,id=key,file=/k,,y"
    assert "a,,b,discard" in words[4]
    assert "mountpoint=/p,,l," in words[-2]


def test_open(place: Place, script, runner, kernel: dict[str, t.Any]) -> None:
    script.expect(argv(place))
    script.expect([*ATTACH, "--direct-io=on", place.payload], stdout=f"{LOOP}\n")
    open_mapping(runner, place)
    assert kernel["nodes"] == [(place.node, 0o600, True, os.stat(LOOP).st_rdev)]
    assert stat.S_IMODE(os.stat(place.payload).st_mode) == 0o600


def test_open_read_only(place: Place, script, runner) -> None:
    script.expect(argv(place, read_only=True))
    attach = [*ATTACH, "--read-only", "--direct-io=on", place.payload]
    script.expect(attach, stdout=f"{LOOP}\n")
    open_mapping(runner, place, read_only=True)


def test_open_luks2(
    place: Place, script, runner, kernel: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[t.Any] = []

    @contextlib.contextmanager
    def view(_runner: t.Any, **options: t.Any) -> t.Iterator[str]:
        seen.append(options)
        yield "/proc/1/fd/2"
        seen.append("gone")

    monkeypatch.setattr(luks1_view, "descriptor", view)
    # The daemon has it open by then.
    script.expect(argv(place, descriptor="/proc/1/fd/2"), effect=lambda: seen.append("started"))
    script.expect([*ATTACH, "--direct-io=on", place.payload], stdout=f"{LOOP}\n")
    open_mapping(runner, place, type_="luks2")
    region = {"path": place.disk, "offset": 512, "size": 1024, "payload_offset": 512}
    assert seen == [region, "started", "gone"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("luks: Invalid password, cannot unlock any keyslot", "the key in /k does not open"),
        ('Failed to get "write" lock', 'could not open .*: Failed to get "write" lock'),
    ],
)
def test_a_daemon_that_does_not_start(
    said: str, words: str, place: Place, script, runner, kernel: dict[str, t.Any]
) -> None:
    # The one that answered ended itself; one that outlived a deadline is ended.
    kernel["daemons"].append(42)
    script.expect(argv(place), rc=1, stderr=f"{said}\n")
    script.expect(LIST)
    with pytest.raises(SealedRootError, match=words):
        open_mapping(runner, place)
    assert kernel["stopped"] == [42]
    assert not os.path.exists(place.payload)


def test_a_loop_device_that_cannot_be_bound(
    place: Place, script, runner, kernel: dict[str, t.Any]
) -> None:
    kernel["daemons"].append(42)
    script.expect(argv(place))
    script.expect([*ATTACH, "--direct-io=on", place.payload], rc=1, stderr="no free device")
    script.expect(LIST)
    with pytest.raises(SealedRootError, match=r"cr_root could not be made: .*no free device"):
        open_mapping(runner, place)
    assert kernel["stopped"] == [42]
    assert not os.path.exists(place.payload)


def test_a_file_in_the_way(place: Place, runner) -> None:
    pathlib.Path(place.payload).write_text("mine")
    with pytest.raises(SealedRootError, match="is a file of yours"):
        open_mapping(runner, place)
    os.unlink(place.payload)
    os.symlink(place.disk, place.payload)
    with pytest.raises(SealedRootError, match="is a file of yours"):
        open_mapping(runner, place)


def test_a_work_directory_in_use(place: Place, script, runner, kernel: dict[str, t.Any]) -> None:
    kernel["mounts"].append(place.payload)
    script.expect(LIST)
    with pytest.raises(SealedRootError, match=r"work_dir .* is in use by an open container"):
        open_mapping(runner, place)


def close_mapping(runner, place: Place) -> None:
    userspace.close_mapping(runner, path=place.disk, payload=place.payload, node=place.node)


@pytest.fixture
def opened(place: Place, script, kernel: dict[str, t.Any]) -> Place:
    """The node, the mount point and the daemon of an open container, and the commands to end it."""
    pathlib.Path(place.node).parent.mkdir()
    pathlib.Path(place.node).touch()
    pathlib.Path(place.payload).touch()
    kernel["daemons"].append(42)
    script.expect(LIST, stdout=listing(place.payload))
    return place


def expect_release(script, payload: str) -> None:
    script.expect(LIST, stdout=listing(payload))
    script.expect(["losetup", "--detach", LOOP])
    script.expect(LIST)


def fsync(monkeypatch: pytest.MonkeyPatch, error: int = 0) -> None:
    def fake(_handle: int) -> None:
        if error:
            raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", fake)


def test_close(
    opened: Place, script, runner, kernel: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync(monkeypatch)
    expect_release(script, opened.payload)
    close_mapping(runner, opened)
    assert kernel["stopped"] == [42]
    assert not os.path.exists(opened.node)
    assert not os.path.exists(opened.payload)


def test_close_unmounts_what_a_killed_daemon_left(
    opened: Place, script, runner, kernel: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync(monkeypatch)
    kernel["mounts"].append(opened.payload)
    expect_release(script, opened.payload)
    script.expect(["umount", opened.payload], effect=kernel["mounts"].clear)
    close_mapping(runner, opened)


def test_a_lost_write_is_reported_and_nothing_is_left(
    opened: Place, script, runner, kernel: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync(monkeypatch, errno.ENOSPC)
    expect_release(script, opened.payload)
    with pytest.raises(SealedRootError, match=r"not all of it could be written .No space left"):
        close_mapping(runner, opened)
    assert kernel["stopped"] == [42]
    assert not os.path.exists(opened.node)


def test_what_is_in_use_stays_open(
    opened: Place, runner, kernel: dict[str, t.Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(_path: str, flags: int, *_more: t.Any) -> int:
        assert flags & os.O_EXCL
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(userspace, "BUSY_SECONDS", -1)
    monkeypatch.setattr(os, "open", busy)
    monkeypatch.setattr(processes, "holders", lambda number: f"mount {number}")
    who = f"mount {os.stat(LOOP).st_rdev}"
    with pytest.raises(SealedRootError, match=f"is in use by {who}: unmount what is on it, and"):
        close_mapping(runner, opened)
    assert kernel["stopped"] == []
    assert os.path.exists(opened.node)
    assert os.path.exists(opened.payload)


def state(runner, place: Place) -> str:
    return userspace.state(
        runner, path=place.disk, offset=512, payload=place.payload, node=place.node
    )


def test_closed(place: Place, script, runner) -> None:
    script.expect(LIST, stdout=listing("/another/payload"))
    assert state(runner, place) == "closed"


@pytest.mark.parametrize("left", ["daemon", "mount", "loop"])
def test_an_open_that_was_cut_off(
    left: str, place: Place, script, runner, kernel: dict[str, t.Any]
) -> None:
    pathlib.Path(place.node).parent.mkdir()
    if left == "daemon":
        kernel["daemons"].append(42)
    if left == "mount":
        kernel["mounts"].append(place.payload)
    script.expect(LIST, stdout=listing(place.payload) if left == "loop" else "")
    assert state(runner, place) == "broken"


def test_a_node_of_someone_else(place: Place, script, runner) -> None:
    pathlib.Path(place.node).parent.mkdir()
    for make in (pathlib.Path.touch, lambda path: path.symlink_to("/nowhere")):
        make(pathlib.Path(place.node))
        script.expect(LIST, stdout=listing(place.payload))
        with pytest.raises(SealedRootError, match=r"is not open on .*: use another name"):
            state(runner, place)
        os.unlink(place.node)


def test_without_fuse_or_its_tool(runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str, _flags: int) -> int:
        raise OSError(errno.ENODEV, "No such device", path)

    monkeypatch.setattr(os, "open", refuse)
    assert userspace.unusable(runner) == "/dev/fuse cannot be opened (No such device)"
    runner.missing = {"qemu-storage-daemon"}
    assert "qemu-storage-daemon is not installed" in (userspace.unusable(runner) or "")
