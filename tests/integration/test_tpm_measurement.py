# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""tpm_measurement reads disks of every format with real tools, and measure_image finds them."""

from __future__ import annotations

import json
import pathlib
import subprocess
import typing as t

import efi
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import output_formats
from ansible_collections.sealedroot.image.plugins.module_utils._grub import tpm_program
from builds import playbook

Module = t.Callable[..., dict[str, t.Any]]
MIB = 1 << 20
# Bytes that are no text must come through.
CORE = efi.program(bytes(range(256)) * 2735 + b"\r\n\n\x1a\xff")
MEASURED = tpm_program.measured(CORE)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """What is published of an image: the disk alone, in one format."""
    image = tmp_path_factory.mktemp("out") / "web"
    image.mkdir()
    disk, core = image / "disk.raw", image.parent / "core.efi"
    with disk.open("wb") as file:
        file.truncate(102 * MIB)
    core.write_bytes(CORE)
    argv = ["mkfs.vfat", "-F", "32", "-s", "1", "-h", "2048", "--offset", "2048", str(disk)]
    subprocess.run([*argv, str(99 * 1024)], check=True, capture_output=True)
    part = ("-i", f"{disk}@@{MIB}")
    subprocess.run(["mmd", *part, "::/EFI", "::/EFI/BOOT"], check=True)
    subprocess.run(["mcopy", *part, str(core), "::/EFI/BOOT/BOOTX64.EFI"], check=True)
    return image


def as_format(image: pathlib.Path, name: str, path: pathlib.Path) -> str:
    it = output_formats.FORMATS[name]
    argv = ["qemu-img", "convert", "-f", "raw", "-O", it.driver, *it.options]
    subprocess.run([*argv, str(image / "disk.raw"), str(path)], check=True)
    return str(path)


@pytest.mark.parametrize("name", output_formats.FORMATS)
def test_a_disk_is_measured(
    image: pathlib.Path, tmp_path: pathlib.Path, real_module: Module, name: str
) -> None:
    path = as_format(image, name, tmp_path / f"disk.{name}")
    found = real_module("tpm_measurement", path=path)
    assert {it: found[it] for it in MEASURED} == MEASURED
    assert [it.name for it in tmp_path.iterdir()] == [f"disk.{name}"]


def test_a_disk_without_grub(
    image: pathlib.Path, tmp_path: pathlib.Path, real_module: Module
) -> None:
    path = as_format(image, "raw", tmp_path / "disk.raw")
    subprocess.run(["mdel", "-i", f"{path}@@{MIB}", "::/EFI/BOOT/BOOTX64.EFI"], check=True)
    found = real_module("tpm_measurement", path=path)
    assert "has no EFI/BOOT/BOOTX64.EFI on its EFI system partition" in found["msg"]


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"tpm2": MEASURED}, MEASURED["authenticode"]),
        ({"tpm2": {**MEASURED, "authenticode": ""}}, "else: auth"),
    ],
)
def test_an_image_is_measured(image: pathlib.Path, facts: dict[str, t.Any], says: str) -> None:
    what = {"inputs": {"unlock": ["prompt", "tpm2"], "formats": ["raw"]}, "audit": {"facts": facts}}
    (image / "manifest.json").write_text(json.dumps(what))
    given = {"image_name": "web", "image_output_dir": str(image.parent)}
    run = playbook("sealedroot.image.measure_image", given, timeout=120)
    assert says in run.output
    assert (run.rc == 0) == ("else" not in says)
