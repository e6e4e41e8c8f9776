# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image for launch secrets, and machines that start from it as docs/deploy.md says."""

from __future__ import annotations

import pathlib
import secrets
import shutil
import typing as t

import debian_firmware
from attack_images import Image, Kind
from attacks import Stage
from builds import DEBIAN, PLAYBOOK, QUICK_INITRAMFS, Place, add_files, playbook, source_tar
from guests import CMDLINE, Guest, hashed

KIND = Kind("initramfs-tools", "luks1")


def build(place: Place, ways: t.Sequence[str] = ("launch_secret",), **more: t.Any) -> Image:
    """Build an image of Debian 13, whose GRUB is the first that takes a key as an argument."""
    (firmware,) = debian_firmware.files(debian_firmware.SEV)
    password = secrets.token_hex(8)
    tar = place.path / "root.tar"
    shutil.copy(source_tar({**DEBIAN, "release": "trixie"}), tar)
    add_files(tar, QUICK_INITRAMFS)
    variables = place.variables(
        image_source={"type": "tar", "path": str(tar)},
        image_root_password_hash=hashed(password),
        image_kernel_cmdline=CMDLINE,
        image_unlock=list(ways),
        image_firmware=str(firmware),
        **more,
    )
    run = playbook(PLAYBOOK, variables, timeout=2400)
    assert run.rc == 0, run.output[-6000:]
    assert (place.out / "web-1" / "boot.key").read_text() not in run.output
    return Image(KIND, defended=True, directory=place.out / "web-1", password=password)


def files(image: Image) -> dict[str, str]:
    """Return what image_boot_test takes as ``launch``."""
    launch = image.directory / "launch"
    return {
        "firmware": str(launch / "firmware.fd"),
        "core": str(launch / "core.efi"),
        "hashes": str(launch / "hashes.bin"),
        "secret": str(launch / "secret.bin"),
        "digest": image.manifest["launch"]["sev"],
    }


def areas(image: Image) -> tuple[dict[str, int], dict[str, int]]:
    """Return the areas of the firmware for the hashes and for the secret."""
    firmware = image.manifest["launch"]["firmware"]
    return firmware["hashes_area"], firmware["secret_area"]


def start(stage: Stage, disk: pathlib.Path | None = None) -> Guest:
    """Start a machine with all that belongs to it, and with the disk of the image or another one."""
    it = files(stage.image)
    words = ["-bios", it["firmware"], "-kernel", it["core"]]
    for name, area in zip(("hashes", "secret"), areas(stage.image), strict=True):
        words += ["-device", f"loader,file={it[name]},addr={area['base']:#x},force-raw=on"]
    drive = f"file={disk or stage.raw},format=raw,if=virtio,id=genuine"
    return stage.guest("-drive", drive, launched=words)
