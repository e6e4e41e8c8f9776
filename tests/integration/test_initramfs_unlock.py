# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The key in a real Debian root, and the initramfs that the root's own update-initramfs makes then."""

from __future__ import annotations

import typing as t

import debian_root
import pytest
from debian_root import BOOT_KEY, HEADER, Image

UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
ARGUMENTS = {"luks_uuid": UUID}
KEY = f"/etc/cryptsetup-keys.d/luks-{UUID}.key"
PINNED = f"/etc/cryptsetup-headers.d/luks-{UUID}.header"
ENTRY = f"cr_root UUID={UUID} {KEY} luks,initramfs,discard,header={PINNED}"
HOOK = "/etc/initramfs-tools/hooks/sealedroot"
CONF = "/etc/initramfs-tools/conf.d/zzzz-sealedroot"
# What makes a boot that fails end in a restart.
ENDS = (
    *(f"/etc/systemd/system/{it}.service.d/sealedroot.conf" for it in ("emergency", "rescue")),
    "/etc/sysctl.d/zzzz-sealedroot.conf",
    "/etc/initramfs-tools/scripts/init-top/sealedroot",
)
# What an installed machine with encrypted swap and few modules leaves behind.
OLD_TABLE = "# <target name>\nswap_crypt UUID=1111-22 none luks,swap\ncr_root UUID=33 none luks\n"
OLD_MOUNTS = """\
# the old machine
UUID=1111 / xfs defaults 0 1
/dev/sda3 none swap sw 0 0
tmpfs /srv tmpfs size=1m 0 0
"""
OLD_SETTINGS = {
    "etc/fstab": OLD_MOUNTS,
    "etc/crypttab": OLD_TABLE,
    "etc/initramfs-tools/conf.d/resume": "RESUME=UUID=4444\n",
    "etc/initramfs-tools/conf.d/driver-policy": "MODULES=dep\n",
    "etc/cryptsetup-initramfs/conf-hook": "  KEYFILE_PATTERN=/etc/keys/*\n",
}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Image]:
    with debian_root.in_memory(tmp_path_factory.mktemp("initramfs")) as image:
        for name, text in OLD_SETTINGS.items():
            image.write(name, text)
        yield image


@pytest.fixture(scope="module")
def done(image: Image) -> dict[str, t.Any]:
    return image.four_calls("initramfs_unlock", **ARGUMENTS)


@pytest.fixture(scope="module")
def initramfs(image: Image, done: dict[str, t.Any]) -> str:
    """The path of an initramfs made afterwards, as a build makes it."""
    version = image.shell("ls /lib/modules")
    image.shell(f"export TMPDIR=/tmp ZSTD_NBTHREADS=0; update-initramfs -c -k {version} 2>&1")
    return f"/boot/initrd.img-{version}"


def named(line: str) -> str:
    """What is said of a line: options can hold a secret."""
    return " ".join(line.split()[:2])


def test_what_it_says(done: dict[str, t.Any]) -> None:
    swap, root = OLD_TABLE.splitlines()[1:]
    assert done["dropped"] == [
        f"crypttab line '{named(swap)}': a disk of the old machine",
        f"crypttab line '{named(root)}': its name is that of the root",
        f"fstab line '{named(OLD_MOUNTS.splitlines()[2])}': a disk of the old machine",
    ]
    assert done["files"] == sorted(
        [
            *(KEY, "/etc/crypttab", "/etc/cryptsetup-initramfs/conf-hook", "/etc/fstab"),
            *("/etc/initramfs-tools/conf.d/resume", CONF),
            *(PINNED, HOOK, *ENDS),
        ]
    )
    # Neither key nor header.
    assert BOOT_KEY not in str(done)
    assert "the header of this test" not in str(done)


def test_the_files(image: Image, done: dict[str, t.Any]) -> None:
    assert image.text("etc/crypttab").splitlines() == ["# <target name>", ENTRY]
    assert image.text(KEY.lstrip("/")) == BOOT_KEY
    assert image.mode(KEY.lstrip("/")) == 0o400
    assert (image.root / PINNED.lstrip("/")).read_bytes() == HEADER
    assert image.mode(PINNED.lstrip("/")) == 0o400
    for directory in ("etc/cryptsetup-keys.d", "etc/cryptsetup-headers.d"):
        assert image.mode(directory) == 0o700
    # Zeros that were written would be ciphertext in the image.
    assert (image.root / PINNED.lstrip("/")).stat().st_blocks * 512 < len(HEADER) // 2
    assert not (image.root / "etc/initramfs-tools/conf.d/resume").exists()


def test_mounts(image: Image, done: dict[str, t.Any]) -> None:
    columns = "SOURCE,TARGET,FSTYPE,OPTIONS"
    listed = image.shell(f"findmnt --fstab --raw --noheadings --output {columns}")
    assert listed.splitlines() == [
        "/dev/mapper/cr_root / ext4 errors=remount-ro",
        "LABEL=ESP /boot/efi vfat noauto,nodev,noexec,nosuid,umask=0077",
        "tmpfs /srv tmpfs size=1m",
    ]
    assert (image.root / "boot/efi").is_dir()


def test_the_initramfs_unlocks_the_root_without_asking(image: Image, initramfs: str) -> None:
    """cryptsetup-initramfs shortens the options, so its table is read word by word."""
    image.shell(f"unmkinitramfs {initramfs} /run/unpacked")
    unpacked = image.run / "unpacked"
    found = [path for path in unpacked.rglob("cryptroot/*") if path.is_file()]
    (table,) = (path.read_text().split() for path in found if path.name == "crypttab")
    assert table[:3] == ["cr_root", f"UUID={UUID}", "/cryptroot/keyfiles/cr_root.key"]
    assert {"luks", "discard", f"header={PINNED}"} <= set(table[3].split(","))
    (header,) = unpacked.rglob("*.header")
    assert str(header).endswith(PINNED)
    assert header.read_bytes() == HEADER
    assert header.stat().st_mode & 0o777 == 0o400
    holders = [
        path.name
        for path in unpacked.rglob("*")
        if path.is_file() and not path.is_symlink() and BOOT_KEY.encode() in path.read_bytes()
    ]
    assert holders == ["cr_root.key"]


def test_the_initramfs_is_roots_alone_and_for_every_machine(image: Image, initramfs: str) -> None:
    assert image.mode(initramfs.lstrip("/")) == 0o600
    listed = image.shell(f"lsinitramfs {initramfs}")
    for module in ("dm-crypt", "virtio_blk", "virtio_scsi"):
        assert f"/{module}.ko" in listed
    assert "RESUME=none" in image.text("etc/initramfs-tools/conf.d/zzzz-sealedroot").splitlines()


def test_no_initramfs_is_made_without_the_header(image: Image, initramfs: str) -> None:
    """It would open whatever header the host has, or none."""
    before = (image.root / initramfs.lstrip("/")).read_bytes()
    header = image.root / PINNED.lstrip("/")
    hidden = header.with_name("hidden")
    header.rename(hidden)
    try:
        said = image.shell("TMPDIR=/tmp update-initramfs -u 2>&1 || echo refused")
    finally:
        hidden.rename(header)
    assert "has no LUKS header: the machine would not boot" in said
    assert said.splitlines()[-1] == "refused"
    assert (image.root / initramfs.lstrip("/")).read_bytes() == before


def test_a_failure_ends_in_a_restart(image: Image, done: dict[str, t.Any]) -> None:
    """By systemd's own reading of the units, whatever else there is of them."""
    for unit in ("emergency.service", "rescue.service"):
        image.shell(f"systemd-analyze verify --man=no {unit} 2>&1")
        said = image.shell(f"systemd-analyze cat-config systemd/system/{unit}")
        starts = [line for line in said.splitlines() if line.startswith("ExecStart")]
        assert starts[-3:] == [
            *("ExecStartPre=", "ExecStart="),
            "ExecStart=-/usr/bin/systemctl --force --force reboot",
        ]
    settings = image.shell("cat $(ls /etc/sysctl.d/*.conf | sort | tail -n 1)")
    assert "kernel.sysrq = 0" in settings.splitlines()


def test_a_console_for_development(image: Image, done: dict[str, t.Any]) -> None:
    opened = image.task("initramfs_unlock", **ARGUMENTS, debug_console=True)
    try:
        assert opened["files"] == sorted([CONF, *ENDS])
        assert [name for name in ENDS if (image.root / name.lstrip("/")).exists()] == []
        # The rest stays.
        assert image.text("etc/crypttab").splitlines()[-1] == ENTRY
    finally:
        closed = image.task("initramfs_unlock", **ARGUMENTS)
    assert closed["files"] == sorted([CONF, *ENDS])


def test_packages_that_are_missing_are_named(image: Image, done: dict[str, t.Any]) -> None:
    hook = image.root / "usr/share/initramfs-tools/hooks/cryptroot"
    hidden = hook.with_name("hidden")
    hook.rename(hidden)
    try:
        refused = image.task("initramfs_unlock", **ARGUMENTS)
    finally:
        hidden.rename(hook)
    assert refused["failed"]
    assert refused["msg"] == (
        "the root lacks cryptsetup-initramfs: install cryptsetup-initramfs in it"
    )


def test_a_missing_key_or_header_is_said(image: Image, done: dict[str, t.Any]) -> None:
    for option in ("key_file", "header_file"):
        refused = image.task("initramfs_unlock", **ARGUMENTS, **{option: "/run/nowhere"})
        assert refused["msg"] == f"{option} /run/nowhere does not exist in the image"
