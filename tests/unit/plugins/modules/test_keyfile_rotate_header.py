# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""keyfile_rotate with a header file, which is believed; what is on the disk is written from it and never read."""

from __future__ import annotations

import json
import os
import pathlib
import random
import stat
import types
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import running_root
from ansible_collections.sealedroot.image.plugins.module_utils._system import loop_devices

UUID = "11111111-2222-4333-8444-555555555555"
SIZE = 2068480
PAYLOAD = b"the payload"


def area(slot: int) -> slice:
    """Where the key material of a slot is."""
    start = 4096 + slot * 258048
    return slice(start, start + 4000 * 64)


def dump(slots: t.Mapping[int, int]) -> str:
    lines = ["LUKS header information", "", "Version:       \t1", "Cipher name:   \taes"]
    lines += ["Cipher mode:   \txts-plain64", "Hash spec:     \tsha256", "Payload offset:\t4096"]
    lines += ["MK bits:       \t512", "MK iterations: \t1000", f"UUID:          \t{UUID}", ""]
    for slot in range(8):
        if slot in slots:
            lines += [f"Key Slot {slot}: ENABLED", f"\tIterations:         \t{slots[slot]}"]
            lines += [f"\tKey material offset:\t{area(slot).start // 512}", "\tAF stripes: \t4000"]
        else:
            lines.append(f"Key Slot {slot}: DISABLED")
    return "\n".join(lines) + "\n"


def header_bytes(*slots: int, seed: int = 1) -> bytes:
    """A compact header with these slots; the same slot has the same material in each."""
    data = bytearray(SIZE)
    data[:4096] = random.Random(str((seed, slots))).randbytes(4096)
    for slot in slots:
        data[area(slot)] = random.Random(slot).randbytes(4000 * 64)
    return bytes(data)


class Talk:
    """A disk with slots 0 and 1, its header file, and the expected commands of one run."""

    def __init__(self, script: t.Any, work: pathlib.Path) -> None:
        self.script, self.work = script, work
        self.disk, self.header = work / "disk", work / "headers" / "luks.header"
        self.new = self.header.with_name(".luks.header.new")
        self.header.parent.mkdir()
        self.set_disk(header_bytes(0, 1))
        self.set_header(header_bytes(0, 1))
        for name in ("boot", "new", "old"):
            path = pathlib.Path(self.key(name))
            path.touch(mode=0o600)
            path.write_text(f"the {name} key")

    def key(self, name: str) -> str:
        return str(self.work / f"{name}.key")

    def set_disk(self, header: bytes) -> None:
        self.disk.write_bytes(header + PAYLOAD)

    def set_header(self, header: bytes) -> None:
        self.header.write_bytes(header)
        self.header.chmod(0o400)

    def agree(self, *slots: int) -> None:
        """Check that file and disk have the header with these slots, and that nothing is left behind."""
        assert self.header.read_bytes() == header_bytes(*slots)
        assert self.disk.read_bytes() == header_bytes(*slots) + PAYLOAD
        assert stat.S_IMODE(self.header.stat().st_mode) == 0o400
        assert [path.name for path in self.header.parent.iterdir()] == ["luks.header"]

    def reads(self, *slots: int, where: pathlib.Path | None = None) -> None:
        path, named = str(where or self.header), dict.fromkeys(slots, 1000)
        self.script.expect(["cryptsetup", "luksDump", path], stdout=dump(named))

    def opens(
        self, name: str, slot: int, yes: bool = True, where: pathlib.Path | None = None
    ) -> None:
        argv = ["cryptsetup", "open", "--test-passphrase", "--verbose"]
        argv += ["--key-file", self.key(name), "--key-slot", str(slot)]
        said = f"Key slot {slot} unlocked.\n" if yes else ""
        self.script.expect([*argv, str(where or self.header)], rc=0 if yes else 2, stdout=said)

    def changes(self, argv: list[str], before: tuple[int, ...], after: tuple[int, ...]) -> None:
        """cryptsetup changes a copy of the file; then the file is exchanged, and the disk gets it."""

        def effect() -> None:
            # Of two changes, the first one is on the disk before the second one is made.
            self.disk_is(*before)
            assert self.header.read_bytes() == header_bytes(*before)
            assert self.new.read_bytes() == header_bytes(*before)
            noise = bytearray(random.Random(9).randbytes(SIZE))
            kept = header_bytes(*after)
            for place in (slice(0, 4096), *map(area, after)):
                noise[place] = kept[place]
            self.new.write_bytes(noise)

        self.script.expect(argv, effect=effect)
        self.reads(*after, where=self.new)
        self.reads(*after)

    def disk_is(self, *slots: int) -> None:
        assert self.disk.read_bytes() == header_bytes(*slots) + PAYLOAD

    def add(self, slot: int, name: str, unlock: str, **states: tuple[int, ...]) -> None:
        argv = ["cryptsetup", "luksAddKey", "--batch-mode", "--key-slot", str(slot)]
        argv += ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "--hash", "sha256"]
        argv += ["--key-file", self.key(unlock), str(self.new), self.key(name)]
        self.changes(argv, **states)

    def kill(self, slot: int, unlock: str, **states: tuple[int, ...]) -> None:
        argv = ["cryptsetup", "luksKillSlot", "--batch-mode", "--key-file", self.key(unlock)]
        self.changes([*argv, str(self.new), str(slot)], **states)


@pytest.fixture
def talk(script: t.Any, tmp_path: pathlib.Path) -> Talk:
    return Talk(script, tmp_path)


@pytest.fixture
def rotate(talk: Talk, run_module: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """Add the new key in slot 7; the boot key in slot 0 lets in, and slot 1 is kept."""

    def run(**more: t.Any) -> t.Any:
        args: dict[str, t.Any] = {
            "path": str(talk.disk),
            "header": str(talk.header),
            "unlock_key_files": [talk.key("boot")],
            "keys": [{"slot": 7, "key_file": talk.key("new")}],
            "keep_slots": [0, 1],
        }
        return run_module("keyfile_rotate", **{**args, **more})

    return run


def test_the_file_is_changed_and_the_disk_gets_it(talk: Talk, rotate: t.Any) -> None:
    talk.reads(0, 1)
    talk.opens("boot", 0)
    talk.add(7, "new", "boot", before=(0, 1), after=(0, 1, 7))
    talk.opens("new", 7)
    talk.opens("new", 7)
    talk.reads(0, 1, 7)
    outcome = rotate()
    assert not outcome.failed, outcome["msg"]
    assert (outcome["changed"], outcome["written"], outcome["added"]) == (True, False, [7])
    talk.agree(0, 1, 7)


def test_each_change_is_on_the_disk_before_the_next_one_is_made(talk: Talk, rotate: t.Any) -> None:
    talk.set_header(header_bytes(0, 1, 7))
    talk.set_disk(header_bytes(0, 1, 7))
    talk.reads(0, 1, 7)
    talk.opens("new", 0, yes=False)
    talk.opens("new", 7)
    talk.opens("old", 0)
    talk.opens("old", 1, yes=False)
    talk.kill(0, "new", before=(0, 1, 7), after=(1, 7))
    talk.add(0, "new", "new", before=(1, 7), after=(0, 1, 7))
    talk.opens("new", 0)
    talk.kill(7, "new", before=(0, 1, 7), after=(0, 1))
    talk.opens("new", 0)
    argv = ["cryptsetup", "open", "--test-passphrase", "--verbose", "--key-file", talk.key("old")]
    talk.script.expect([*argv, str(talk.header)], rc=2)
    talk.reads(0, 1)
    outcome = rotate(
        unlock_key_files=[],
        keys=[{"slot": 0, "key_file": talk.key("new")}],
        keep_slots=[1],
        revoke_key_files=[talk.key("old")],
    )
    assert not outcome.failed, outcome["msg"]
    assert (outcome["added"], outcome["removed"], outcome["written"]) == ([0], [0, 7], False)
    talk.agree(0, 1)


def present(talk: Talk) -> None:
    """The commands of a run in which the key is in its slot already."""
    talk.reads(0, 1, 7)
    talk.opens("new", 7)


def test_a_second_run_touches_neither_file_nor_disk(talk: Talk, rotate: t.Any) -> None:
    talk.set_header(header_bytes(0, 1, 7))
    talk.set_disk(header_bytes(0, 1, 7))
    times = [path.stat().st_mtime_ns for path in (talk.header, talk.disk)]
    present(talk)
    talk.reads(0, 1, 7)
    outcome = rotate()
    assert (outcome["changed"], outcome["written"]) == (False, False)
    assert [path.stat().st_mtime_ns for path in (talk.header, talk.disk)] == times


@pytest.mark.parametrize(
    "on_disk",
    [
        # Killed between the file and the disk.
        header_bytes(0, 1),
        # A host's: another key in slot 7, and whatever it likes.
        header_bytes(0, 1, 7, seed=2),
        bytes(SIZE),
        header_bytes(0, 1, 7)[:-1] + b"x",
    ],
)
def test_a_disk_with_another_header_is_brought_in_line_first(
    talk: Talk, rotate: t.Any, on_disk: bytes
) -> None:
    talk.set_header(header_bytes(0, 1, 7))
    talk.set_disk(on_disk)
    present(talk)
    talk.reads(0, 1, 7)  # to be written
    talk.reads(0, 1, 7)
    outcome = rotate()
    assert not outcome.failed, outcome["msg"]
    assert (outcome["changed"], outcome["written"]) == (True, True)
    assert (outcome["added"], outcome["removed"]) == ([], [])
    talk.agree(0, 1, 7)


def test_it_is_in_line_before_a_key_goes_in(talk: Talk, rotate: t.Any) -> None:
    talk.set_disk(header_bytes(0, 1, seed=2))
    talk.reads(0, 1)
    talk.opens("boot", 0)
    talk.reads(0, 1)  # to be written
    talk.add(7, "new", "boot", before=(0, 1), after=(0, 1, 7))
    talk.opens("new", 7)
    talk.opens("new", 7)
    talk.reads(0, 1, 7)
    assert rotate()["written"] is True
    talk.agree(0, 1, 7)


def test_a_file_that_is_missing_is_made_of_the_disk(talk: Talk, rotate: t.Any) -> None:
    """So a build has one. Random data in unused key slots, as cryptsetup makes it, does not stay."""
    talk.header.unlink()
    compact = header_bytes(0, 1, 7)
    noise = bytearray(random.Random(3).randbytes(SIZE))
    for place in (slice(0, 4096), area(0), area(1), area(7)):
        noise[place] = compact[place]
    talk.set_disk(bytes(noise))

    def backup() -> None:
        talk.new.write_bytes(noise)
        talk.new.chmod(0o400)

    argv = ["cryptsetup", "luksHeaderBackup", "--header-backup-file", str(talk.new), str(talk.disk)]
    talk.script.expect(argv, effect=backup)
    talk.reads(0, 1, 7, where=talk.new)
    present(talk)
    talk.reads(0, 1, 7)  # to be written
    talk.reads(0, 1, 7)
    outcome = rotate()
    assert not outcome.failed, outcome["msg"]
    assert (outcome["changed"], outcome["written"]) == (True, True)
    talk.agree(0, 1, 7)


FINDMNT = ["findmnt", "--json", "--nofsroot", "--output", "SOURCE", "--mountpoint", "/"]
LSBLK = ["lsblk", "--list", "--noheadings", "--inverse", "--output", "MAJ:MIN"]


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("path", ["/dev/vda", "/dev/vda2"])
def test_no_file_is_made_of_the_disk_of_a_running_machine(
    talk: Talk, rotate: t.Any, monkeypatch: pytest.MonkeyPatch, path: str, check: bool
) -> None:
    """That is the host's. The device is asked for by its number: it has other names."""
    talk.header.unlink()
    number = {"/dev/vda": (254, 0), "/dev/vda2": (254, 2)}[path]
    block_device(monkeypatch, talk.disk, *number)
    root = '{"filesystems": [{"source": "/dev/mapper/cr_root"}]}'
    talk.script.expect(FINDMNT, stdout=root)
    talk.script.expect([*LSBLK, "/dev/mapper/cr_root"], stdout=" 253:0\n 254:2\n 254:0\n")
    outcome = rotate(_check=check)
    assert outcome.failed
    assert f"the root of this machine is on {talk.disk}, whose host can have" in outcome["msg"]
    assert "put the file back" in outcome["msg"]
    assert list(talk.header.parent.iterdir()) == []
    talk.disk_is(0, 1)


@pytest.mark.parametrize("source", ["/dev/mapper/cr_root", "overlay"])
def test_another_disk_of_a_running_machine_is_its_own(
    talk: Talk, rotate: t.Any, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    talk.header.unlink()
    block_device(monkeypatch, talk.disk, 254, 16)
    talk.script.expect(FINDMNT, stdout=json.dumps({"filesystems": [{"source": source}]}))
    if source != "overlay":
        talk.script.expect([*LSBLK, source], stdout="253:0\n254:2\n254:0\n")
    talk.reads(0, 1, where=talk.disk)
    talk.opens("boot", 0, where=talk.disk)
    assert rotate(_check=True)["added"] == [7]


def block_device(
    monkeypatch: pytest.MonkeyPatch, disk: pathlib.Path, major: int, minor: int
) -> None:
    """Let a file have the number of a block device."""
    stat_of = os.stat

    def fake(path: t.Any, **more: t.Any) -> t.Any:
        found = stat_of(path, **more)
        if path != str(disk):
            return found
        return types.SimpleNamespace(
            **{it: getattr(found, it) for it in dir(found) if it.startswith("st_")}
            | {"st_rdev": os.makedev(major, minor)}
        )

    monkeypatch.setattr(loop_devices, "is_block_device", lambda path: path == str(disk))
    monkeypatch.setattr(running_root.os, "stat", fake)


def test_check_mode_makes_no_file(talk: Talk, rotate: t.Any) -> None:
    talk.header.unlink()
    talk.reads(0, 1, where=talk.disk)
    talk.opens("boot", 0, where=talk.disk)
    outcome = rotate(_check=True)
    assert (outcome["changed"], outcome["written"], outcome["added"]) == (True, True, [7])
    assert list(talk.header.parent.iterdir()) == []
    talk.disk_is(0, 1)


def test_check_mode_leaves_a_disk_as_it_is(talk: Talk, rotate: t.Any) -> None:
    talk.set_header(header_bytes(0, 1, 7))
    present(talk)
    outcome = rotate(_check=True)
    assert (outcome["changed"], outcome["written"]) == (True, True)
    talk.disk_is(0, 1)


def test_a_command_that_fails_changes_neither(talk: Talk, rotate: t.Any) -> None:
    talk.reads(0, 1)
    talk.opens("boot", 0)
    talk.add(7, "new", "boot", before=(0, 1), after=(0, 1, 7))
    del talk.script.expected[-2:]
    talk.script.expected[-1].rc = 5
    talk.script.expected[-1].stderr = "no room"
    outcome = rotate()
    assert outcome.failed
    assert "no room" in outcome["msg"]
    talk.agree(0, 1)


def test_a_file_without_a_header_is_not_written(talk: Talk, rotate: t.Any) -> None:
    talk.set_header(b"no header")
    talk.script.expect(["cryptsetup", "luksDump", str(talk.header)], rc=1)
    outcome = rotate()
    assert outcome.failed
    assert outcome["msg"] == f"there is no LUKS header in {talk.header}: correct that option"
    talk.disk_is(0, 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda path: path.chmod(0o644), "can be read by others"),
        (
            lambda path: (path.chmod(0o600), path.write_bytes(b"")),
            "is empty: it would open nothing",
        ),
        (lambda path: (path.unlink(), path.symlink_to("/nowhere")), "must be a regular file"),
    ],
)
def test_a_file_that_is_not_safe_is_refused_before_anything_runs(
    talk: Talk, rotate: t.Any, change: t.Callable[[pathlib.Path], t.Any], says: str
) -> None:
    change(talk.header)
    outcome = rotate()
    assert outcome.failed
    assert outcome["msg"].startswith(f"the header file {talk.header} ")
    assert says in outcome["msg"]
    talk.disk_is(0, 1)
