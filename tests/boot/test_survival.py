# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The life of an image: its own updates in the booted guest, and a second boot with one prompt."""

from __future__ import annotations

import json
import pathlib
import secrets
import shutil
import subprocess
import tarfile
import typing as t

import pytest
from builds import (
    DEBIAN,
    PLAYBOOK,
    QUICK_DRACUT,
    QUICK_INITRAMFS,
    add_files,
    fresh_place,
    playbook,
    source_tar,
)
from growth import check_grown
from guests import CMDLINE, Guest, hashed, overlay
from survival import kernel_disk, reinstall_kernel

# The disk is twice as large as the image.
GROWN = 4 << 30


class Generator(t.NamedTuple):
    """What builds the initramfs of a root, and how a person renews it."""

    source: dict[str, t.Any]
    quick: dict[str, str]
    renew: str


GENERATORS = {
    "initramfs_tools": Generator(DEBIAN, QUICK_INITRAMFS, "update-initramfs -u -k all"),
    "dracut": Generator(
        {**DEBIAN, "release": "trixie", "initramfs": "dracut"}, QUICK_DRACUT, "dracut --force"
    ),
}


class Image(t.NamedTuple):
    """An image of this module, and the password that was made up for its root."""

    generator: Generator
    directory: pathlib.Path
    password: str
    tar: pathlib.Path


@pytest.fixture(scope="module", params=sorted(GENERATORS, reverse=True))
def image(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[Image]:
    generator = GENERATORS[request.param]
    with fresh_place(tmp_path_factory) as place:
        password = secrets.token_hex(8)
        shadow = hashed(password)
        tar = place.path / "root.tar"
        shutil.copy(source_tar(generator.source), tar)
        add_files(tar, generator.quick)
        source = {"type": "tar", "path": str(tar)}
        variables = place.variables(
            image_source=source,
            image_root_password_hash=shadow,
            image_kernel_cmdline=CMDLINE,
        )
        run = playbook(PLAYBOOK, variables, timeout=1800)
        assert run.rc == 0, run.output[-6000:]
        assert shadow not in run.output
        yield Image(generator, place.out / "web-1", password, tar)


@pytest.fixture
def guest(image: Image, tmp_path: pathlib.Path) -> t.Iterator[Guest]:
    disk = overlay(image.directory / "disk.qcow2", tmp_path / "overlay.qcow2", GROWN)
    guest = Guest(disk, drives=[kernel_disk(image.tar, tmp_path)])
    yield guest
    guest.end()


def start(guest: Guest, image: Image) -> None:
    """Boot with the boot key, and log in."""
    guest.boot((image.directory / "boot.key").read_text())
    guest.log_in(image.password)


@pytest.mark.parametrize(
    "image", [pytest.param("initramfs_tools", marks=pytest.mark.long), "dracut"], indirect=True
)
def test_the_image_survives_its_own_updates(guest: Guest, image: Image) -> None:
    """And what it writes after it has grown is what GRUB reads then."""
    start(guest, image)
    check_grown(guest, GROWN)
    # The EFI system partition is the host's: grub-install mounts it, and nothing else does.
    guest.run("! mountpoint -q /boot/efi")
    guest.run(image.generator.renew, timeout=900)
    guest.run("update-grub", timeout=300)
    guest.run("grub-install", timeout=300)
    reinstall_kernel(guest)
    guest.run("cryptsetup status $(findmnt -no SOURCE /) | grep -q LUKS1")
    guest.console.send("systemctl reboot\r")
    guest.reset()
    start(guest, image)
    guest.run("systemctl is-active local-fs.target")


# GRUB's answer to a key has nothing to do with the initramfs, so one image is enough.
@pytest.mark.parametrize("image", ["dracut"], indirect=True)
def test_every_key_boots_and_a_wrong_one_does_not(image: Image) -> None:
    run = playbook(
        "sealedroot.image.verify_image",
        {
            "audit_image": str(image.directory / "disk.qcow2"),
            "audit_keys": {
                name: str(image.directory / f"{name}.key") for name in ("boot", "recovery")
            },
        },
        "-v",
        timeout=1500,
    )
    assert run.rc == 0, run.output[-6000:]
    assert run.said("GRUB refused the wrong key and started nothing")
    assert run.output.count("asked once and reached the login prompt") >= 2


@pytest.mark.parametrize("image", ["dracut"], indirect=True)
def test_the_tar_is_as_it_was(image: Image) -> None:
    """Building reads its source only."""
    manifest = json.loads((image.directory / "manifest.json").read_text())
    with tarfile.open(image.tar) as tar:
        assert tar.next() is not None
    digest = subprocess.run(
        ["sha256sum", image.tar], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    assert digest == manifest["inputs"]["source"]["sha256"]
