# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""initramfs_key on a directory that stands for the machine's root; its initramfs is not compressed."""

from __future__ import annotations

import os
import pathlib
import tempfile
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system import journal
from ansible_collections.sealedroot.image.plugins.modules import initramfs_key
from cpio import newc

DEST = "/etc/cryptsetup-keys.d/luks-1.key"
HEADER = "/etc/cryptsetup-headers.d/luks-1.header"
MKSTEMP: t.Callable[..., tuple[int, str]] = tempfile.mkstemp
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
        self.header = self.root / HEADER.lstrip("/")
        self.header.parent.mkdir(parents=True)
        self.header.write_text("header with both keys")
        self.header.chmod(0o400)
        self.rebuild(OLD, header="header with the old key")
        self.device = root / "vda2"
        self.device.touch()
        self.key_file = root / "store" / "boot.key"
        self.key_file.parent.mkdir()
        self.key_file.touch(0o600)
        self.key_file.write_text(NEW)
        self.flushed: list[str] = []

    @property
    def arguments(self) -> dict[str, str]:
        paths = {"device": self.device, "header": HEADER, "key_file": self.key_file, "dest": DEST}
        return {name: str(path) for name, path in paths.items()}

    def rebuild(
        self,
        key: str,
        mode: int = 0o600,
        *,
        header: str = "header with both keys",
        name: str = HEADER,
    ) -> None:
        files = {"init": (0o755, b"#!/bin/sh\n"), HELD: (0o400, key.encode())}
        if header:
            files[name.lstrip("/")] = (0o400, header.encode())
        for image in self.images:
            content = newc(files)
            image.unlink(missing_ok=True)
            image.touch(mode)
            image.write_bytes(content)

    def opens(self, rc: int = 0, path: pathlib.Path | None = None) -> None:
        argv = ["cryptsetup", "open", "--test-passphrase", "--verbose", "--key-file"]
        said = "Key slot 7 unlocked.\n"
        # The header in the root's file: nothing is read of the one on the disk.
        target = str(path or self.header)
        self.script.expect([*argv, str(self.key_file), target], rc=rc, stdout=said)

    def images_open(self, rc: int = 0, content: str = "header with both keys") -> None:
        """The header in each initramfs, unpacked, is tried as well."""
        for _image in self.images:
            self.opens(rc, self.unpacked)
            self.script.expected[-1].effect = lambda: self.unpacked_is(content)

    @property
    def unpacked(self) -> pathlib.Path:
        return self.key_file.parent / "unpacked"

    def unpacked_is(self, content: str) -> None:
        assert self.unpacked.read_text() == content

    def mkstemp(self, **where: str) -> tuple[int, str]:
        """Give the unpacked header a name that is known; it is no file of the tree."""
        if "prefix" in where:
            return MKSTEMP(**where)
        assert where == {"dir": str(self.key_file.parent)}
        return os.open(self.unpacked, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), str(
            self.unpacked
        )

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
    monkeypatch.setattr(journal, "flush", it.flushed.append)
    monkeypatch.setattr(tempfile, "mkstemp", it.mkstemp)
    yield it
    it.check_left()


def test_key_file_and_initramfs_are_renewed(machine: Machine, run_module: t.Any) -> None:
    machine.opens()
    machine.images_open(rc=2, content="header with the old key")
    machine.tool(lambda: machine.rebuild(machine.dest.read_text()))
    machine.images_open()
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
    machine.images_open()
    result = run_module("initramfs_key", **machine.arguments)
    assert (result["changed"], result["files"]) == (False, [])
    assert len(machine.flushed) == 1


def test_one_that_was_killed_before_the_initramfs_is_taken_up(
    machine: Machine, run_module: t.Any
) -> None:
    machine.dest.write_text(NEW)
    machine.dest.chmod(0o400)
    machine.opens()
    machine.images_open(rc=2, content="header with the old key")
    machine.tool(lambda: machine.rebuild(NEW))
    machine.images_open()
    result = run_module("initramfs_key", **machine.arguments)
    assert result["files"] == list(map(str, machine.images))


def test_check_mode_predicts(machine: Machine, run_module: t.Any) -> None:
    machine.opens()
    machine.images_open(rc=2, content="header with the old key")
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
    machine.images_open(rc=2, content="header with the old key")
    machine.tool(lambda: machine.rebuild(key, mode))
    machine.images_open()
    result = run_module("initramfs_key", **machine.arguments)
    assert result.failed
    assert words in result["msg"]
    assert "The old key is still valid" in result["msg"]
    assert machine.flushed == []


def test_a_tool_that_fails(machine: Machine, run_module: t.Any) -> None:
    machine.opens()
    machine.images_open(rc=2, content="header with the old key")
    machine.tool(lambda: None, rc=1, stderr="no space left")
    result = run_module("initramfs_key", **machine.arguments)
    assert result.failed
    assert "no space left" in result["msg"]


def test_a_machine_that_rebuilds_nothing_is_refused_before_anything_is_changed(
    machine: Machine, run_module: t.Any
) -> None:
    conf = machine.root / "etc/initramfs-tools/update-initramfs.conf"
    conf.parent.mkdir()
    conf.write_text("update_initramfs=no\n")
    result = run_module("initramfs_key", **machine.arguments)
    assert result.failed
    assert "update_initramfs=no" in result["msg"]
    assert machine.dest.read_text() == OLD


def test_damage_is_named(machine: Machine, run_module: t.Any) -> None:
    machine.opens()
    machine.images_open(rc=2, content="header with the old key")
    machine.tool(lambda: machine.images[0].write_bytes(b""))
    machine.opens(rc=2, path=machine.unpacked)
    result = run_module("initramfs_key", **machine.arguments)
    assert "initrd.img-5: the initramfs is empty" in result["msg"]


@pytest.mark.parametrize(
    ("header", "name", "words"),
    [
        # The initramfs would hold the key to a header that has no slot for it.
        ("header with the old key", HEADER, f"the key does not open {HEADER} in it"),
        ("", HEADER, f"it holds no pinned header, not {HEADER}: it would open whatever header"),
        ("header with both keys", f"{HEADER}9.header", "luks-1.header9.header, not"),
    ],
)
def test_a_header_that_is_not_right_afterwards_is_an_error(
    machine: Machine, run_module: t.Any, header: str, name: str, words: str
) -> None:
    machine.opens()
    machine.images_open(rc=2, content="header with the old key")
    machine.tool(lambda: machine.rebuild(NEW, header=header, name=name))
    if "does not open" in words:
        machine.images_open(rc=2, content=header)
    result = run_module("initramfs_key", **machine.arguments)
    assert result.failed
    assert words in result["msg"]
    assert "The old key is still valid" in result["msg"]
    assert machine.flushed == []


def test_a_header_that_no_longer_has_every_slot_does_no_harm(
    machine: Machine, run_module: t.Any
) -> None:
    """It is not that of the root: the old key's slot was emptied after the initramfs was built."""
    machine.dest.write_text(NEW)
    machine.dest.chmod(0o400)
    machine.rebuild(NEW, header="header with the new key in another slot")
    machine.opens()
    machine.images_open(content="header with the new key in another slot")
    assert run_module("initramfs_key", **machine.arguments)["changed"] is False


def test_a_header_that_others_can_read_is_refused(machine: Machine, run_module: t.Any) -> None:
    machine.header.chmod(0o644)
    result = run_module("initramfs_key", **machine.arguments)
    assert result.failed
    assert f"the header file {machine.header} can be read by others" in result["msg"]
