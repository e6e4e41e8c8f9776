# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""initramfs_key on a directory that stands for the machine's root; its initramfs is not compressed."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils import _journal
from ansible_collections.sealedroot.image.plugins.modules import initramfs_key
from cpio import newc

DEST = "/etc/cryptsetup-keys.d/luks-1.key"
NEW, OLD = "the new key of the machine", "the old key of the machine"
HELD = "cryptroot/keyfiles/cr_root.key"


class Machine:
    """A machine with two kernels, whose initramfs holds the old key."""

    def __init__(self, root: pathlib.Path, script: t.Any) -> None:
        self.root, self.script = root / "root", script
        self.images = [self.root / "boot" / f"initrd.img-{version}" for version in (5, 6)]
        for image in self.images:
            image.parent.mkdir(parents=True, exist_ok=True)
            image.with_name(image.name.replace("initrd.img", "vmlinuz")).touch()
        self.dest = self.root / DEST.lstrip("/")
        self.dest.parent.mkdir(parents=True)
        self.dest.write_text(OLD)
        self.rebuild(OLD)
        self.device = root / "vda2"
        self.device.touch()
        self.key_file = root / "store" / "boot.key"
        self.key_file.parent.mkdir()
        self.key_file.touch(0o600)
        self.key_file.write_text(NEW)
        self.flushed: list[str] = []

    @property
    def arguments(self) -> dict[str, str]:
        return {"device": str(self.device), "key_file": str(self.key_file), "dest": DEST}

    def rebuild(self, key: str, mode: int = 0o600) -> None:
        for image in self.images:
            content = newc({"init": (0o755, b"#!/bin/sh\n"), HELD: (0o400, key.encode())})
            image.unlink(missing_ok=True)
            image.touch(mode)
            image.write_bytes(content)

    def opens(self, rc: int = 0) -> None:
        argv = ["cryptsetup", "open", "--test-passphrase", "--verbose", "--key-file"]
        said = "Key slot 7 unlocked.\n"
        self.script.expect([*argv, str(self.key_file), str(self.device)], rc=rc, stdout=said)

    def tool(self, effect: t.Callable[[], t.Any], **more: t.Any) -> None:
        command = ["env", "--chdir=/", "update-initramfs", "-u", "-k", "all"]
        self.script.expect(command, effect=effect, **more)

    def check_left(self) -> None:
        """Nothing that was unpacked is left."""
        assert [path.name for path in self.key_file.parent.iterdir()] == ["boot.key"]


@pytest.fixture
def machine(
    tmp_path: pathlib.Path, script: t.Any, monkeypatch: pytest.MonkeyPatch
) -> t.Iterator[Machine]:
    it = Machine(tmp_path, script)
    monkeypatch.setattr(initramfs_key, "ROOT", str(it.root))
    monkeypatch.setattr(_journal, "flush", it.flushed.append)
    yield it
    it.check_left()


def test_key_file_and_initramfs_are_renewed(machine: Machine, run_module: t.Any) -> None:
    machine.opens()
    machine.tool(lambda: machine.rebuild(machine.dest.read_text()))
    result = run_module("initramfs_key", _diff=True, **machine.arguments)
    assert not result.failed
    assert result["files"] == [DEST, *map(str, machine.images)]
    assert machine.dest.read_text() == NEW
    assert machine.dest.stat().st_mode & 0o777 == 0o400
    assert machine.flushed == [str(machine.root / "boot")]
    assert NEW not in str(result.result)
    assert OLD not in str(result.result)


def test_a_second_run_changes_nothing_but_flushes_again(
    machine: Machine, run_module: t.Any
) -> None:
    machine.dest.write_text(NEW)
    machine.dest.chmod(0o400)
    machine.rebuild(NEW)
    machine.opens()
    result = run_module("initramfs_key", **machine.arguments)
    assert (result["changed"], result["files"]) == (False, [])
    assert len(machine.flushed) == 1


def test_one_that_was_killed_before_the_initramfs_is_taken_up(
    machine: Machine, run_module: t.Any
) -> None:
    machine.dest.write_text(NEW)
    machine.dest.chmod(0o400)
    machine.opens()
    machine.tool(lambda: machine.rebuild(NEW))
    result = run_module("initramfs_key", **machine.arguments)
    assert result["files"] == list(map(str, machine.images))


def test_check_mode_predicts(machine: Machine, run_module: t.Any) -> None:
    machine.opens()
    result = run_module("initramfs_key", _check=True, **machine.arguments)
    assert result["files"] == [DEST, *map(str, machine.images)]
    assert machine.dest.read_text() == OLD
    assert machine.flushed == []


def test_a_key_that_does_not_open_is_refused_before_anything_is_changed(
    machine: Machine, run_module: t.Any
) -> None:
    machine.opens(rc=2)
    result = run_module("initramfs_key", **machine.arguments)
    assert result.failed
    assert "would not boot with it" in result["msg"]
    assert machine.dest.read_text() == OLD


@pytest.mark.parametrize(
    ("key", "mode", "words"),
    [
        (OLD, 0o600, "the old key is in it"),
        (OLD, 0o600, "holds the boot key 0 times"),
        (NEW, 0o644, "can be read by others than root"),
    ],
)
def test_an_initramfs_that_is_not_right_afterwards_is_an_error(
    machine: Machine, run_module: t.Any, key: str, mode: int, words: str
) -> None:
    machine.opens()
    machine.tool(lambda: machine.rebuild(key, mode))
    result = run_module("initramfs_key", **machine.arguments)
    assert result.failed
    assert words in result["msg"]
    assert "The old key is still valid" in result["msg"]
    assert machine.flushed == []


def test_a_tool_that_fails(machine: Machine, run_module: t.Any) -> None:
    machine.opens()
    machine.tool(lambda: None, rc=1, stderr="no space left")
    result = run_module("initramfs_key", **machine.arguments)
    assert result.failed
    assert "no space left" in result["msg"]


def test_damage_is_named(machine: Machine, run_module: t.Any) -> None:
    machine.opens()
    machine.tool(lambda: machine.images[0].write_bytes(b""))
    result = run_module("initramfs_key", **machine.arguments)
    assert "initrd.img-5: the initramfs is empty" in result["msg"]
