# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a build publishes: every format from one build, and what the owner's tasks get of it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import struct
import subprocess
import typing as t

import pytest
from builds import PLAYBOOK, ROOT, Place, Run, fresh_place, playbook

# QEMU's name of each format, and the magic bytes of it at the beginning of the file.
FORMATS = {
    "vhd": ("vpc", b"\0"),
    "raw": ("raw", b"\0"),
    "qcow2": ("qcow2", b"QFI\xfb"),
    "vhdx": ("vhdx", b"vhdxfile"),
    "vmdk": ("vmdk", b"KDMV"),
}
# A size that cylinders, heads and sectors would not give.
MIB = 1023


@dataclasses.dataclass
class Built:
    """A build of all formats, whose disks were uploaded by the example's tasks."""

    place: Place
    variables: dict[str, t.Any]
    run: Run

    @property
    def directory(self) -> pathlib.Path:
        return self.place.out / "web-1"

    @property
    def uploaded(self) -> pathlib.Path:
        return self.place.path / "upload" / "web-1"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, root_tar: pathlib.Path) -> t.Iterator[Built]:
    with fresh_place(tmp_path_factory) as place:
        variables = place.variables(
            image_source={"type": "tar", "path": str(root_tar)},
            image_size=f"{MIB}MiB",
            image_formats=list(FORMATS),
            image_publish_tasks=str(ROOT / "examples" / "publish_tasks.yml"),
            upload_dir=str(place.path / "upload"),
        )
        run = playbook(PLAYBOOK, variables)
        assert run.rc == 0, run.output[-6000:]
        yield Built(place, variables, run)


def raw(built: Built, name: str) -> pathlib.Path:
    return built.directory / f"disk.{name}"


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_the_same_disk(built: Built, name: str, tmp_path: pathlib.Path) -> None:
    """Converted back, by bytes and not by QEMU's comparison, which the build made."""
    driver, magic = FORMATS[name]
    path, back = raw(built, name), tmp_path / "back"
    with path.open("rb") as file:
        assert file.read(len(magic)) == magic
    subprocess.run(
        ["qemu-img", "convert", "-f", driver, "-O", "raw", path, back], check=True, timeout=600
    )
    assert back.stat().st_size == MIB << 20
    subprocess.run(["cmp", back, raw(built, "raw")], check=True, timeout=600)


@pytest.mark.parametrize("name", FORMATS)
def test_every_file_is_sparse(built: Built, name: str) -> None:
    """No format takes more room than the disk has data, plus what its own tables are."""
    least = raw(built, "raw").stat().st_blocks
    assert raw(built, name).stat().st_blocks <= 1.05 * least
    assert least * 512 < (MIB << 20) / 2


def test_the_vhd_is_one_that_azure_takes(built: Built) -> None:
    """Of fixed size, a whole number of MiB, and 512 bytes of footer that say so (VHD specification)."""
    path = raw(built, "vhd")
    assert path.stat().st_size == (MIB << 20) + 512
    with path.open("rb") as file:
        file.seek(-512, 2)
        footer = file.read()
    assert footer[:8] == b"conectix"
    (offset,) = struct.unpack_from(">Q", footer, 16)
    original, current = struct.unpack_from(">QQ", footer, 40)
    disk_type, checksum = struct.unpack_from(">II", footer, 60)
    assert offset == (1 << 64) - 1  # nothing follows: not dynamic
    assert original == current == MIB << 20
    assert current % (1 << 20) == 0
    assert disk_type == 2
    assert checksum == ~sum(footer[:64] + footer[68:]) & 0xFFFFFFFF


def test_the_vmdk_is_a_stream(built: Built) -> None:
    text = raw(built, "vmdk").read_bytes()[:4096]
    assert b'createType="streamOptimized"' in text


def test_the_manifest_knows_every_file(built: Built) -> None:
    manifest = json.loads((built.directory / "manifest.json").read_text())
    assert manifest["inputs"]["formats"] == list(FORMATS)
    assert manifest["audit"]["facts"]["format"] == "vpc"
    for name in FORMATS:
        entry = manifest["files"][f"disk.{name}"]
        done = subprocess.run(
            ["sha256sum", raw(built, name)], check=True, capture_output=True, text=True
        )
        assert entry["sha256"] == done.stdout.split()[0]
        assert entry["size"] == raw(built, name).stat().st_size


@pytest.mark.parametrize("name", ["vhd", "vmdk"])
def test_every_format_can_be_verified(built: Built, name: str) -> None:
    keys = {kind: str(built.directory / f"{kind}.key") for kind in ("boot", "recovery")}
    variables = {"audit_image": str(raw(built, name)), "audit_keys": keys, "image_boot_test": False}
    run = playbook("sealedroot.image.verify_image", variables)
    assert run.rc == 0, run.output[-3000:]


def test_the_owners_tasks_got_the_disks(built: Built) -> None:
    names = {path.name for path in built.uploaded.iterdir()}
    assert names == {"SHA256SUMS", *(f"disk.{name}" for name in FORMATS)}
    # By another tool than the one that wrote them.
    done = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"],
        cwd=built.uploaded,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(": OK") == len(FORMATS)


@pytest.mark.long
def test_a_second_run_runs_them_and_changes_nothing(built: Built) -> None:
    (built.uploaded / "SHA256SUMS").unlink()
    run = playbook(PLAYBOOK, built.variables)
    assert run.rc == 0, run.output[-3000:]
    assert run.changed == 1  # what was removed
    assert run.said("is there, whole, and made from these inputs")
    run = playbook(PLAYBOOK, built.variables)
    assert (run.rc, run.changed) == (0, 0), run.output[-3000:]


def test_tasks_that_fail_leave_the_image(built: Built) -> None:
    """Where no directory can be made; the message is the task's own, and what can be done about it."""
    before = {path: path.stat().st_mtime_ns for path in built.directory.iterdir()}
    nowhere = built.place.path / "file"
    nowhere.touch()
    run = playbook(PLAYBOOK, {**built.variables, "upload_dir": str(nowhere)})
    assert run.rc != 0
    assert run.said("image_publish_tasks failed at 'Make the directory'"), run.output
    assert run.said(f"The image stays published in {built.directory}.")
    assert {path: path.stat().st_mtime_ns for path in built.directory.iterdir()} == before
