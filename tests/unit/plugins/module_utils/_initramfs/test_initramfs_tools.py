# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import os
import stat
import subprocess

import pytest
import unlocking
from ansible_collections.sealedroot.image.plugins.module_utils._etc import emergency
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    initramfs_tools,
    kernel_words,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

UUID = unlocking.UUID
KEY = b"k" * 44
HEADER = b"a LUKS header".ljust(1 << 20, b"\0")
PINNED = f"/etc/cryptsetup-headers.d/luks-{UUID}.header"


@pytest.fixture
def root(tmp_path):
    for name, data in {
        "run/sealedroot/boot.key": KEY,
        "run/sealedroot/luks.header": HEADER,
        "usr/share/initramfs-tools/hooks/cryptroot": b"",
        "usr/sbin/update-initramfs": b"",
        "boot/vmlinuz-6.1": b"",
        "lib/modules/6.1/modules.dep": b"",
        "etc/crypttab": b"old UUID=1 none luks\n",
        "etc/fstab": b"UUID=old / ext4 defaults 0 1\n",
        "etc/cryptsetup-initramfs/conf-hook": b"#KEYFILE_PATTERN=\nASKPASS=y\n",
        "etc/initramfs-tools/conf.d/resume": b"RESUME=UUID=2\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path


ensure = functools.partial(unlocking.ensure, generator="initramfs_tools")


def test_the_key_is_roots_alone(root):
    ensure(root)
    key = root / f"etc/cryptsetup-keys.d/luks-{UUID}.key"
    assert key.read_bytes() == KEY
    assert stat.S_IMODE(key.stat().st_mode) == 0o400
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700


def test_the_header_is_roots_alone_and_its_zeros_are_holes(root):
    outcome = ensure(root)
    header = root / PINNED[1:]
    assert header.read_bytes() == HEADER
    assert stat.S_IMODE(header.stat().st_mode) == 0o400
    assert stat.S_IMODE(header.parent.stat().st_mode) == 0o700
    assert header.stat().st_blocks * 512 <= 4096
    assert "a LUKS header" not in str(outcome)
    header.parent.chmod(0o755)
    assert ensure(root)["changed"]
    assert stat.S_IMODE(header.parent.stat().st_mode) == 0o700


def test_a_failed_boot_ends_in_no_shell_unless_that_was_asked_for(root):
    ensure(root)
    check = kernel_words.text("initramfs_tools", luks_uuid=UUID)
    closed = {**emergency.FILES, kernel_words.path("initramfs_tools"): check}
    for path in closed:
        assert (root / path[1:]).read_text() == closed[path]
    assert stat.S_IMODE((root / kernel_words.path("initramfs_tools")[1:]).stat().st_mode) == 0o755
    assert ensure(root, debug_console=True)["changed"]
    assert not any((root / path[1:]).exists() for path in closed)
    assert not ensure(root, debug_console=True)["changed"]


def shell(text, *words, **env):
    argv = ["sh", "-s", "--", *words]
    return subprocess.run(argv, input=text, capture_output=True, text=True, check=False, env=env)


def test_the_hook_that_puts_the_header_into_the_initramfs(root, tmp_path):
    """cryptsetup-initramfs copies the key alone."""
    ensure(root)
    hook = root / "etc/initramfs-tools/hooks/sealedroot"
    assert stat.S_IMODE(hook.stat().st_mode) == 0o755
    # The hook of the machine, on the tree of the test.
    text = hook.read_text().replace("/etc/cryptsetup-headers.d", f"{root}/etc/cryptsetup-headers.d")
    asked = shell(text, "prereqs")
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, "", "")
    target = tmp_path / "initramfs"
    done = shell(text, DESTDIR=str(target), PATH=os.environ["PATH"])
    assert (done.returncode, done.stderr) == (0, "")
    copy = target / str(root / PINNED[1:]).lstrip("/")
    assert copy.read_bytes() == HEADER
    assert stat.S_IMODE(copy.stat().st_mode) == 0o400
    assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("left", [None, b""])
def test_no_initramfs_is_built_without_the_header(root, tmp_path, left):
    """It would have a crypttab that names it, and no boot would end."""
    ensure(root)
    header = root / PINNED[1:]
    header.unlink()
    if left is not None:
        header.write_bytes(left)
    text = initramfs_tools.HEADER_HOOK_TEXT
    text = text.replace("/etc/cryptsetup-headers.d", f"{root}/etc/cryptsetup-headers.d")
    done = shell(text, DESTDIR=str(tmp_path / "initramfs"), PATH=os.environ["PATH"])
    assert done.returncode == 1
    assert "has no LUKS header: the machine would not boot" in done.stderr


def test_the_hook_is_one_that_shellcheck_takes(shellcheck):
    shellcheck(initramfs_tools.HEADER_HOOK_TEXT)


def test_later_updates_find_everything(root):
    outcome = ensure(root)
    assert outcome["dropped"] == ["crypttab line 'old UUID=1': a disk of the old machine"]
    assert (root / "etc/crypttab").read_text() == (
        f"cr_root UUID={UUID} /etc/cryptsetup-keys.d/luks-{UUID}.key"
        f" luks,initramfs,discard,header={PINNED}\n"
    )
    hook = (root / "etc/cryptsetup-initramfs/conf-hook").read_text()
    assert hook == '#KEYFILE_PATTERN=\nASKPASS=y\nKEYFILE_PATTERN="/etc/cryptsetup-keys.d/*"\n'
    conf = (root / "etc/initramfs-tools/conf.d/zzzz-sealedroot").read_text()
    assert "UMASK=0077" in conf.splitlines()
    assert not (root / "etc/initramfs-tools/conf.d/resume").exists()


def test_the_initramfs_takes_the_type_of_the_root_from_fstab(root):
    ensure(root)
    assert (root / "etc/fstab").read_text().splitlines() == [
        "/dev/mapper/cr_root / ext4 errors=remount-ro 0 1",
        "LABEL=ESP /boot/efi vfat noauto,nodev,noexec,nosuid,umask=0077 0 0",
    ]
    assert (root / "boot/efi").is_dir()


@pytest.mark.parametrize(
    "line",
    [
        "KEYFILE_PATTERN=/x",
        "export KEYFILE_PATTERN=/x",
        "if false; then\n    KEYFILE_PATTERN=/x\nfi",
    ],
)
def test_another_pattern_does_not_count(root, line):
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
    conf = (root / "etc/initramfs-tools/conf.d/zzzz-sealedroot").read_text()
    assert conf.splitlines()[:4] == ["MODULES=most", "UMASK=0077", "RESUME=none", "BOOT=local"]
    assert conf.splitlines()[-1] == "panic=5"


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        # A shell on the console, as root.
        ("init=/bin/sh", "init", "/sbin/init"),
        ("break=premount", "break", ""),
        ("drop_caps='-c /dev/ttyS1'", "drop_caps", ""),
        ("panic=0", "panic", "5"),
        # What is mounted, and where.
        ("ROOT=/dev/vdb1", "ROOT", ""),
        ("ROOTFLAGS='-o journal_path=/dev/vdb'", "ROOTFLAGS", ""),
        ("ROOTFSTYPE=9p", "ROOTFSTYPE", ""),
        ("UBIMTD=0", "UBIMTD", ""),
        ("rootmnt=/mnt", "rootmnt", "/root"),
        ("BOOT=nfs", "BOOT", "local"),
        ("resume=/dev/vdb", "resume", ""),
        # Drivers and a network of one machine.
        ("blacklist=virtio_blk", "blacklist", ""),
        ("IP=10.0.0.1::::old:eth0:off", "IP", ""),
        ("IP6=on", "IP6", ""),
        # An owner's own.
        ("KEYMAP=y", "KEYMAP", "y"),
        ("RUNSIZE=20%", "RUNSIZE", "20%"),
        ("DEVICE=eth0", "DEVICE", "eth0"),
    ],
)
def test_what_a_conf_file_tells_the_initramfs(root, line, name, value):
    """As its init reads it, which takes the drop-ins before the kernel command line."""
    ensure(root)
    conf = root / "etc/initramfs-tools/conf.d/zzzz-sealedroot"
    script = f'set -eu\n{line}\n. {conf}\nprintf %s "${{{name}}}"'
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout == value


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


@pytest.mark.parametrize(
    ("option", "name"), [("key_file", "boot.key"), ("header_file", "luks.header")]
)
def test_a_missing_key_or_header_is_said(root, option, name):
    (root / "run/sealedroot" / name).unlink()
    words = f"{option} /run/sealedroot/{name} does not exist in the image"
    with pytest.raises(SealedRootError, match=words):
        ensure(root)
    assert not (root / "etc/cryptsetup-keys.d").exists()


def test_no_option_of_the_source_is_said(root):
    (root / "etc/crypttab").write_text("old UUID=1 none luks,tpm2-pin=hunter2\n")
    fstab = "UUID=1 /x ext4 defaults\n//server/x /y cifs password=hunter2\n"
    (root / "etc/fstab").write_text(fstab)
    outcome = ensure(root, check_mode=True)
    assert len(outcome["dropped"]) == 2
    assert "hunter2" not in str(outcome)


def test_a_container_in_a_file_and_what_is_on_it_stay(root):
    (root / "srv").mkdir()
    (root / "srv/vault.img").touch()
    (root / "etc/crypttab").write_text("vault /srv/vault.img none luks\nx /srv/x.img none luks\n")
    (root / "etc/fstab").write_text("/dev/mapper/vault /vault ext4\n/dev/mapper/x /x ext4\n")
    assert ensure(root)["dropped"] == [
        "crypttab line 'x /srv/x.img': the root has no such file",
        "fstab line '/dev/mapper/x /x': a disk of the old machine",
    ]
    assert "vault /srv/vault.img none luks" in (root / "etc/crypttab").read_text()
    assert "/dev/mapper/vault /vault ext4" in (root / "etc/fstab").read_text()
    assert not ensure(root)["changed"]


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("update_initramfs=no\n", "update_initramfs=yes"),
        ("update_initramfs='no'", "update_initramfs=yes"),
        ("update_initramfs=no\nbackup_initramfs=no\n", "update_initramfs=yes"),
        ("update_initramfs=all\nbackup_initramfs=no\n", "backup_initramfs=no"),
        ("#update_initramfs=no\n", "#update_initramfs=no"),
        ("update_initramfs=no\nupdate_initramfs=yes\n", "update_initramfs=yes"),
    ],
)
def test_an_update_makes_an_initramfs(text, last):
    found = initramfs_tools.update_conf(text)
    assert found.startswith(text.rstrip())
    assert found.splitlines()[-1] == last
    assert initramfs_tools.update_conf(found) == found


def test_the_settings_of_updates_are_written(root):
    path = root / "etc/initramfs-tools/update-initramfs.conf"
    path.write_text("update_initramfs=no\n")
    ensure(root)
    assert path.read_text() == "update_initramfs=no\nupdate_initramfs=yes\n"
