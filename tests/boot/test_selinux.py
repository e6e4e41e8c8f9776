# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""SELinux from end to end: the image of a Debian with a policy boots enforcing at once, with its labels right."""

from __future__ import annotations

import json
import pathlib
import re
import secrets
import shutil
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
from growth import check_grown
from guests import CMDLINE, Guest, hashed, overlay

SOURCE = {**DEBIAN, "packages": ["selinux-policy-default"]}
# Debian's policy is permissive when it is installed.
ENFORCING = {"etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=default\n"}
# What a wrong label or rule of the boot path would be denied for; Debian's policy denies its own getty, udev and
# tmpfiles a little.
OF_THE_BOOT = (
    r"unlabeled_t|:file_t|default_t|boot_t|shadow_t|lvm_t|cryptsetup|/etc/cryptsetup-keys.d"
)
# The disk is twice as large as the image.
GROWN = 4 << 30
UNLABELLED = r"\( -context '*:unlabeled_t:*' -o -context '*:file_t:*' \)"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Place]:
    with fresh_place(tmp_path_factory) as place:
        yield place


@pytest.fixture(scope="module")
def root_tar(place: Place) -> pathlib.Path:
    tar = place.path / "root.tar"
    shutil.copy(source_tar(SOURCE), tar)
    add_files(tar, {**QUICK_INITRAMFS, **ENFORCING})
    return tar


def build(place: Place, tar: pathlib.Path, **more: t.Any) -> dict[str, t.Any]:
    """Build an image and return its manifest."""
    source = {"type": "tar", "path": str(tar)}
    variables = place.variables(image_source=source, image_kernel_cmdline=CMDLINE, **more)
    run = playbook(PLAYBOOK, variables, timeout=1800)
    assert run.rc == 0, run.output[-6000:]
    path = place.out / variables["image_name"] / "manifest.json"
    manifest: dict[str, t.Any] = json.loads(path.read_text())
    return manifest


def verdict(manifest: dict[str, t.Any]) -> tuple[str, str]:
    checks = {check["name"]: check for check in manifest["audit"]["checks"]}
    return checks["selinux"]["verdict"], checks["selinux"]["detail"]


@pytest.mark.long
def test_it_boots_enforcing_and_labels_nothing_anew(
    place: Place, root_tar: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    password = secrets.token_hex(8)
    manifest = build(place, root_tar, image_root_password_hash=hashed(password))
    assert verdict(manifest) == (
        "ok",
        "labelled for the policy 'default', enforcing by its configuration",
    )
    assert manifest["inputs"]["selinux"] == "auto"
    directory = place.out / "web-1"
    guest = Guest(overlay(directory / "disk.qcow2", tmp_path / "overlay.qcow2", GROWN))
    try:
        # One question only, so there is no second boot behind the first.
        guest.boot((directory / "boot.key").read_text())
        guest.log_in(password)
        guest.run("dmesg -n 1; stty cols 500")
        check_grown(guest, GROWN)
        look(guest)
        survive(guest)
    finally:
        guest.end()


def labels(guest: Guest, paths: str) -> dict[str, str]:
    """Return the type of each of the files."""
    found = re.findall(
        r"LABEL=\w+:\w+:(\w+):\S+ (\S+)", guest.run(f"stat -c 'LABEL=%C %n' {paths}")
    )
    return {path: kind for kind, path in found}


def look(guest: Guest) -> None:
    """The machine as it is after its first boot."""
    assert "Enforcing" in guest.run("getenforce")
    guest.run("[ ! -e /.autorelabel ]")
    guest.run("[ $(journalctl --list-boots -q | grep -c '[0-9a-f]\\{32\\}') = 1 ]")
    # Also below what is mounted over the root.
    guest.run(f'mount --bind / /mnt; [ -z "$(find /mnt -xdev {UNLABELLED} -print -quit)" ]', 300)
    mount_points = labels(guest, "/mnt/proc /mnt/sys /mnt/dev /mnt/run /mnt/tmp")
    assert mount_points == {
        "/mnt/proc": "root_t",
        "/mnt/sys": "sysfs_t",
        "/mnt/dev": "device_t",
        "/mnt/run": "var_run_t",
        "/mnt/tmp": "tmp_t",
    }
    guest.run("umount /mnt")
    found = labels(
        guest, "/ /etc/shadow /etc/cryptsetup-keys.d/* /boot/initrd.img-* /boot/vmlinuz-*"
    )
    kinds = {re.sub(r"[-.].*", "", path): kind for path, kind in found.items()}
    assert kinds == {
        "/": "root_t",
        "/etc/shadow": "shadow_t",
        "/etc/cryptsetup": "etc_t",
        "/boot/initrd": "boot_t",
        "/boot/vmlinuz": "boot_t",
    }
    assert "init_exec_t" in labels(guest, "$(readlink -f /sbin/init)").values()
    guest.run('[ "$(systemctl is-system-running --wait)" = running ]', 300)
    denied = re.findall(
        r"avc: +denied.*", guest.run("journalctl -b --no-pager | grep avc: || true")
    )
    assert [line for line in denied if re.search(OF_THE_BOOT, line)] == []


def survive(guest: Guest) -> None:
    """An update of the initramfs by root works and is labelled, and the policy wants no other labels."""
    before = inodes(guest)
    # Not from /root: Debian confines mkinitramfs to bootloader_t, which may not come back there.
    guest.run("cd / && update-initramfs -u -k all", timeout=900)
    assert before
    assert not inodes(guest) & before
    assert set(labels(guest, "/boot/initrd.img-*").values()) == {"boot_t"}
    guest.run("lsinitramfs /boot/initrd.img-* | grep -q cryptroot/keyfiles/cr_root.key", 120)
    assert "MODE=600:0" in guest.run("stat -c MODE=%a:%u /boot/initrd.img-*")
    guest.run(
        '[ -z "$(restorecon -n -v -R -e /boot/efi /boot /etc/shadow /etc/cryptsetup-keys.d)" ]', 300
    )


def inodes(guest: Guest) -> set[str]:
    return set(re.findall(r"INODE=(\d+)", guest.run("stat -c INODE=%i /boot/initrd.img-*")))


# tests/integration has the label, the mark and the audit's answer to it, each alone.
@pytest.mark.long
def test_relabelling_at_boot_is_left_to_the_machine(place: Place, root_tar: pathlib.Path) -> None:
    manifest = build(place, root_tar, image_name="later-1", image_selinux="relabel_at_boot")
    assert manifest["inputs"]["selinux"] == "relabel_at_boot"
    assert verdict(manifest)[0] == "ok"
    directory = place.out / "later-1"
    keys = {name: str(directory / f"{name}.key") for name in ("boot", "recovery")}
    variables = {
        "audit_image": str(directory / "disk.qcow2"),
        "audit_keys": keys,
        "image_boot_test": False,
    }
    # Whoever did not ask for it is told.
    run = playbook("sealedroot.image.verify_image", variables, timeout=600)
    assert run.rc != 0
    assert run.said("/.autorelabel is there: the first boot relabels, reboots and asks again")
