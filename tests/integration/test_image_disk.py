# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""image_disk with real tools: every state, twice, in check mode, and what is refused."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import tempfile
import typing as t

import pytest
from builds import held

Module = t.Callable[..., dict[str, t.Any]]
MIB = 1 << 20
IMAGE = "aaaaaaaa-bbbb-4ccc-8ddd-0000000000d1"
ROOT = "aaaaaaaa-bbbb-4ccc-8ddd-0000000000d2"
EPOCH = 1700000000


def sh(*argv: str | os.PathLike[str]) -> str:
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60)
    return done.stdout


class Build:
    """The directory of a build."""

    def __init__(self, path: pathlib.Path, module: Module) -> None:
        self.path, self.module = path, module
        path.chmod(0o700)
        self.disk, self.root = path / "disk.raw", path / "root"
        self.header = path / "luks.header"
        self.boot, self.recovery = self.key("boot"), self.key("recovery")
        self.name = f"image-disk-{path.name.partition('.')[2]}"

    def key(self, name: str) -> pathlib.Path:
        path = self.path / f"{name}.key"
        path.touch(0o600)
        path.write_text(f"the {name} key, as text")
        return path

    def keys(self) -> list[dict[str, t.Any]]:
        return [
            {"slot": 0, "key_file": str(self.boot)},
            {"slot": 1, "key_file": str(self.recovery), "passphrase": True},
        ]

    def luks(self, *argv: str) -> str:
        """Run cryptsetup on a copy of the LUKS partition's header."""
        copy = self.path / "copy.header"
        with self.disk.open("rb") as file:
            file.seek(100 * MIB)
            copy.write_bytes(file.read(32 * MIB))
        return sh("cryptsetup", *argv, copy)

    def opens(self, key: pathlib.Path, slot: int) -> bool:
        argv = ("open", "--test-passphrase", "--key-slot", str(slot), "--key-file", str(key))
        try:
            self.luks(*argv)
        except subprocess.CalledProcessError:
            return False
        return True

    def run(self, state: str, **more: t.Any) -> dict[str, t.Any]:
        wanted = {}
        if state == "open":
            wanted = {"size": "500MiB", "keys": self.keys(), "header": str(self.header)}
        place = {"work_dir": str(self.path), "name": self.name, "state": state}
        return self.module("image_disk", **{**place, **wanted, **more})

    def ok(self, state: str, *, changed: bool, **more: t.Any) -> dict[str, t.Any]:
        result = self.run(state, **more)
        assert not result.get("failed"), result["msg"]
        assert result["changed"] is changed
        return result

    def release(self) -> None:
        subprocess.run(["umount", "--quiet", self.root], check=False)
        if self.disk.is_file() and os.path.exists(f"/dev/mapper/{self.name}"):
            self.run("closed")
        assert held(self.path) == []


@pytest.fixture
def build(real_module: Module) -> t.Iterator[Build]:
    with tempfile.TemporaryDirectory(prefix="image_disk.", dir="/var/tmp") as path:
        it = Build(pathlib.Path(path), real_module)
        try:
            yield it
        finally:
            it.release()


def options_of(path: pathlib.Path) -> set[str]:
    return set(sh("findmnt", "--noheadings", "--output", "OPTIONS", path).strip().split(","))


@pytest.mark.parametrize("filesystem", ["ext4", "xfs", "btrfs"])
def test_every_state_and_every_state_again(build: Build, filesystem: str) -> None:
    more = {"filesystem": filesystem, "uuid": IMAGE, "root_uuid": ROOT}
    build.ok("open", changed=True, _check=True, **more)
    assert not build.disk.exists()
    made = build.ok("open", changed=True, **more)
    assert build.disk.stat().st_mode & 0o777 == 0o600
    assert made["root_uuid"] == ROOT
    assert made["root"] == str(build.root)
    table = json.loads(sh("sfdisk", "--json", build.disk))["partitiontable"]
    assert [(it["start"], it["size"], it["name"]) for it in table["partitions"]] == [
        (2048, 99 * 2048, "ESP"),
        (100 * 2048, 399 * 2048, "root"),
    ]
    assert made["disk"]["root"] == {"offset": 100 * MIB, "size": 399 * MIB}
    sh("mdir", "-i", f"{build.disk}@@1M", "::")
    assert sh("findmnt", "--noheadings", "--output", "FSTYPE", build.root).strip() == filesystem
    assert {"nodev", "nosuid", "noatime", "rw"} <= options_of(build.root)
    (build.root / "file").write_text("content")
    again = build.ok("open", changed=False, **more)
    assert {**again, "changed": True, "diff": made["diff"]} == made
    build.ok("closed", changed=True, _check=True)
    build.ok("closed", changed=True)
    assert held(build.path) == []
    build.ok("closed", changed=False)
    assert made["luks_uuid"] in sh("blkid", "-p", "-O", str(100 * MIB), build.disk)
    build.ok("open", changed=True, **more)
    assert (build.root / "file").read_text() == "content"


def test_nothing_is_later_than_the_time_that_is_given(build: Build) -> None:
    """image_convert closes the disk, and everybody may read that then."""
    build.ok("open", changed=True, source_date_epoch=EPOCH)
    (build.root / "file").touch()
    (build.root / "link").symlink_to("nowhere")
    os.utime(build.root / "file", (5, 5))
    os.link(build.root / "file", build.root / "-other name")
    (build.root / "later").touch()
    options = {"path": str(build.disk), "mapping": build.name, "dest": str(build.path / "out")}
    more = {"formats": ["qcow2"], "source_date_epoch": EPOCH}
    assert build.module("image_convert", **options, **more)["changed"]
    assert held(build.path) == []
    assert build.disk.stat().st_mode & 0o777 == 0o644
    build.ok("open", changed=True)
    times = {path.name: int(path.lstat().st_mtime) for path in build.root.iterdir()}
    assert times == {
        **dict.fromkeys(("link", "later", "lost+found"), EPOCH),
        **dict.fromkeys(("file", "-other name"), 5),
    }


def test_what_was_interrupted_goes_on(build: Build) -> None:
    """Between any two steps: a part of a disk, the disk alone, no file system, one that is not mounted."""
    (build.path / "disk.raw.part").write_text("cut off")
    build.ok("open", changed=True)
    assert not (build.path / "disk.raw.part").exists()
    sh("umount", build.root)
    made = build.ok("open", changed=True)
    build.ok("closed", changed=True)
    build.ok("open", changed=True)
    sh("umount", build.root)
    sh("wipefs", "--all", made["device"])
    again = build.ok("open", changed=True)
    assert again["root_uuid"] != made["root_uuid"]
    build.ok("closed", changed=True)
    with build.disk.open("r+b") as file:
        file.seek(100 * MIB)
        file.write(bytes(4 * MIB))
    # There is no container to be closed, and none is made.
    build.ok("closed", changed=False)
    assert build.ok("open", changed=True)["luks_uuid"] != made["luks_uuid"]


def test_others_cannot_enter(build: Build) -> None:
    build.path.chmod(0o755)
    for check in (False, True):
        result = build.run("open", _check=check)
        assert "other users can enter" in result["msg"]
    assert not build.disk.exists()


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_no_name_in_the_image_leads_out_of_it(build: Build, kind: str) -> None:
    """The first file of a new file system has this name; no later opening may meet it."""
    precious = build.path / "private"
    precious.write_text("precious")
    build.ok("open", changed=True)
    name = build.root / ".first"
    if kind == "link":
        name.symlink_to(precious)
    else:
        os.mkfifo(name)
    build.ok("closed", changed=True)
    build.ok("open", changed=True)
    assert precious.read_text() == "precious"
    assert os.path.lexists(name)


def test_a_read_only_root_is_not_open(build: Build) -> None:
    build.ok("open", changed=True)
    sh("mount", "-o", "remount,ro", build.root)
    for check in (False, True):
        assert (
            "is mounted read-only: close the disk first" in build.run("open", _check=check)["msg"]
        )
    build.ok("closed", changed=True)
    build.ok("open", changed=True)
    assert build.disk.stat().st_mode & 0o777 == 0o600


def test_a_mount_of_somebody_elses_is_not_taken_for_ours(build: Build) -> None:
    build.ok("open", changed=True)
    build.ok("closed", changed=True)
    sh("mount", "-t", "tmpfs", "foreign", build.root)
    try:
        for state in ("open", "closed"):
            assert "foreign is mounted on" in build.run(state)["msg"]
        assert sh("findmnt", "--noheadings", "--output", "SOURCE", build.root).strip() == "foreign"
    finally:
        sh("umount", build.root)


@pytest.mark.parametrize(
    ("state", "more", "words"),
    [
        ("open", {"size": "much"}, "'much' is no size of a disk: give a number and a unit"),
        ("open", {"name": "../x"}, "cannot be a mapping"),
        ("open", {"size": "101MiB"}, "more than 101"),
        ("open", {"uuid": "x"}, "is no UUID"),
        ("open", {"keys": [{"slot": 0, "key_file": "/nowhere"}]}, "/nowhere does not exist"),
        ("open", {"keys": []}, "keys is empty"),
        ("open", {"keys": [{"slot": 8, "key_file": "/k"}]}, "luks1 has the slots 0 to 7"),
        (
            "open",
            {"keys": [{"slot": 0, "key_file": "/k"}, {"slot": 0, "key_file": "/l"}]},
            "same slot",
        ),
        ("open", {"work_dir": "/nowhere"}, "/nowhere is not there"),
        ("open", {"filesystem_features": ["no_such"]}, "no_such"),
        ("closed", {}, "make and open the disk first"),
    ],
)
def test_bad_input(build: Build, state: str, more: dict[str, t.Any], words: str) -> None:
    result = build.run(state, **more)
    assert result.get("failed")
    assert words in result["msg"], result["msg"]


def test_another_disk_stays_as_it_is(build: Build) -> None:
    build.disk.write_text("somebody's")
    result = build.run("open")
    assert "is not the disk that is asked for" in result["msg"]
    assert build.disk.read_text() == "somebody's"


def test_another_file_system_stays_as_it_is(build: Build) -> None:
    build.ok("open", changed=True)
    # Open or closed; and what was opened to look is closed again.
    for _again in range(2):
        assert "has ext4, not xfs: correct filesystem" in build.run("open", filesystem="xfs")["msg"]
        assert "has the UUID" in build.run("open", root_uuid=ROOT)["msg"]
        subprocess.run(["umount", "--quiet", build.root], check=False)
        build.run("closed")
        assert held(build.path) == []


@pytest.mark.parametrize("kind", ["luks1", "luks2"])
def test_each_key_is_in_its_slot_and_the_header_is_pinned(build: Build, kind: str) -> None:
    made = build.ok("open", changed=True, luks={"type": kind})
    assert made["slots"] == {"0": 1000, "1": 600000}
    assert build.opens(build.boot, 0)
    assert build.opens(build.recovery, 1)
    assert not build.opens(build.recovery, 0)
    assert not build.opens(build.key("wrong"), 1)
    pinned = build.header.read_bytes()
    assert build.header.stat().st_mode & 0o777 == 0o400
    with build.disk.open("rb") as file:
        file.seek(100 * MIB)
        assert file.read(len(pinned)) == pinned
    build.ok("open", changed=False, luks={"type": kind})
    assert build.header.read_bytes() == pinned


def test_keys_that_an_interrupted_run_left_out_are_added(build: Build) -> None:
    first, second = build.keys()
    build.ok("open", changed=True, keys=[first])
    assert not build.opens(build.recovery, 1)
    build.header.unlink()
    build.ok("open", changed=False)
    assert build.opens(build.recovery, 1)
    assert build.opens(build.boot, 0)
    assert build.header.exists()
    # A key too many, and another key in a slot; both leave the container as it is.
    assert "a key in slot 1, which keys does not name" in build.run("open", keys=[first])["msg"]
    other = {**second, "key_file": str(build.key("other"))}
    assert "other.key does not open slot 1" in build.run("open", keys=[first, other])["msg"]
    assert build.opens(build.recovery, 1)
    build.ok("open", changed=False)
