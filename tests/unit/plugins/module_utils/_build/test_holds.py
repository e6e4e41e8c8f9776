# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finding what a build holds, with /proc, /sys and /dev/mapper made of files."""

from __future__ import annotations

import os
import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import holds as build_holds
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    mounts,
    proc,
)

W = "/var/tmp/seal/web 1"


class Kernel:
    """The files that the kernel would show."""

    def __init__(self, base: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proc, self.block, self.mapper = base / "proc", base / "block", base / "mapper"
        for path in (self.proc / "self", self.block, self.mapper):
            path.mkdir(parents=True)
        (self.proc / "self/mountinfo").write_text("22 1 254:0 / / rw - ext4 /dev/vda rw\n")
        monkeypatch.setattr(proc, "PROC", str(self.proc))
        monkeypatch.setattr(build_holds, "BLOCK", str(self.block))
        monkeypatch.setattr(mounts, "MAPPER_DIR", str(self.mapper))

    def loop(self, number: int, path: str) -> None:
        device = self.block / f"loop{number}"
        (device / "loop").mkdir(parents=True)
        (device / "loop/backing_file").write_text(f"{path}\n")
        (device / "dev").write_text(f"7:{number}\n")
        (device / "holders").mkdir()

    def mapping(self, number: int, name: str, below: str) -> None:
        device = self.block / f"dm-{number}"
        (device / "dm").mkdir(parents=True)
        (device / "dm/name").write_text(f"{name}\n")
        (device / "dev").write_text(f"252:{number}\n")
        (device / "holders").mkdir()
        (self.block / below / "holders" / f"dm-{number}").touch()

    def process(self, pid: int, *argv: str, exe: str = "") -> None:
        path = self.proc / str(pid)
        path.mkdir()
        (path / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in argv))
        (path / "exe").symlink_to(exe or argv[0])
        (path / "root").symlink_to("/")


@pytest.fixture
def kernel(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    return Kernel(tmp_path, monkeypatch)


def test_nothing(kernel: Kernel) -> None:
    kernel.loop(0, f"{W}2/payload")
    kernel.loop(1, "/elsewhere")
    kernel.mapping(0, "other", "loop1")
    holds = build_holds.find(W)
    assert holds == build_holds.Holds()
    assert not holds.any()
    assert holds.describe() == []


def test_loops_and_what_lies_on_them(kernel: Kernel) -> None:
    kernel.loop(3, f"{W}/disk.raw (deleted)")
    kernel.loop(4, f"{W}/payload")
    kernel.loop(5, f"{W}2/disk.raw")
    kernel.mapping(0, "sealedroot-web", "loop3")
    kernel.mapping(1, "vg-on-top", "dm-0")
    kernel.mapping(2, "another", "loop5")
    holds = build_holds.find(W)
    assert [(loop.device, loop.path) for loop in holds.loops] == [
        ("/dev/loop3", f"{W}/disk.raw"),
        ("/dev/loop4", f"{W}/payload"),
    ]
    assert holds.mappings == ("vg-on-top", "sealedroot-web")


def test_processes(kernel: Kernel) -> None:
    daemon = "/usr/bin/qemu-storage-daemon"
    kernel.process(50, daemon, "--export", f"type=fuse,mountpoint={W}/payload")
    kernel.process(51, daemon, "--export", f"type=fuse,mountpoint={W}2/payload")
    kernel.process(52, "/usr/bin/bwrap", "--bind", f"{W}/root", "/")
    kernel.process(53, "/usr/bin/bwrap", "--bind", f"{W}2/root", "/")
    kernel.process(54, "/usr/bin/tar", "-C", f"{W}/root", exe="/usr/bin/tar (deleted)")
    # A person's editor or shell is not the build's, and neither is a name that only looks like it.
    kernel.process(55, "/usr/bin/vim", f"{W}/disk.raw")
    kernel.process(56, "bwrap", f"{W}/root", exe="/usr/bin/python3")
    (kernel.proc / "57").mkdir()  # ended meanwhile
    launcher = ("-IS", f"{W}/private/run/sandbox/launcher.pyc", f"root={W}/root", "shell", "true")
    kernel.process(58, "python3", *launcher, exe="/usr/bin/python3")
    kernel.process(
        59, "python3", *(it.replace(W, f"{W}2") for it in launcher), exe="/usr/bin/python3"
    )
    holds = build_holds.find(W)
    found = [(it.pid, it.name) for it in holds.processes]
    assert found == [(52, "bwrap"), (54, "tar"), (58, "python3")]
    assert [it.pid for it in holds.daemons] == [50]


def test_ourselves_and_our_ancestors_are_spared(kernel: Kernel) -> None:
    parent = os.getppid()
    (kernel.proc / "1").mkdir()
    for pid in (os.getpid(), parent):
        kernel.process(pid, "/usr/bin/tar", f"{W}/root")
    (kernel.proc / str(parent) / "stat").write_text(f"{parent} (a) b) S 77 1 1")
    kernel.process(77, "/usr/bin/bwrap", f"{W}/root")
    (kernel.proc / "77/stat").write_text("77 (bwrap) S 1 1 1")
    assert build_holds.find(W).processes == ()


def test_mounts_come_last_mounted_first(kernel: Kernel) -> None:
    (kernel.proc / "self/mountinfo").write_text(
        "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
        "30 22 0:40 / /w/b/private rw - tmpfs tmpfs rw\n"
        "31 30 254:0 /disk /w/b/private/run/disk.raw rw - ext4 /dev/vda rw\n"
        "32 22 0:41 / /w/b2/private rw - tmpfs tmpfs rw\n"
    )
    holds = build_holds.find("/w/b")
    assert holds.describe() == [
        "mount /w/b/private/run/disk.raw (ext4)",
        "mount /w/b/private (tmpfs)",
    ]
