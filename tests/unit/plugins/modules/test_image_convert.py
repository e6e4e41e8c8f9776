# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""image_convert with scripted commands; tests/integration/test_image_convert.py has real disks."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import own_grub, root_disk
from ansible_collections.sealedroot.image.plugins.module_utils._disk import (
    conversion,
    layout,
    output_formats,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import loop_devices
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

MIB = 1 << 20
SAME = "Images are identical.\n"


class Disk:
    """A raw disk and what is asked of qemu-img."""

    def __init__(self, path: pathlib.Path, script: t.Any) -> None:
        self.path, self.script = path / "disk.raw", script
        self.dest = path / "out" / ".web.partial"
        with self.path.open("wb") as file:
            file.truncate(431 * MIB)
            file.seek(layout.ROOT_OFFSET)
            file.write(b"LUKS\xba\xbe\x00\x02")

    def options(self, *formats: str, **more: t.Any) -> dict[str, t.Any]:
        return {"path": str(self.path), "dest": str(self.dest), "formats": formats, **more}

    def compared(self, name: str = "qcow2", **answer: t.Any) -> None:
        driver, file = output_formats.FORMATS[name].driver, str(self.dest / f"disk.{name}")
        argv = ["qemu-img", "compare", "-f", "raw", "-F", driver, str(self.path), file]
        self.script.expect(argv, **{"stdout": SAME, **answer})

    def asked(self, name: str = "qcow2", **said: t.Any) -> None:
        """What kind of file it is; the words are what qemu-img says."""
        known, file = output_formats.FORMATS[name], str(self.dest / f"disk.{name}")
        argv = ["qemu-img", "info", "--output=json", "-f", known.driver, file]
        self.script.expect(argv, stdout=json.dumps(said))

    def converted(self, name: str = "qcow2", **answer: t.Any) -> None:
        known, file = output_formats.FORMATS[name], self.dest / f"disk.{name}"
        argv = ["qemu-img", "convert", *known.options, "-f", "raw", "-O", known.driver]
        effect = None if answer.get("rc") else lambda: file.write_bytes(name.encode())
        self.script.expect([*argv, str(self.path), str(file)], effect=effect, **answer)


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[loop_devices.Loop]:
    """The loop devices that there are."""
    bound: list[loop_devices.Loop] = []
    monkeypatch.setattr(loop_devices, "list_all", lambda _runner: bound)
    return bound


@pytest.fixture
def disk(tmp_path: pathlib.Path, script: t.Any, loops: t.Any) -> Disk:
    assert loops == []
    return Disk(tmp_path, script)


def test_a_disk_is_converted_and_compared(disk: Disk, run_module: t.Any) -> None:
    assert run_module("image_convert", _check=True, **disk.options("qcow2"))["changed"]
    assert not disk.dest.exists()
    disk.converted()
    disk.compared()
    made = run_module("image_convert", **disk.options("qcow2", digests_of=["qcow2"]))
    assert made["changed"]
    assert disk.dest.stat().st_mode & 0o777 == 0o700
    file = str(disk.dest / "disk.qcow2")
    digest = hashlib.sha256(b"qcow2").hexdigest()
    wanted = {"path": file, "driver": "qcow2", "is_flat": False, "sha256": digest}
    assert made["disks"] == {"qcow2": wanted}
    before, after = {"disks": [], "is_open": False}, {"disks": ["qcow2"], "is_open": False}
    assert made["diff"] == {"before": before, "after": after}
    disk.asked()
    disk.compared()
    again = run_module("image_convert", **disk.options("qcow2"))
    assert again["changed"] is False
    assert disk.path.exists()


@pytest.mark.parametrize("was_open", [True, False])
def test_the_disk_is_closed_first(
    was_open: bool, disk: Disk, run_module: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[t.Any] = []

    class Made:
        root = "/w/root"

        def __init__(self, *given: t.Any) -> None:
            self.said = "open" if was_open else "closed"
            done.append(given)

        def state(self) -> str:
            return self.said

        def make_read_only(self) -> None:
            done.append("read-only")
            self.said = "read_only"

        def close(self, *, check_mode: bool) -> bool:
            done.append("asked" if check_mode else "closed")
            return was_open

    def prove(_runner: t.Any, **where: str) -> None:
        done.append(where)

    monkeypatch.setattr(root_disk, "made", lambda _runner, *given: Made(*given))
    monkeypatch.setattr(own_grub, "prove", prove)
    options = disk.options("qcow2", mapping="web-1", sandbox="/w/run", source_date_epoch=5)
    assert run_module("image_convert", _check=True, **options)["changed"]
    disk.converted()
    disk.compared()
    made = run_module("image_convert", **options)
    assert made["diff"]["before"]["is_open"] is was_open
    given = (str(disk.path), "web-1", 5)
    where = {"sandbox": "/w/run", "root": "/w/root", "disk": str(disk.path)}
    proof = ["read-only", where] if was_open else []
    assert done == [given, "asked", given, *proof, "closed"]
    disk.asked()
    disk.compared()
    assert run_module("image_convert", **options)["changed"] is was_open


def test_what_the_grub_of_the_image_does_not_read_stays_open(
    disk: Disk, run_module: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_args: t.Any, **_more: t.Any) -> t.NoReturn:
        raise SealedRootError("GRUB does not read it")

    monkeypatch.setattr(root_disk.RootDisk, "state", lambda _self: "read_only")
    monkeypatch.setattr(own_grub, "prove", refused)
    options = disk.options("qcow2", mapping="web-1", sandbox="/w/run")
    assert run_module("image_convert", **options)["msg"] == "GRUB does not read it"
    assert not disk.dest.exists()


def test_a_sandbox_is_for_an_open_disk(disk: Disk, run_module: t.Any) -> None:
    said = run_module("image_convert", **disk.options("qcow2", sandbox="/w/run"))["msg"]
    assert said == "sandbox is for a disk that is open: give its mapping, or leave it out"


@pytest.mark.parametrize("check", [False, True])
def test_an_open_disk_is_not_converted(
    check: bool, disk: Disk, loops: list[loop_devices.Loop], run_module: t.Any
) -> None:
    other = os.stat(__file__)
    loops.append(loop_devices.Loop("/dev/loop3", 0, (other.st_dev, other.st_ino), "x"))
    info = disk.path.stat()
    loops.append(
        loop_devices.Loop("/dev/loop4", layout.ROOT_OFFSET, (info.st_dev, info.st_ino), "x")
    )
    said = run_module("image_convert", _check=check, **disk.options("qcow2"))
    assert said["msg"].startswith(f"{disk.path} is open on /dev/loop4: close it, or name its LUKS")
    assert not disk.dest.exists()


def test_a_path_may_be_written_in_any_way(
    disk: Disk, run_module: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_disk.RootDisk, "close", lambda *_args, **_how: False)
    monkeypatch.chdir(disk.path.parent)
    for path in (f"{disk.path.parent}//disk.raw", "disk.raw", "./out/../disk.raw"):
        made = run_module(
            "image_convert", _check=True, **{**disk.options("qcow2", mapping="m"), "path": path}
        )
        assert made["changed"], made.result


def test_only_the_disk_of_a_build_is_closed(disk: Disk, run_module: t.Any) -> None:
    other = disk.path.rename(disk.path.with_name("other.raw"))
    options = {**disk.options("qcow2", mapping="web-1"), "path": str(other)}
    said = run_module("image_convert", **options)
    assert said["msg"] == f"{other} is no disk of a build, which is called disk.raw: correct it"
    assert not disk.dest.exists()


def test_a_file_that_is_another_disk_is_made_anew(disk: Disk, run_module: t.Any) -> None:
    disk.dest.mkdir(parents=True)
    (disk.dest / "disk.qcow2").write_bytes(b"cut off")
    disk.asked()
    disk.compared(rc=1, stdout="Content mismatch at offset 0!\n")
    disk.converted()
    disk.compared()
    made = run_module("image_convert", remove_disk=True, **disk.options("qcow2"))
    assert made["changed"]
    assert not disk.path.exists()
    # All is done, and the disk is what it was removed for.
    for check in (False, True):
        again = run_module("image_convert", _check=check, remove_disk=True, **disk.options("qcow2"))
        assert again["changed"] is False


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("qcow2", {"backing-filename": "disk.raw"}),
        ("qcow2", {"format-specific": {"data": {"data-file": "x"}}}),
        ("vmdk", {"format-specific": {"data": {"create-type": "monolithicSparse"}}}),
        # A dynamic one is shorter than the disk.
        ("vhd", {}),
    ],
)
def test_another_variant_is_made_anew(
    name: str, said: t.Any, disk: Disk, run_module: t.Any
) -> None:
    """It would be the same disk to QEMU, and not what was asked for, or not without another file."""
    disk.dest.mkdir(parents=True)
    (disk.dest / f"disk.{name}").write_bytes(b"other")
    disk.asked(name, **said)
    disk.converted(name)
    disk.compared(name)
    assert run_module("image_convert", **disk.options(name))["changed"]


def test_nothing_is_written_through_a_link_or_over_the_disk(
    disk: Disk, run_module: t.Any, tmp_path: pathlib.Path
) -> None:
    disk.dest.mkdir(parents=True)
    victim, file = tmp_path / "victim", disk.dest / "disk.qcow2"
    victim.write_text("precious")
    for make in (lambda: file.symlink_to(victim), lambda: os.mkfifo(file)):
        make()
        outcome = run_module("image_convert", **disk.options("qcow2"))
        assert "disk.qcow2 is not a regular file: remove it" in outcome["msg"]
        file.unlink()
    os.link(disk.path, file)
    outcome = run_module("image_convert", **disk.options("qcow2"))
    assert "is the disk itself: give another directory" in outcome["msg"]
    assert victim.read_text() == "precious"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"formats": []}, "formats is empty"),
        ({"digests_of": ["raw"]}, "digests_of has raw, but formats does not"),
    ],
)
def test_formats_that_make_no_sense(more: t.Any, words: str, disk: Disk, run_module: t.Any) -> None:
    asked = {**disk.options("qcow2"), "remove_disk": True, **more}
    outcome = run_module("image_convert", **asked)
    assert outcome.failed
    assert words in outcome["msg"]
    assert disk.path.exists()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (
            {"rc": 1, "stdout": f"Content mismatch at offset {116 * MIB}!\n"},
            f"offset {116 * MIB} (byte 0 of the encrypted data)! Something wrote",
        ),
        ({"rc": 1, "stdout": "Image size mismatch!\n"}, "Image size mismatch! Something wrote"),
        # It says more than the one line where sizes differ and the rest is empty.
        (
            {"stdout": f"Warning: Image size mismatch!\n{SAME}"},
            "not the same disk: Warning: Image size mismatch!",
        ),
        ({"rc": 2, "stdout": ""}, "not the same disk: exit status 2"),
    ],
)
def test_what_came_out_is_another_disk(
    answer: t.Any, words: str, disk: Disk, run_module: t.Any
) -> None:
    disk.converted()
    disk.compared(**answer)
    outcome = run_module("image_convert", remove_disk=True, **disk.options("qcow2"))
    assert outcome.failed
    assert words in outcome["msg"]
    assert disk.path.exists()


def test_a_conversion_that_fails(disk: Disk, run_module: t.Any) -> None:
    disk.converted(rc=1, stderr="qemu-img: no luck\n")
    outcome = run_module("image_convert", remove_disk=True, **disk.options("qcow2"))
    assert outcome.failed
    assert "the disk could not be converted" in outcome["msg"]
    assert "no luck" in outcome["msg"]
    assert disk.path.exists()


@pytest.mark.parametrize("check", [False, True])
def test_nothing_else_is_published(check: bool, disk: Disk, run_module: t.Any) -> None:
    disk.dest.mkdir(parents=True)
    (disk.dest / "left").touch()
    outcome = run_module("image_convert", _check=check, **disk.options("qcow2"))
    assert outcome.failed
    assert "has 'left' in it, which would be published" in outcome["msg"]


def test_a_disk_that_is_not_there(disk: Disk, run_module: t.Any) -> None:
    disk.path.unlink()
    outcome = run_module("image_convert", **disk.options("qcow2"))
    assert outcome.failed
    assert "is not a file: give the raw disk" in outcome["msg"]


@pytest.mark.parametrize(
    ("header", "mib"),
    [(b"LUKS\xba\xbe\x00\x01", 2), (b"LUKS\xba\xbe\x00\x02", 16), (b"noise...", 16), (b"", 16)],
)
def test_where_the_data_begins(header: bytes, mib: int, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.seek(layout.ROOT_OFFSET)
        file.write(header)
    assert conversion.payload_offset(str(path)) == mib * MIB
