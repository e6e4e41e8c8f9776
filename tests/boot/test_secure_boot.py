# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secure Boot from end to end: a Debian 13 boots by its signed chain, and without it not."""

from __future__ import annotations

import json
import pathlib
import secrets
import shutil
import subprocess
import typing as t

import pytest
from builds import (
    DEBIAN,
    PLAYBOOK,
    QUICK_INITRAMFS,
    add_files,
    fresh_place,
    playbook,
    source_tar,
)
from guests import CMDLINE, hashed

Module = t.Callable[..., "dict[str, t.Any]"]
PROHIBITED = "prohibited by secure boot policy"


class Image(t.NamedTuple):
    """The image of this module, and the password that was made up for its root."""

    directory: pathlib.Path
    password: str

    @property
    def key(self) -> pathlib.Path:
        return self.directory / "boot.key"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Image]:
    with fresh_place(tmp_path_factory) as place:
        password = secrets.token_hex(8)
        tar = place.path / "root.tar"
        shutil.copy(source_tar({**DEBIAN, "release": "trixie"}, image_secure_boot=True), tar)
        add_files(tar, QUICK_INITRAMFS)
        variables = place.variables(
            image_source={"type": "tar", "path": str(tar)},
            image_root_password_hash=hashed(password),
            image_secure_boot=True,
            image_kernel_cmdline=CMDLINE,
        )
        run = playbook(PLAYBOOK, variables, timeout=1800)
        assert run.rc == 0, run.output[-6000:]
        assert run.said("-global driver=cfi.pflash01,property=secure,value=on")
        yield Image(place.out / "web-1", password)


def test_the_audit_saw_the_chain(image: Image) -> None:
    manifest = json.loads((image.directory / "manifest.json").read_text())
    assert manifest["inputs"]["secure_boot"] is True
    (check,) = (it for it in manifest["audit"]["checks"] if it["name"] == "esp")
    assert check["detail"].startswith("exactly EFI/BOOT/BOOTX64.EFI, EFI/BOOT/grub.cfg, EFI/BOOT/g")
    assert "EFI/debian/grub.cfg" in check["detail"]


def test_wrong_and_right_keys(image: Image, real_module: Module, tmp_path: pathlib.Path) -> None:
    outcome = real_module(
        "image_boot_test",
        path=str(image.directory / "disk.qcow2"),
        cases=[
            {"name": "wrong", "expect": "refused"},
            {"name": "boot", "key_file": str(image.key)},
        ],
        secure_boot=True,
        timeout=900,
        log_dir=str(tmp_path),
    )
    assert not outcome.get("failed"), outcome["msg"]
    assert "secboot" in outcome["firmware"]
    wrong, boot = outcome["cases"]
    assert wrong["detail"] == "GRUB refused the wrong key and started nothing"
    assert (wrong["secure_boot"], boot["secure_boot"]) == (True, True)
    assert (boot["prompts"], boot["second_prompts"]) == (1, 0)
    assert PROHIBITED not in (tmp_path / "boot.log").read_text()


def test_without_a_signed_chain_the_firmware_starts_nothing(
    image: Image, real_module: Module, tmp_path: pathlib.Path
) -> None:
    disk = tmp_path / "disk.raw"
    esp = f"{disk}@@1M"
    core = tmp_path / "core.efi"
    subprocess.run(
        [
            *("qemu-img", "convert", "-O", "raw", image.directory / "disk.qcow2", disk),
        ],
        check=True,
    )
    # What an image without Secure Boot has there.
    subprocess.run(
        ["grub-mkimage", "-O", "x86_64-efi", "-p", "/", "-o", core, "normal", "fat"], check=True
    )
    for name in ("BOOTX64.EFI", "grubx64.efi"):
        subprocess.run(
            ["mcopy", "-D", "o", "-i", esp, core, f"::EFI/BOOT/{name}"],
            check=True,
            env={"MTOOLS_SKIP_CHECK": "1", "PATH": "/usr/bin"},
        )
    outcome = real_module(
        "image_boot_test",
        path=str(disk),
        cases=[{"name": "unsigned", "expect": "refused_by_firmware"}],
        secure_boot=True,
    )
    assert not outcome.get("failed"), outcome["msg"]
