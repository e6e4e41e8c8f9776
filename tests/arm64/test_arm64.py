# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Another architecture from end to end: a Debian for arm64 is bootstrapped, built, proved and booted."""

from __future__ import annotations

import json
import pathlib
import shutil
import struct
import subprocess
import typing as t

import pytest
from builds import (
    DEBIAN,
    PLAYBOOK,
    QUICK_INITRAMFS,
    Place,
    add_files,
    fresh_place,
    playbook,
    source_tar,
)
from emulation import register

ARM64 = {"image_architecture": "aarch64"}
VERIFY = "sealedroot.image.verify_image"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Place]:
    with fresh_place(tmp_path_factory) as place:
        yield place


@pytest.fixture(scope="module")
def tar(place: Place) -> pathlib.Path:
    register("aarch64")
    tar = place.path / "root.tar"
    shutil.copy(source_tar(DEBIAN, **ARM64), tar)
    add_files(tar, QUICK_INITRAMFS)
    return tar


@pytest.fixture(scope="module")
def image(place: Place, tar: pathlib.Path) -> pathlib.Path:
    """The directory of an image that was built, proved and booted."""
    variables = place.variables(
        **ARM64,
        image_source={"type": "tar", "path": str(tar)},
        image_boot_test=True,
        # Emulated on a busy machine, udev needs longer than the 90 seconds that systemd waits for a console.
        image_kernel_cmdline="console=tty0 console=ttyAMA0,115200 systemd.default_device_timeout_sec=900",
    )
    run = playbook(PLAYBOOK, variables, timeout=2400)
    assert run.rc == 0, run.output[-6000:]
    assert run.said("boot it with: qemu-system-aarch64 -machine virt,gic-version=max -cpu max")
    return place.out / "web-1"


def test_it_boots_with_one_prompt(image: pathlib.Path) -> None:
    manifest = json.loads((image / "manifest.json").read_text())
    assert manifest["inputs"]["architecture"] == manifest["root_tar"]["architecture"] == "aarch64"
    assert any(line.startswith("grub-efi-arm64-bin 2.06") for line in manifest["packages"])
    assert {check["verdict"] for check in manifest["audit"]["checks"]} == {"ok"}
    assert "AAVMF" in manifest["boot_test"]["firmware"]
    cases = {case["name"]: case for case in manifest["boot_test"]["cases"]}
    assert {name: case["verdict"] for name, case in cases.items()} == dict.fromkeys(
        ("wrong", "boot", "recovery"), "ok"
    )
    assert cases["wrong"]["detail"] == "GRUB refused the wrong key and started nothing"
    for name in ("boot", "recovery"):
        assert (cases[name]["prompts"], cases[name]["second_prompts"]) == (1, 0)


def test_its_firmware_finds_a_program_of_its_architecture(
    image: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    disk = tmp_path / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", image / "disk.qcow2", disk], check=True)
    table = subprocess.run(["sfdisk", "--json", disk], capture_output=True, check=True).stdout
    start = json.loads(table)["partitiontable"]["partitions"][0]["start"] * 512
    copy = ["mcopy", "-i", f"{disk}@@{start}", "::/EFI/BOOT/BOOTAA64.EFI", "-"]
    program = subprocess.run(copy, capture_output=True, check=True).stdout
    (header,) = struct.unpack_from("<I", program, 0x3C)
    # IMAGE_FILE_MACHINE_ARM64 of the PE header
    assert program[header : header + 6] == b"PE\0\0\x64\xaa"


def test_it_is_verified_as_what_it_is(image: pathlib.Path) -> None:
    """Found by its name, and its architecture in its manifest."""
    variables = {"image_name": image.name, "image_output_dir": str(image.parent)}
    good = playbook(VERIFY, {**variables, "image_boot_test": False})
    assert good.rc == 0, good.output[-6000:]


def test_it_must_be_asked_for(place: Place, tar: pathlib.Path) -> None:
    source = {"type": "tar", "path": str(tar)}
    run = playbook(PLAYBOOK, place.variables(image_name="other", image_source=source))
    assert run.rc != 0
    assert run.said("is a root for aarch64, but the image is to be x86_64")
