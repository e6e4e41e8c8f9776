# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A disk twice as large as its image: the root grows to it at the first boot, beside cloud-init, and no key is left.

LUKS2 needs the key for it. cloud-init is told to grow the root, too. Disks that grow with LUKS1, with other file
systems, with dracut and with SELinux are in the tests of these.
"""

from __future__ import annotations

import json
import pathlib
import re
import secrets
import shutil
import subprocess
import time

import pytest
from builds import DEBIAN, PLAYBOOK, QUICK_INITRAMFS, Place, add_files, playbook, source_tar
from growth import check_grown, journal, sizes
from guests import CMDLINE, CPU, FIRMWARE, Guest, hashed, overlay

SOURCE = {**DEBIAN, "packages": ["cloud-guest-utils", "cloud-init"]}
SEED = {
    "var/lib/cloud/seed/nocloud/meta-data": "instance-id: one\n",
    # With "growpart" a failure of its tool is an error, which "auto" would hide.
    "var/lib/cloud/seed/nocloud/user-data": "#cloud-config\ngrowpart: {mode: growpart}\n",
    # Of its modules those alone that grow something.
    "etc/cloud/cloud.cfg.d/90_seed.cfg": (
        "datasource_list: [NoCloud]\ncloud_init_modules: [growpart, resizefs]\n"
        "cloud_config_modules: []\ncloud_final_modules: []\n"
    ),
}
BUILT, GROWN = 2 << 30, 4 << 30


def cloud_init_is_content(guest: Guest) -> None:
    """Fail unless its module ran, found nothing to do, and failed in nothing."""
    guest.run("cloud-init status --wait --long", timeout=600)
    log = "grep cc_growpart /var/log/cloud-init.log"
    guest.run(f"{log} | grep 'no change necessary'")
    guest.run(f"{log} | grep 'No encryption keyfile found'")
    guest.run(f"! {log} | grep -e FAILED -e WARNING -e Traceback")


def files_with(guest: Guest, key: str) -> set[str]:
    """Return every file of the guest that holds the key as it is; it is read there, so that typing it adds none."""
    said = guest.run(
        "grep -rlFf /etc/cryptsetup-keys.d/luks-*.key --devices=skip / --exclude-dir={proc,sys} 2>/dev/null"
        " | sed 's/.*/HOLDS<&>/'; :",
        timeout=600,
    )
    assert key not in said
    return set(re.findall(r"HOLDS<(/[^>]+)>", said))


def looks_whole(place: Place, disk: pathlib.Path, key: str) -> None:
    """Look at the disk from outside: its partition table, GRUB's way into it, and that it shows no key."""
    raw = place.path / "disk.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    said = subprocess.run(["sgdisk", "-v", raw], capture_output=True, text=True, check=True).stdout
    assert "No problems found" in said, said
    # Within the last sector of the disk.
    with raw.open("rb") as written:
        written.seek(GROWN - 512)
        assert written.read(8) == b"EFI PART"
    fstest = ["grub-fstest", "-C", str(raw), "cat", "(crypto0)/etc/fstab"]
    read = subprocess.run(
        fstest, input=f"{key}\n", capture_output=True, text=True, check=True, timeout=300
    )
    assert " / ext4 " in read.stdout
    assert subprocess.run(["grep", "-qF", key, raw], check=False, timeout=300).returncode == 1
    raw.unlink()


def test_firmware_mends_a_table_that_was_half_written(tmp_path: pathlib.Path) -> None:
    """sfdisk writes the backup first: the power can go while it writes, and GRUB still finds its disk."""
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(256 << 20)
    table = "label: gpt\nstart=1MiB, size=99MiB, type=uefi\nstart=100MiB, size=155MiB\n"
    quiet = ["sfdisk", "-q", "--no-reread", "--no-tell-kernel"]
    subprocess.run([*quiet, disk], input=table, text=True, check=True)
    with disk.open("r+b") as table_file:
        header = table_file.read(1024)[512:]
        table_file.truncate(512 << 20)
    subprocess.run([*quiet, "-N", "2", disk], input=",411MiB\n", text=True, check=True)
    with disk.open("r+b") as table_file:
        table_file.seek(512)
        table_file.write(header)

    def verdict() -> str:
        done = subprocess.run(["sgdisk", "-v", disk], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    assert "Main partition table: ERROR" in verdict()
    variables = tmp_path / "variables.fd"
    shutil.copy(FIRMWARE / "OVMF_VARS_4M.fd", variables)
    command = ["qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", CPU]
    command += ["-m", "256", "-display", "none", "-monitor", "none", "-serial", "null"]
    command += ["-nic", "none", "-drive"]
    command += [f"if=pflash,format=raw,readonly=on,file={FIRMWARE / 'OVMF_CODE_4M.fd'}", "-drive"]
    command += [f"if=pflash,format=raw,file={variables}", "-drive"]
    command += [f"file={disk},format=raw,if=virtio"]
    machine = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while "No problems found" not in verdict():
            assert time.monotonic() < deadline, verdict()
            assert machine.poll() is None
            time.sleep(1)
    finally:
        machine.kill()
        machine.wait(60)
    said = subprocess.run(
        ["sfdisk", "--dump", disk], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(r"disk\.raw2 : start= *204800, size= *841728,", said), said


@pytest.mark.long
def test_the_root_grows_to_its_disk_once(place: Place) -> None:
    password = secrets.token_hex(8)
    tar = place.path / "root.tar"
    shutil.copy(source_tar(SOURCE), tar)
    add_files(tar, {**QUICK_INITRAMFS, **SEED})
    variables = place.variables(
        image_source={"type": "tar", "path": str(tar)},
        image_grow=True,
        image_host_agents=["cloud-init"],
        image_luks={"type": "luks2"},
        image_root_password_hash=hashed(password),
        image_kernel_cmdline=CMDLINE,
    )
    run = playbook(PLAYBOOK, variables, timeout=1800)
    assert run.rc == 0, run.output[-6000:]
    directory = place.out / "web-1"
    manifest = json.loads((directory / "manifest.json").read_text())
    assert manifest["grows"] is True
    key = (directory / "boot.key").read_text()
    disk = overlay(directory / "disk.qcow2", place.path / "overlay.qcow2", GROWN)
    guest = Guest(disk)
    try:
        guest.boot(key)
        guest.log_in(password)
        check_grown(guest, GROWN)
        said = journal(guest)
        assert "growing partition 2 of vda" in said
        assert "growing the mapping cr_root" in said
        cloud_init_is_content(guest)
        (holder,) = files_with(guest, key)
        assert holder.startswith("/etc/cryptsetup-keys.d/luks-")
        guest.run("[ $(cryptsetup luksDump /dev/vda2 | grep -c 'PBKDF: *pbkdf2') = 2 ]")
        guest.console.send("systemctl reboot\r")
        guest.reset()
        guest.boot(key)
        guest.log_in(password)
        before = sizes(guest)
        said = journal(guest)
        assert "growing" not in said
        assert "Nothing to do!" in said
        cloud_init_is_content(guest)
        assert sizes(guest) == before
        guest.run("sync", timeout=120)
    finally:
        guest.end()
    looks_whole(place, disk, key)
