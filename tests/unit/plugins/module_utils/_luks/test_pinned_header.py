# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The pinned header: what it holds, and what a kill leaves. cryptsetup is scripted; its format is in the fixtures."""

from __future__ import annotations

import itertools
import os
import pathlib
import random
import stat
import sys
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import metadata, pinned_header
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    Result,
    Runner,
    SealedRootError,
)

FIXTURES = pathlib.Path(__file__).parents[3] / "fixtures" / "luks"
UUID = "11111111-2222-4333-8444-555555555555"
TEXTS = {
    "luks1": (FIXTURES / "luks1-cryptsetup-2.6.1.txt").read_text(),
    "luks2": (FIXTURES / "luks2-cryptsetup-2.6.1.txt").read_text(),
}
JSON = (FIXTURES / "luks2-cryptsetup-2.6.1.json").read_text()
# The sizes of real backups, which are more than the key slots in the fixtures.
SIZES = {"luks1": 2068480, "luks2": 1 << 20}
# Where the fixtures say that something is.
BINARY = {"luks1": 4096, "luks2": 32768}
SLOTS = {"luks1": [(4096, 256000), (778240, 256000)], "luks2": [(32768, 258048), (290816, 258048)]}
each = pytest.mark.parametrize("kind", ["luks1", "luks2"])


class Cryptsetup(Runner):
    """Says of every file that it has the header of a fixture; *backup* is what a device has."""

    def __init__(self, kind: str, backup: bytes = b"") -> None:
        self.kind, self.backup = kind, backup
        self.argv: list[list[str]] = []

    def find(self, *names: str) -> str:
        return names[0]

    def run(self, argv: t.Sequence[str], **_how: t.Any) -> Result:
        self.argv.append(list(argv))
        verb = argv[1]
        if verb == "luksHeaderBackup":
            path = pathlib.Path(argv[argv.index("--header-backup-file") + 1])
            # As cryptsetup does, which never overwrites a file.
            with path.open("xb") as file:
                file.write(self.backup)
            path.chmod(0o400)
            return Result(0, "", "")
        assert verb == "luksDump"
        if not self.kind:
            return Result(1, "", "no LUKS")
        return Result(0, JSON if "--dump-json-metadata" in argv else TEXTS[self.kind], "")


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def essence(data: bytes, kind: str) -> bytes:
    """What a compact header is: the same size, and zero but for what says something."""
    kept = bytearray(len(data))
    for start, size in [(0, BINARY[kind]), *SLOTS[kind]]:
        kept[start : start + size] = data[start : start + size]
    return bytes(kept)


def killed_at(step: int, act: t.Callable[[], None]) -> bool:
    """Run *act* in a process that dies before the line number *step* of the module; say whether it came so far."""
    child = os.fork()
    if not child:
        left = itertools.count(step, -1)

        def trace(frame: t.Any, event: str, _argument: t.Any) -> t.Any:
            if not frame.f_code.co_filename.endswith("pinned_header.py"):
                return None
            if event == "line" and next(left) == 0:
                os._exit(9)
            return trace

        try:
            sys.settrace(trace)
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_where_it_is() -> None:
    assert pinned_header.path(UUID) == f"/etc/cryptsetup-headers.d/luks-{UUID}.header"
    # Tools of initramfs take each file there for a key.
    assert "cryptsetup-keys.d" not in pinned_header.DIRECTORY


@each
def test_what_says_something_stays_and_the_rest_are_holes(
    kind: str, tmp_path: pathlib.Path
) -> None:
    path, data = tmp_path / "header", noise(SIZES[kind])
    path.write_bytes(data)
    pinned_header.compact(Cryptsetup(kind), str(path))
    after = path.read_bytes()
    assert after == essence(data, kind)
    assert after != data
    kept = BINARY[kind] + sum(size for _start, size in SLOTS[kind])
    blocks = path.stat().st_blocks * 512
    assert kept <= blocks < kept + 4 * 4096


def test_a_file_without_a_header_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "header"
    path.write_bytes(b"no header")
    with pytest.raises(SealedRootError, match="has no LUKS header: give a file"):
        pinned_header.compact(Cryptsetup(""), str(path))
    assert path.read_bytes() == b"no header"


@each
def test_it_is_made_of_what_is_on_the_device(kind: str, tmp_path: pathlib.Path) -> None:
    path, data = tmp_path / "luks.header", noise(SIZES[kind])
    tool = Cryptsetup(kind, data)
    # What an earlier one left that was killed.
    (tmp_path / ".luks.header.new").write_bytes(b"half")
    pinned_header.make(tool, "/dev/vda2", str(path))
    backup = ["cryptsetup", "luksHeaderBackup", "--header-backup-file"]
    assert tool.argv[0] == [*backup, f"{tmp_path}/.luks.header.new", "/dev/vda2"]
    assert path.read_bytes() == essence(data, kind)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert [it.name for it in tmp_path.iterdir()] == ["luks.header"]


def test_a_device_that_gives_no_header_leaves_nothing(
    tmp_path: pathlib.Path, script, runner
) -> None:
    path = tmp_path / "luks.header"
    argv = [
        "cryptsetup",
        "luksHeaderBackup",
        "--header-backup-file",
        f"{tmp_path}/.luks.header.new",
    ]
    script.expect([*argv, "/dev/vda2"], rc=1, stderr="no LUKS")
    with pytest.raises(CommandError, match="no LUKS"):
        pinned_header.make(runner, "/dev/vda2", str(path))
    assert list(tmp_path.iterdir()) == []


def edit(tool: Runner, path: pathlib.Path, new: bytes) -> None:
    with pinned_header.edited(tool, str(path)) as copy:
        assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600
        pathlib.Path(copy).write_bytes(new)


@each
def test_an_edit_takes_its_place_at_once(kind: str, tmp_path: pathlib.Path) -> None:
    path, new = tmp_path / "luks.header", noise(SIZES[kind], 2)
    path.write_bytes(b"old")
    path.chmod(0o400)
    (tmp_path / ".luks.header.new").write_bytes(b"half")
    edit(Cryptsetup(kind), path, new)
    assert path.read_bytes() == essence(new, kind)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert [it.name for it in tmp_path.iterdir()] == ["luks.header"]


def test_an_edit_begins_with_what_is_there(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "luks.header"
    path.write_bytes(b"old")

    def fail() -> None:
        with pinned_header.edited(Cryptsetup("luks1"), str(path)) as copy:
            assert pathlib.Path(copy).read_bytes() == b"old"
            pathlib.Path(copy).write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert [it.name for it in tmp_path.iterdir()] == ["luks.header"]


@each
def test_a_kill_leaves_the_old_or_the_new_file_whole(kind: str, tmp_path: pathlib.Path) -> None:
    path, tool = tmp_path / "luks.header", Cryptsetup(kind)
    old, new = essence(noise(SIZES[kind], 1), kind), noise(SIZES[kind], 2)
    seen = set()
    for step in itertools.count():
        path.unlink(missing_ok=True)
        path.write_bytes(old)
        finished = not killed_at(step, lambda: edit(tool, path, new))
        seen.add(path.read_bytes())
        assert seen <= {old, essence(new, kind)}
        # What was left behind is in nobody's way.
        edit(tool, path, new)
        assert path.read_bytes() == essence(new, kind)
        assert [it.name for it in tmp_path.iterdir()] == ["luks.header"]
        if finished:
            break
    assert step > 15
    assert len(seen) == 2


def disk(tmp_path: pathlib.Path, data: bytes) -> pathlib.Path:
    path = tmp_path / "disk"
    path.write_bytes(data + b"the payload")
    return path


@pytest.mark.parametrize("size", [1, 4096, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_whether_a_disk_begins_with_it(tmp_path: pathlib.Path, size: int) -> None:
    data = noise(size)
    path = tmp_path / "luks.header"
    path.write_bytes(data)
    assert pinned_header.is_on(str(disk(tmp_path, data)), str(path))
    for at in {0, size // 2, size - 1}:
        other = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        assert not pinned_header.is_on(str(disk(tmp_path, other)), str(path))
    (tmp_path / "disk").write_bytes(data[:-1])
    assert not pinned_header.is_on(str(tmp_path / "disk"), str(path))


@each
def test_a_disk_gets_it_whatever_is_there(kind: str, tmp_path: pathlib.Path) -> None:
    """A host can put any bytes there, in the gap behind the key slots as well, and a header of another version."""
    path, data = tmp_path / "luks.header", noise(SIZES[kind])
    path.write_bytes(data)
    target = disk(tmp_path, noise(SIZES[kind], 2))
    tool = Cryptsetup(kind)
    pinned_header.put_on(tool, str(target), str(path))
    assert target.read_bytes() == data + b"the payload"
    # cryptsetup refuses some of them, and leaves others half as they were.
    assert {argv[1] for argv in tool.argv} == {"luksDump"}


def test_a_disk_that_does_not_keep_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "luks.header"
    path.write_bytes(noise(SIZES["luks1"]))
    target = disk(tmp_path, bytes(SIZES["luks1"]))
    monkeypatch.setattr(os, "pwrite", lambda _handle, data, _at: len(data))
    with pytest.raises(SealedRootError, match="does not hold the header that was written to it"):
        pinned_header.put_on(Cryptsetup("luks1"), str(target), str(path))


@each
def test_a_kill_leaves_a_header_on_the_disk_and_what_it_points_to(
    kind: str, tmp_path: pathlib.Path
) -> None:
    """Of the two copies of LUKS2, one is whole at any time; of LUKS1, the only one is written at once and last."""
    path, tool, size = tmp_path / "luks.header", Cryptsetup(kind), SIZES[kind]
    old, new = noise(size, 1), noise(size, 2)
    path.write_bytes(new)
    half = BINARY[kind] // 2
    copies = [slice(0, half)] if kind == "luks1" else [slice(0, half), slice(half, 2 * half)]
    target = tmp_path / "disk"
    seen: list[tuple[str, ...]] = []
    for step in itertools.count():
        disk(tmp_path, old)
        finished = not killed_at(step, lambda: pinned_header.put_on(tool, str(target), str(path)))
        now = target.read_bytes()
        which = [{old[it]: "old", new[it]: "new"}.get(now[it], "torn") for it in copies]
        assert {"old", "new"} & set(which)
        if which[0] == "new" and kind == "luks1":
            assert now[half:size] == new[half:]
        if "new" in which:
            assert now[2 * half : size] == new[2 * half :]
        # GRUB takes the copy with the higher number, which is in its first sector, and else the first one.
        numbers = [now[it.start :][:512] == new[it.start :][:512] for it in copies]
        assert which[1 if numbers == [False, True] else 0] != "torn"
        if tuple(which) not in seen:
            seen.append(tuple(which))
        if finished:
            break
    if kind == "luks1":
        assert seen == [("old",), ("new",)]
    else:
        assert seen == [
            *(
                ("old", "old"),
                ("old", "torn"),
                ("old", "new"),
                ("torn", "new"),
                ("new", "new"),
            )
        ]


def test_what_says_something() -> None:
    for kind, parse in (
        ("luks1", lambda: metadata.parse_luks1(TEXTS["luks1"])),
        ("luks2", lambda: metadata.parse_luks2(JSON, uuid=UUID)),
    ):
        assert pinned_header.ranges(parse()) == [(0, BINARY[kind]), *SLOTS[kind]]
