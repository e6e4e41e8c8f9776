# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The root of a container becomes a machine: the build installs what it lacks, and cloud-init does what a seed says."""

from __future__ import annotations

import json
import pathlib
import secrets
import subprocess

import pytest
from builds import PLAYBOOK, QUICK_INITRAMFS, Place, add_files, playbook
from guests import CMDLINE, Guest, hashed, overlay
from survival import mirror, valid_until

# The kernel of clouds, in place of the one that "auto" would name.
PACKAGES = ["auto", "cloud-init", "linux-image-cloud-amd64"]
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl ada@example.org"


def container_root(path: pathlib.Path) -> pathlib.Path:
    """Make the root of a container: the packages that Debian calls essential, and apt."""
    command = ["mmdebstrap", "--quiet", "--variant=minbase", *valid_until(), "bookworm", str(path)]
    subprocess.run([*command, *mirror()], check=True, timeout=900)
    # Configuration that a package finds there when it is installed stays.
    add_files(path, QUICK_INITRAMFS)
    return path


def seed(path: pathlib.Path) -> pathlib.Path:
    """Make the disk that cloud-init's data source NoCloud looks for."""
    user_data = {
        "hostname": "named-by-seed",
        # It would fail in a root that has no locale generated (/etc/locale.gen), whatever boots it.
        "locale": False,
        "users": [{"name": "ada", "lock_passwd": True, "ssh_authorized_keys": [KEY]}],
    }
    files = {
        "meta-data": json.dumps({"instance-id": "i-1"}),
        "user-data": f"#cloud-config\n{json.dumps(user_data)}\n",
    }
    folder = path.with_suffix(".d")
    folder.mkdir()
    subprocess.run(["truncate", "-s", "4M", path], check=True)
    subprocess.run(["mkfs.vfat", "-n", "CIDATA", path], check=True, stdout=subprocess.DEVNULL)
    for name, text in files.items():
        (folder / name).write_text(text)
        subprocess.run(["mcopy", "-i", path, folder / name, f"::{name}"], check=True)
    return path


@pytest.mark.long
def test_a_container_root_becomes_a_machine_that_cloud_init_sets_up(
    place: Place, tmp_path: pathlib.Path
) -> None:
    password = secrets.token_hex(8)
    tar = container_root(place.path / "root.tar")
    variables = place.variables(
        image_source={"type": "tar", "path": str(tar)},
        image_packages=PACKAGES,
        image_host_agents=["cloud-init"],
        image_root_password_hash=hashed(password),
        image_kernel_cmdline=CMDLINE,
    )
    run = playbook(PLAYBOOK, variables, timeout=1800)
    assert run.rc == 0, run.output[-6000:]
    directory = place.out / "web-1"
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["root_tar"]["missing_packages"] == []
    assert {check["verdict"] for check in manifest["audit"]["checks"]} == {"ok"}
    disk = overlay(directory / "disk.qcow2", tmp_path / "overlay.qcow2")
    guest = Guest(disk, drives=[seed(tmp_path / "seed.img")])
    try:
        # One question only.
        guest.boot((directory / "boot.key").read_text())
        guest.log_in(password)
        guest.run("dmesg -n 1; stty cols 500")
        guest.run("cloud-init status --wait", timeout=900)
        assert "DataSourceNoCloud" in guest.run("cat /run/cloud-init/result.json")
        assert "named-by-seed" in guest.run("cat /proc/sys/kernel/hostname")
        assert "ada:" in guest.run("getent passwd ada")
        assert KEY in guest.run("cat /home/ada/.ssh/authorized_keys")
        guest.run('[ "$(stat -c %U:%a /home/ada/.ssh/authorized_keys)" = ada:600 ]')
    finally:
        guest.end()
