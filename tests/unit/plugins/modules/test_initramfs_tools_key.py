# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import stat
import subprocess

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError
from ansible_collections.sealedroot.image.plugins.modules import initramfs_tools_key

UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
KEY = b"k" * 44


@pytest.fixture
def root(tmp_path):
    for name, data in {
        "run/sealedroot/boot.key": KEY,
        "usr/share/initramfs-tools/hooks/cryptroot": b"",
        "usr/sbin/update-initramfs": b"",
        "etc/crypttab": b"old UUID=1 none luks\n",
        "etc/fstab": b"UUID=old / ext4 defaults 0 1\n",
        "etc/cryptsetup-initramfs/conf-hook": b"#KEYFILE_PATTERN=\nASKPASS=y\n",
        "etc/initramfs-tools/conf.d/resume": b"RESUME=UUID=2\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path


def ensure(root, *, check_mode=False):
    params = {
        "luks_uuid": UUID,
        "root_uuid": "abcd",
        "filesystem": "ext4",
        "esp_label": "ESP",
        "mapping": "cr_root",
        "key_file": "/run/sealedroot/boot.key",
    }
    return initramfs_tools_key.ensure(params, root=str(root), check_mode=check_mode)


def test_the_key_is_roots_alone(root):
    ensure(root)
    key = root / f"etc/cryptsetup-keys.d/luks-{UUID}.key"
    assert key.read_bytes() == KEY
    assert stat.S_IMODE(key.stat().st_mode) == 0o400
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700


def test_later_updates_find_everything(root):
    outcome = ensure(root)
    assert outcome["dropped"] == ["crypttab line 'old UUID=1 none luks': a disk of the old machine"]
    assert (root / "etc/crypttab").read_text() == (
        f"cr_root UUID={UUID} /etc/cryptsetup-keys.d/luks-{UUID}.key luks,initramfs,discard\n"
    )
    hook = (root / "etc/cryptsetup-initramfs/conf-hook").read_text()
    assert hook == '#KEYFILE_PATTERN=\nASKPASS=y\nKEYFILE_PATTERN="/etc/cryptsetup-keys.d/*"\n'
    conf = (root / "etc/initramfs-tools/conf.d/sealedroot").read_text()
    assert "UMASK=0077" in conf.splitlines()
    assert not (root / "etc/initramfs-tools/conf.d/resume").exists()


def test_the_initramfs_takes_the_type_of_the_root_from_fstab(root):
    ensure(root)
    assert (root / "etc/fstab").read_text().splitlines() == [
        "UUID=abcd / ext4 errors=remount-ro 0 1",
        "LABEL=ESP /boot/efi vfat umask=0077,nofail 0 2",
    ]
    assert (root / "boot/efi").is_dir()


def test_another_pattern_is_replaced(root):
    hook = root / "etc/cryptsetup-initramfs/conf-hook"
    hook.write_text("KEYFILE_PATTERN=/elsewhere/*\n")
    ensure(root)
    assert hook.read_text() == 'KEYFILE_PATTERN="/etc/cryptsetup-keys.d/*"\n'


@pytest.mark.parametrize("line", ["  KEYFILE_PATTERN=/x", "export KEYFILE_PATTERN=/x"])
def test_a_pattern_written_otherwise_is_replaced_too(root, line):
    hook = root / "etc/cryptsetup-initramfs/conf-hook"
    hook.write_text(f"KEYFILE_PATTERN=/y\n{line}\n")
    ensure(root)
    script = f'. {hook}; printf %s "$KEYFILE_PATTERN"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout == "/etc/cryptsetup-keys.d/*"
    assert not ensure(root)["changed"]


def test_the_initramfs_is_for_every_machine(root):
    """MODULES=dep, which Debian's installer offers, looks at the disks of the builder and fails."""
    ensure(root)
    conf = (root / "etc/initramfs-tools/conf.d/sealedroot").read_text()
    assert conf == "MODULES=most\nUMASK=0077\nRESUME=none\n"


def test_four_calls(root):
    assert ensure(root, check_mode=True)["changed"]
    assert not (root / "etc/cryptsetup-keys.d").exists()
    assert ensure(root)["changed"]
    assert not ensure(root)["changed"]
    assert not ensure(root, check_mode=True)["changed"]


def test_the_key_is_not_in_the_outcome(root):
    assert KEY.decode() not in str(ensure(root))


def test_missing_packages_are_named(root):
    (root / "usr/share/initramfs-tools/hooks/cryptroot").unlink()
    with pytest.raises(SealedRootError, match="install cryptsetup-initramfs in it"):
        ensure(root)
    assert not (root / "etc/cryptsetup-keys.d").exists()


def test_a_missing_key_is_said(root):
    (root / "run/sealedroot/boot.key").unlink()
    with pytest.raises(SealedRootError, match="does not exist in the image"):
        ensure(root)


def test_a_container_in_a_file_and_what_is_on_it_stay(root):
    (root / "srv").mkdir()
    (root / "srv/vault.img").touch()
    (root / "etc/crypttab").write_text("vault /srv/vault.img none luks\nx /srv/x.img none luks\n")
    (root / "etc/fstab").write_text("/dev/mapper/vault /vault ext4\n/dev/mapper/x /x ext4\n")
    assert ensure(root)["dropped"] == [
        "crypttab line 'x /srv/x.img none luks': the root has no such file",
        "fstab line '/dev/mapper/x /x ext4': a disk of the old machine",
    ]
    assert "vault /srv/vault.img none luks" in (root / "etc/crypttab").read_text()
    assert "/dev/mapper/vault /vault ext4" in (root / "etc/fstab").read_text()
    assert not ensure(root)["changed"]
