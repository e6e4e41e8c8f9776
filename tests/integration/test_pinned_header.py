# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rotation of keys on a machine in files, ended at every point: what its disk, root and initramfs are then.

The stages are those of the role ``rotate``, by the same modules; cryptsetup is real, and GRUB's code reads the disk.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import subprocess
import tempfile
import typing as t

import luks_header
import pytest
import sealed_image
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    command as system_command,
    journal,
)
from ansible_collections.sealedroot.image.plugins.modules import initramfs_key, keyfile_rotate
from cpio import newc
from distribution_tools import Here

MIB = 1 << 20
MARK = "what is on the disk\n"
KEYS = ("old", "new", "recovery", "recovery.new")
KEY = f"/{sealed_image.KEY_PATH}"
HEADER = f"/{sealed_image.HEADER_PATH}"
# What only reads.
READING = ("open", "luksDump")


def sh(*argv: str | os.PathLike[str], check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert not check or done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done


def write(path: pathlib.Path, content: bytes, mode: int = 0o600) -> pathlib.Path:
    path.touch(0o600)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def opens(file: pathlib.Path, key: pathlib.Path, slot: int | None = None) -> bool:
    """Say whether cryptsetup opens a container, or a header alone; it repairs one that is damaged."""
    argv = ["cryptsetup", "open", "--test-passphrase", "--key-file", str(key)]
    argv += [] if slot is None else ["--key-slot", str(slot)]
    return sh(*argv, file, check=False).returncode == 0


def grub_reads(disk: pathlib.Path, key: pathlib.Path) -> bool:
    """Say whether GRUB opens a container with a key and reads the file in it."""
    done = subprocess.run(
        ["grub-fstest", "-C", disk, "cat", "(crypto0)/mark"],
        input=key.read_text() + "\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout.endswith(MARK)


@dataclasses.dataclass(frozen=True)
class State:
    """All that a boot finds, and a later rotation."""

    disk: bytes
    header: bytes
    key: bytes
    initramfs: bytes
    names: tuple[str, ...]


class Tools(Here):
    """The tools of a machine; its update-initramfs is a stand-in."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def run(self, argv: t.Sequence[str], **how: t.Any) -> system_command.Result:
        if "update-initramfs" in argv:
            self.machine.build_initramfs()
            return system_command.Result(0, "", "")
        return super().run(argv, **how)


class Machine:
    """The disk and the root of a machine, the memory that holds keys during a rotation, and its operator's keys."""

    def __init__(self, path: pathlib.Path, type_: str, stage: str = "") -> None:
        self.path, self.type, self.stage = path, type_, stage
        self.disk, self.root, self.store = path / "disk", path / "root", path / "store"
        self.header, self.key_file = (self.root / name.lstrip("/") for name in (HEADER, KEY))
        self.initramfs = self.root / "boot/initrd.img-6"

    def key(self, name: str) -> pathlib.Path:
        return self.path / f"{name}.key"

    def make(self) -> None:
        """Make it as a build does."""
        for directory in (self.header.parent, self.key_file.parent, self.initramfs.parent):
            directory.mkdir(parents=True)
        (self.root / "boot/vmlinuz-6").touch()
        for name in KEYS:
            write(self.key(name), f"the {name} key of this test".encode())
        with self.disk.open("wb") as file:
            file.truncate(6 * MIB)
        # A short header of LUKS2 takes less time than one of 16 MiB, and is as good.
        short = (*sealed_image.LUKS2, "--offset", "4096")
        form = sealed_image.LUKS1 if self.type == "luks1" else short
        form = (*form, "--pbkdf-force-iterations", "1000", "--key-slot", "5")
        build = write(self.path / "build.key", b"the build key of this test")
        sh("cryptsetup", "luksFormat", "-q", *form, self.disk, build)
        wanted = [self.wanted(0, self.key("old")), self.wanted(1, self.key("recovery"))]
        self.rotate_keys(Here(), keys=wanted, unlock_key_files=[str(build)])
        plain = self.path / "plain.img"
        with plain.open("wb") as file:
            file.truncate(4 * MIB)
        (self.path / "content").mkdir()
        (self.path / "content/mark").write_text(MARK)
        ext4 = ("mke2fs", "-q", "-t", "ext4", "-F", "-O", "^metadata_csum_seed,^orphan_file")
        sh(*ext4, "-d", self.path / "content", plain)
        sealed_image.encrypt(plain, self.disk, self.key("old"))
        write(self.key_file, self.key("old").read_bytes(), 0o400)
        self.build_initramfs()

    def copy(self, name: str) -> Machine:
        path = self.path / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        for it in ("disk", "root", *(f"{name}.key" for name in KEYS)):
            sh("cp", "-a", "--sparse=always", self.path / it, path)
        return Machine(path, self.type, self.stage)

    def build_initramfs(self) -> None:
        """As update-initramfs: of key and header as they are in the root, and in its place by a rename."""
        held = {KEY: self.key_file, HEADER: self.header}
        files = {name.lstrip("/"): (0o400, path.read_bytes()) for name, path in held.items()}
        partial = self.initramfs.with_name("initrd.img-6.new")
        partial.unlink(missing_ok=True)
        write(partial, newc({"init": (0o755, b"#!/bin/sh\n"), **files}))
        os.rename(partial, self.initramfs)

    def state(self) -> State:
        names = sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*"))
        return State(
            disk=self.disk.read_bytes(),
            header=self.header.read_bytes(),
            key=self.key_file.read_bytes(),
            initramfs=self.initramfs.read_bytes(),
            names=tuple(names),
        )

    @staticmethod
    def wanted(slot: int, key: pathlib.Path) -> dict[str, t.Any]:
        return {"slot": slot, "key_file": str(key), "iterations": 1000}

    def rotate_keys(self, runner: system_command.Runner, **args: t.Any) -> None:
        params: dict[str, t.Any] = {
            "path": str(self.disk),
            "offset": 0,
            "size": 0,
            "header": str(self.header),
            "unlock_key_files": [],
            "keep_slots": [],
            "revoke_key_files": [],
            **args,
        }
        keyfile_rotate.ensure(runner, params, check_mode=False)

    def rotate(self, runner: system_command.Runner, both: bool) -> None:
        """Do what the role ``rotate`` does on a machine, and does again after it was interrupted."""
        keep = [] if both else [1]
        active = list(luks_header.slots(self.header.read_bytes()))
        key_slot = next(slot for slot in active if opens(self.header, self.key_file, slot))
        slots = range(8 if self.type == "luks1" else 32)
        spare = max({*slots} - {0, 1, key_slot, *keep})
        # Empty after a reboot.
        shutil.rmtree(self.store, ignore_errors=True)
        self.store.mkdir(mode=0o700)
        new, recovery, previous = (
            write(self.store / f"{name}.key", self.key(source).read_bytes())
            for name, source in (("boot", "new"), ("recovery", "recovery.new"), ("previous", "old"))
        )
        revoked = [str(previous)]
        if self.key_file.read_bytes() != new.read_bytes():
            old = write(self.store / "old.key", self.key_file.read_bytes())
            revoked.append(str(old))
            self.stage = "add"
            self.rotate_keys(
                runner,
                keys=[self.wanted(spare, new)],
                unlock_key_files=[str(old)],
                keep_slots=[slot for slot in active if slot != spare],
            )
        self.stage = "renew"
        args = {"header": HEADER, "key_file": str(new), "dest": KEY, "timeout": 60}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(initramfs_key, "ROOT", str(self.root))
            patch.setattr(journal, "flush", lambda _directory: None)
            initramfs_key.ensure(runner, {"device": str(self.disk), **args}, check_mode=False)
        self.stage = "remove"
        self.rotate_keys(
            runner,
            keys=[self.wanted(0, new), *([self.wanted(1, recovery)] if both else [])],
            keep_slots=keep,
            revoke_key_files=revoked,
        )

    def seen_by(self, header: bytes = b"") -> pathlib.Path:
        """Return a copy of the disk, as it is seen by another header than its own."""
        path = self.path / "seen"
        sh("cp", "--sparse=always", self.disk, path)
        with path.open("r+b") as file:
            file.write(header)
        return path

    def unpacked(self, name: str) -> pathlib.Path:
        """Return a file of the initramfs."""
        target = self.path / "unpacked"
        target.mkdir(exist_ok=True)
        with self.initramfs.open("rb") as archive:
            command = ["cpio", "--quiet", "-idu", "--no-absolute-filenames"]
            subprocess.run(command, stdin=archive, cwd=target, check=True, timeout=60)
        return target / name.lstrip("/")

    def check_it_boots(self) -> None:
        """GRUB opens the disk with the key that its operator has, and the initramfs the root with the one in it."""
        # Up to the stage that removes the old key, that one is what every boot takes.
        typed = self.key("new" if self.stage == "remove" else "old")
        assert grub_reads(self.disk, typed), "GRUB does not open the disk"
        assert opens(self.seen_by(), typed), "cryptsetup does not open the disk"
        # One that is built now, and the one that is there.
        for header, key in (
            (self.header, self.key_file),
            (self.unpacked(HEADER), self.unpacked(KEY)),
        ):
            seen = self.seen_by(header.read_bytes())
            assert grub_reads(seen, key), f"{header} and {key} do not fit the disk"
            assert opens(seen, key), f"{key} does not open {header}"

    def check_goal(self, both: bool) -> None:
        """The new key in slot 0 and the recovery key in slot 1 are all that there is, everywhere."""
        recovery = self.key("recovery.new" if both else "recovery")
        dead = [self.key("old"), self.key("recovery" if both else "recovery.new")]
        for file in (self.header, self.disk):
            assert sorted(luks_header.slots(file.read_bytes())) == [0, 1]
            assert opens(file, self.key("new"), 0)
            assert opens(file, recovery, 1)
            assert not any(opens(file, key) for key in dead)
        header, new = self.header.read_bytes(), self.key("new").read_bytes()
        assert self.disk.read_bytes()[: len(header)] == header
        assert not any(luks_header.unused(header))
        assert self.key_file.read_bytes() == self.unpacked(KEY).read_bytes() == new
        assert grub_reads(self.disk, self.key("new"))
        assert not grub_reads(self.disk, self.key("old"))
        # Nothing that was half made is left.
        assert [path.name for path in self.header.parent.iterdir()] == [self.header.name]


class Watcher(Tools):
    """Copies the machine before each change of its root or disk: that is what a kill there leaves."""

    CHANGES = ("rename", "replace", "unlink", "chmod", "fchmod", "mkdir", "rmdir")

    def __init__(self, machine: Machine, patch: pytest.MonkeyPatch) -> None:
        super().__init__(machine)
        self.left: list[Machine] = []
        # Each write to the disk: what is there before, where it begins, and what is written.
        self.writes: list[tuple[Machine, int, bytes]] = []
        for name in self.CHANGES:
            patch.setattr(os, name, self.watched(getattr(os, name)))
        patch.setattr(os, "pwrite", self.pwrite(os.pwrite))

    def change(self) -> Machine:
        self.left.append(self.machine.copy(f"before-{len(self.left)}"))
        return self.left[-1]

    @staticmethod
    def file(path: t.Any) -> str:
        return os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else str(path)

    def watched(self, call: t.Any) -> t.Any:
        def instead(path: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
            if self.file(path).startswith(str(self.machine.root)):
                self.change()
            return call(path, *args, **kwargs)

        return instead

    def pwrite(self, call: t.Any) -> t.Any:
        def instead(handle: int, data: bytes, at: int) -> int:
            if self.file(handle) == str(self.machine.disk):
                self.writes.append((self.change(), at, data))
            return int(call(handle, data, at))

        return instead

    def run(self, argv: t.Sequence[str], **how: t.Any) -> system_command.Result:
        if argv[0] == "cryptsetup" and argv[1] not in READING:
            self.change()
        return super().run(argv, **how)


@pytest.fixture(scope="module", params=[pytest.param("luks1", marks=pytest.mark.long), "luks2"])
def machine(request: pytest.FixtureRequest) -> t.Iterator[Machine]:
    # In memory, since each change is synced.
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        it = Machine(pathlib.Path(directory), request.param)
        it.make()
        yield it


@pytest.fixture(
    scope="module",
    params=[False, pytest.param(True, marks=pytest.mark.long)],
    ids=["boot", "both"],
)
def both(request: pytest.FixtureRequest) -> bool:
    """Whether the recovery key is exchanged, too."""
    return bool(request.param)


@pytest.fixture(scope="module")
def rotation(machine: Machine, both: bool) -> t.Iterator[Watcher]:
    """A rotation that went to its end, and was watched."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        it = machine.copy(directory)
        with pytest.MonkeyPatch.context() as patch:
            watcher = Watcher(it, patch)
            it.rotate(watcher, both)
        it.check_goal(both)
        yield watcher


def check(left: Machine, both: bool) -> None:
    """Check that what a kill left boots, and reaches the goal of the rotation when that is run again."""
    it = left.copy("checked")
    it.check_it_boots()
    it.rotate(Tools(it), both)
    it.check_goal(both)


def test_a_kill_before_each_change(rotation: Watcher, both: bool) -> None:
    seen = set()
    for left in rotation.left:
        state = left.state()
        if state not in seen:
            seen.add(state)
            check(left, both)
    assert len(seen) > 15


@pytest.mark.parametrize("both", [False], ids=["boot"], indirect=True)
def test_a_kill_in_each_write_to_the_disk(rotation: Watcher, both: bool) -> None:
    """A disk promises no more than that a sector is written or not; and key material may be cut anywhere."""
    seen = set()
    for before, at, data in rotation.writes:
        cuts = [*range(512, min(len(data), 8192), 512), 64 << 10, 300 << 10, 700 << 10]
        cuts = [cut for cut in cuts if cut < len(data)]
        for cut in cuts:
            torn = before.copy("torn")
            with torn.disk.open("r+b") as file:
                file.seek(at)
                file.write(data[:cut])
            state = torn.state()
            if state not in seen:
                seen.add(state)
                torn.copy("checked").check_it_boots()
        # What is written again does not depend on where it was cut.
        if cuts:
            check(torn, both)
    assert len(seen) > 10
