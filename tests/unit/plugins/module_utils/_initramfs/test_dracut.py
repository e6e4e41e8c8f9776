# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What dracut is told, read as dracut reads it, by bash."""

from __future__ import annotations

import functools
import pathlib
import shutil
import stat
import subprocess

import pytest
import unlocking
from ansible_collections.sealedroot.image.plugins.module_utils._etc import emergency
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import kernel_words
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

UUID = unlocking.UUID
KEY = b"k" * 44
KEY_FILE = f"/etc/cryptsetup-keys.d/luks-{UUID}.key"
PINNED = f"/etc/cryptsetup-headers.d/luks-{UUID}.header"
HEADER = b"a LUKS header"
NEW = "usr/lib/dracut/modules.d/71systemd-cryptsetup/module-setup.sh"


def add(root: pathlib.Path, name: str, data: bytes = b"") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    for name, data in {
        "run/sealedroot/boot.key": KEY,
        "run/sealedroot/luks.header": HEADER,
        "usr/bin/dracut": b"",
        "usr/sbin/cryptsetup": b"",
        "usr/lib/systemd/systemd-cryptsetup": b"",
        "etc/kernel/postinst.d/dracut": b"",
        "boot/vmlinuz-6.1": b"",
        "lib/modules/6.1/modules.dep": b"",
        "etc/crypttab": b"# old\nold UUID=1 none luks\n",
        "etc/fstab": b"UUID=old / ext4 defaults 0 1\n",
    }.items():
        add(tmp_path, name, data)
    return tmp_path


ensure = functools.partial(unlocking.ensure, generator="dracut")


def read(root: pathlib.Path, before: str = "", *more: str) -> dict[str, list[str]]:
    """Return dracut's variables, and *more* of them, after *before* and the file."""
    names = (
        *more,
        "hostonly",
        "hostonly_cmdline",
        "add_dracutmodules",
        "add_drivers",
        "install_items",
    )
    # A bash of dracut's: with -u, an empty list has no value.
    show = "; ".join(f'echo "{name}:" ${{{name}-}}' for name in (*names, "dracut_rescue_image"))
    script = f"set -eu; {before}\n. {root}/etc/dracut.conf.d/_sealedroot.conf; {show}"
    shell = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    pairs = (line.partition(":") for line in shell.stdout.splitlines())
    return {name: words.split() for name, _colon, words in pairs}


BEFORE = "hostonly=yes; add_dracutmodules=x; add_drivers=y; install_items=z"


def test_later_updates_find_everything(root: pathlib.Path) -> None:
    outcome = ensure(root)
    assert outcome["dropped"] == ["crypttab line 'old UUID=1': a disk of the old machine"]
    assert (root / "etc/crypttab").read_text() == (
        f"# old\nluks-{UUID} UUID={UUID} {KEY_FILE}"
        f" luks,discard,x-initrd.attach,x-systemd.device-timeout=0,header={PINNED}\n"
    )
    # What others asked for stays.
    assert read(root, BEFORE) == {
        "hostonly": ["no"],
        "hostonly_cmdline": ["no"],
        "add_dracutmodules": ["x", "systemd", "crypt"],
        "add_drivers": ["y", "ext4"],
        # Whatever else crypttab and a failed boot need.
        "install_items": [
            "z",
            "/etc/crypttab",
            KEY_FILE,
            PINNED,
            kernel_words.path("dracut"),
            *emergency.UNITS,
        ],
        "dracut_rescue_image": ["no"],
    }


@pytest.mark.parametrize(
    ("before", "name", "value"),
    [
        ('kernel_cmdline="rd.luks.uuid=1 root=UUID=2 rd.lvm.lv=vg0/root"', "kernel_cmdline", []),
        ("uefi=yes", "uefi", ["no"]),
        ('omit_dracutmodules+=" crypt lvm systemd "', "omit_dracutmodules", ["lvm"]),
        ("omit_dracutmodules=crypt", "omit_dracutmodules", []),
        ("", "omit_dracutmodules", []),
        # Lists that would leave out what a host's disk needs, and lines of old disks.
        ('drivers+=" virtio_blk ext4 "', "drivers", []),
        ('omit_drivers+=" nvme dm_crypt virtio-blk hv_.* "', "omit_drivers", []),
        # A package of a driver has its own reasons.
        ('omit_drivers+=" nouveau nvidia-drm nvme "', "omit_drivers", ["nouveau", "nvidia-drm"]),
        ('dracutmodules+=" base crypt "', "dracutmodules", []),
        ('filesystems+=" xfs "', "filesystems", []),
        ('add_fstab+=" /etc/fstab.initrd "', "add_fstab", []),
        ('fstab_lines+=("LABEL=old /x ext4")', "fstab_lines", []),
        # What only adds stays.
        ('force_drivers+=" nvme "', "force_drivers", ["nvme"]),
    ],
)
def test_settings_of_another_machine_do_not_count(
    root: pathlib.Path, before: str, name: str, value: list[str]
) -> None:
    ensure(root)
    assert read(root, f"{BEFORE}; {before}", name)[name] == value


def test_the_root_is_mounted_by_the_name_that_only_the_guest_gives(root: pathlib.Path) -> None:
    ensure(root)
    assert (root / "etc/fstab").read_text().splitlines()[0] == (
        f"/dev/mapper/luks-{UUID} / ext4 errors=remount-ro 0 1"
    )


def test_an_open_console_leaves_the_units_of_a_failed_boot_alone(root: pathlib.Path) -> None:
    ensure(root)
    assert ensure(root, debug_console=True)["changed"]
    assert read(root, BEFORE)["install_items"] == ["z", "/etc/crypttab", KEY_FILE, PINNED]
    assert not any(
        (root / path[1:]).exists() for path in [*emergency.FILES, kernel_words.path("dracut")]
    )


def test_what_dracut_is_to_install_is_there(root: pathlib.Path) -> None:
    ensure(root)
    assert all((root / path[1:]).is_file() for path in read(root, BEFORE)["install_items"][1:])


def test_the_header_is_roots_alone(root: pathlib.Path) -> None:
    ensure(root)
    header = root / PINNED[1:]
    assert header.read_bytes() == HEADER
    assert stat.S_IMODE(header.stat().st_mode) == 0o400
    assert stat.S_IMODE(header.parent.stat().st_mode) == 0o700


def test_the_module_that_dracut_ng_has(root: pathlib.Path) -> None:
    add(root, NEW)
    ensure(root, filesystem="xfs")
    found = read(root, BEFORE)
    assert found["add_dracutmodules"] == ["x", "systemd", "crypt", "systemd-cryptsetup"]
    assert found["add_drivers"] == ["y", "xfs"]


def test_the_key_is_roots_alone(root: pathlib.Path) -> None:
    outcome = ensure(root)
    key = root / KEY_FILE.lstrip("/")
    assert key.read_bytes() == KEY
    assert stat.S_IMODE(key.stat().st_mode) == 0o400
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert KEY.decode() not in str(outcome)


def test_four_calls(root: pathlib.Path) -> None:
    assert ensure(root, check_mode=True)["changed"]
    assert not (root / "etc/cryptsetup-keys.d").exists()
    assert ensure(root)["changed"]
    assert not ensure(root)["changed"]
    assert not ensure(root, check_mode=True)["changed"]


@pytest.mark.parametrize(
    ("files", "release", "names"),
    [
        (["etc/kernel/postinst.d/dracut"], b"ID=debian\n", ["initrd.img-6.1"]),
        ([], b"ID=fedora\n", ["initramfs-6.1.img"]),
        ([], b'ID="opensuse-leap"\nID_LIKE="suse opensuse"\n', ["initrd-6.1"]),
        # What is there was named by its own distribution.
        (["boot/initrd-6.1"], b"ID=fedora\n", ["initrd-6.1"]),
    ],
)
def test_the_initramfs_of_each_kernel(
    root: pathlib.Path, files: list[str], release: bytes, names: list[str]
) -> None:
    (root / "etc/kernel/postinst.d/dracut").unlink()
    for name in (*files, "boot/vmlinuz-without-modules"):
        add(root, name)
    add(root, "etc/os-release", release)
    expected = [{"version": "6.1", "path": f"/boot/{name}"} for name in names]
    assert ensure(root)["initramfs"] == expected


def test_no_kernel_is_said(root: pathlib.Path) -> None:
    (root / "boot/vmlinuz-6.1").unlink()
    with pytest.raises(SealedRootError, match="no kernel in /boot with its modules"):
        ensure(root)
    assert not (root / "etc/cryptsetup-keys.d").exists()


@pytest.mark.parametrize("path", ["usr/lib/systemd/systemd-cryptsetup", "usr/bin/dracut"])
def test_missing_packages_are_named(root: pathlib.Path, path: str) -> None:
    (root / path).unlink()
    name = pathlib.Path(path).name
    with pytest.raises(SealedRootError, match=f"the root lacks {name}: install {name} in it"):
        ensure(root)
    assert not (root / "etc/cryptsetup-keys.d").exists()


def test_systemd_in_a_root_whose_usr_is_not_merged(root: pathlib.Path) -> None:
    shutil.move(root / "usr/lib/systemd", root / "lib/systemd")
    assert ensure(root)["changed"]


@pytest.mark.parametrize("name", ["boot.key", "luks.header"])
def test_a_missing_key_or_header_is_said(root: pathlib.Path, name: str) -> None:
    (root / "run/sealedroot" / name).unlink()
    with pytest.raises(
        SealedRootError, match=f"/run/sealedroot/{name} does not exist in the image"
    ):
        ensure(root)
