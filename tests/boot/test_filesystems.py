# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Debian 12 on XFS and on Btrfs: built, proved, and booted to the login prompt with one question."""

from __future__ import annotations

import json
import secrets
import shutil

import pytest
from builds import DEBIAN, PLAYBOOK, Place, add_files, playbook, quick_initramfs, source_tar
from growth import check_grown
from guests import CMDLINE, Guest, hashed, overlay

# The disk is twice as large as the image.
GROWN = 4 << 30


@pytest.mark.long
@pytest.mark.parametrize("filesystem", ["btrfs", "xfs"])
def test_debian_12_boots_from(place: Place, filesystem: str) -> None:
    password = secrets.token_hex(8)
    tar = place.path / "root.tar"
    shutil.copy(source_tar(DEBIAN, image_filesystem=filesystem), tar)
    add_files(tar, quick_initramfs(filesystem))
    variables = place.variables(
        image_source={"type": "tar", "path": str(tar)},
        image_filesystem=filesystem,
        image_root_password_hash=hashed(password),
        image_kernel_cmdline=CMDLINE,
    )
    run = playbook(PLAYBOOK, variables, timeout=1800)
    assert run.rc == 0, run.output[-6000:]
    directory = place.out / "web-1"
    audit = json.loads((directory / "manifest.json").read_text())["audit"]
    assert {check["verdict"] for check in audit["checks"]} == {"ok"}
    assert audit["facts"]["filesystem"] == filesystem
    guest = Guest(overlay(directory / "disk.qcow2", place.path / "overlay.qcow2", GROWN))
    try:
        guest.boot((directory / "boot.key").read_text())
        guest.log_in(password)
        assert filesystem in guest.run("findmnt -no FSTYPE /")
        check_grown(guest, GROWN)
        # Nothing in the guest wants what it has not got to check its root.
        guest.run("systemctl is-active local-fs.target")
        guest.run(f"grep -q ' / {filesystem} .* 0 0$' /etc/fstab")
    finally:
        guest.end()
