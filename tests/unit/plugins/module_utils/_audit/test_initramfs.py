# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in an initramfs of the image, and what keeps it so."""

from __future__ import annotations

import pathlib
import typing as t

import cpio
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import (
    initramfs,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import archive_keys

BOOT, OTHER = b"the boot key of the image", b"the recovery key of it"
UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
TOP = "/etc/cryptsetup-headers.d"
PINNED = f"{TOP}/luks-{UUID}.header"
HEADER = b"a LUKS header".ljust(4096, b"\0")
HOOK = "/etc/initramfs-tools/hooks/sealedroot"
UPDATE_CONF = "/etc/initramfs-tools/update-initramfs.conf"
KEYS: dict[str, t.Any] = {
    "/etc/cryptsetup-keys.d": (0o700,),
    "/etc/cryptsetup-keys.d/luks-1.key": (0o400, BOOT),
    "/etc/initramfs-tools/conf.d": (0o755,),
    "/etc/initramfs-tools/conf.d/umask": (0o644, b"UMASK=0077\n"),
    "/usr/sbin/update-initramfs": (0o755,),
    "/usr/sbin/mkinitramfs": (0o755,),
    HOOK: (0o755, b"#!/bin/sh"),
}
CONF = "/etc/dracut.conf.d/_sealedroot.conf"
ITEMS = (
    b'install_items+=" /etc/crypttab /etc/cryptsetup-keys.d/luks-1.key /etc/headers/1.header "\n'
)
DRACUT: dict[str, t.Any] = {
    "/etc/cryptsetup-keys.d": (0o700,),
    "/etc/cryptsetup-keys.d/luks-1.key": (0o400, BOOT),
    # Left behind when dracut took its place.
    "/etc/initramfs-tools/conf.d": (0o755,),
    "/etc/kernel/postinst.d/initramfs-tools": (0o755,),
    "/etc/kernel/postinst.d/dracut": (0o755,),
    "/usr/bin/dracut": (0o755,),
    "/usr/sbin/update-initramfs": (0o755,),
    CONF: (0o644, ITEMS),
}
VAULT = ["vault", "/srv/vault.img", "/etc/keys/vault.key", "luks"]


def newc(name: str, content: bytes, mode: int) -> bytes:
    return cpio.newc({name: (mode, content)})


KEY_ALONE = newc("cr_root.key", BOOT, 0o400)


GOOD = KEY_ALONE + newc(PINNED[1:], HEADER, 0o400)


@pytest.mark.parametrize(
    ("mode", "content", "says"),
    [
        (0o600, GOOD, None),
        (0o644, GOOD, "mode 0644"),
        (0o600, GOOD + newc("b", BOOT, 0o400), "2 times"),
        (0o600, KEY_ALONE, f"it holds no pinned header, not {PINNED}: it would open whatever"),
        (
            0o600,
            KEY_ALONE + newc(PINNED[1:], b"x", 0o400),
            f"{PINNED} in it is another than in the",
        ),
        (0o600, newc("a", b"", 0o400), "0 times, not once: the machine would ask"),
        (0o600, GOOD + newc("b", b"x" + OTHER, 0o400), "the recovery key is in it"),
        (0o600, newc("a", BOOT, 0o440), "a can be read by others"),
        (0o600, newc("a", BOOT + b"\n", 0o400), "not a file of its own"),
        (0o600, b"unknown", "compressed in an unknown way"),
    ],
)
def test_initramfs(
    runner: t.Any, tree: t.Any, tmp_path: pathlib.Path, mode: int, content: bytes, says: str | None
) -> None:
    found = initramfs.initramfs(
        runner,
        tree({"/boot/initrd.img-6": (mode, content), "/boot/initrd.img": (0o777,)}),
        loaded=["/boot/initrd.img-6"],
        boot_key=BOOT,
        others={"recovery key": OTHER},
        header=archive_keys.same(PINNED, HEADER),
        files={},
    )
    assert bool(found) is bool(says)
    assert says is None or any(says in problem for problem in found)
    assert list(tmp_path.iterdir()) == []


def test_no_initramfs(runner: t.Any, tree: t.Any) -> None:
    found = initramfs.initramfs(
        runner,
        tree({}),
        loaded=["/boot/initrd"],
        boot_key=BOOT,
        others={},
        header=archive_keys.same(PINNED, HEADER),
        files={},
    )
    assert found == [
        "grub.cfg loads /boot/initrd, which is not there",
        "there is no initramfs in /boot",
    ]


ROW = [
    ["cr_root", "UUID=1", "/etc/cryptsetup-keys.d/luks-1.key", "luks,header=/etc/headers/1.header"]
]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({"/etc/cryptsetup-keys.d": (0o755,)}, "mode 0755"),
        ({"/etc/cryptsetup-keys.d/luks-1.key": (0o600, BOOT)}, None),
        ({"/etc/cryptsetup-keys.d/luks-1.key": (0o440, BOOT)}, "mode 0440"),
        ({"/etc/cryptsetup-keys.d/luks-1.key": (0o400, BOOT + b"\n")}, "is not the boot key"),
        ({"/etc/cryptsetup-keys.d/luks-1.key": (0o400, OTHER)}, "holds the recovery key"),
        ({"/etc/initramfs-tools/conf.d/umask": (0o644, b"#UMASK=0077\n")}, "UMASK=0077"),
        ({"/etc/initramfs-tools/conf.d/zz": (0o644, b"UMASK=0022\n")}, "UMASK=0077"),
        (
            {"/usr/share/initramfs-tools/conf-hooks.d/x": (0o644, b"UMASK=0022\n")},
            "UMASK=0077",
        ),
        # initramfs-tools leaves out a hook that is no program.
        ({HOOK: (0o644, b"#!/bin/sh")}, f"{HOOK} is not there or is no program: a rebuild loses"),
        ({UPDATE_CONF: (0o644, b"update_initramfs=yes\n")}, None),
        (
            {UPDATE_CONF: (0o644, b"update_initramfs=no\n")},
            f"update_initramfs=no is set in {UPDATE_CONF}",
        ),
        ({UPDATE_CONF: (0o644, b"update_initramfs=no\nupdate_initramfs=all\n")}, None),
    ],
)
def test_key_files(tree: t.Any, change: dict[str, t.Any], says: str | None) -> None:
    keys = {"boot key": BOOT, "recovery key": OTHER}
    found = initramfs.key_files(tree({**KEYS, **change}), ROW, keys=keys)
    assert [says in problem for problem in found if says] == ([True] if says else [])
    assert bool(found) is bool(says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, None),
        ({CONF: (0o644, b"install_items=' /etc/cryptsetup-keys.d/* /etc/headers/* '\n")}, None),
        # The machine would not boot with that initramfs.
        (
            {CONF: (0o644, b"install_items=' /etc/cryptsetup-keys.d/* '\n")},
            "does not have /etc/headers/1.header: a rebuild loses it",
        ),
        ({CONF: (0o644, b"# " + ITEMS)}, "a rebuild loses it"),
        ({"/etc/dracut.conf.d/_z.conf": (0o644, b"install_items=/x\n")}, "a rebuild loses it"),
        ({"/etc/dracut.conf.d/_z.conf": (0o644, b"install_items+=/x\n")}, None),
        # dracut reads it before ours (sort -V).
        ({"/etc/dracut.conf.d/zz-x.conf": (0o644, b"install_items=/x\n")}, None),
        ({"/etc/dracut.conf.d/_z.off": (0o644, b"install_items=/x\n")}, None),
        ({"/usr/lib/dracut/dracut.conf.d/_z.conf": (0o644, b"install_items=/x\n")}, "loses"),
    ],
)
def test_key_files_of_dracut(tree: t.Any, change: dict[str, t.Any], says: str | None) -> None:
    found = initramfs.key_files(tree({**DRACUT, **change}), ROW, keys={"boot key": BOOT})
    assert bool(found) is bool(says)
    assert says is None or says in found[0]


CONF_OF_MKINITCPIO = "/etc/mkinitcpio.conf"


FILES = b"FILES=(/etc/cryptsetup-keys.d/luks-1.key /etc/headers/1.header)\n"


MKINITCPIO: dict[str, t.Any] = {
    **{path: KEYS[path] for path in KEYS if "cryptsetup" in path},
    "/usr/bin/mkinitcpio": (0o755,),
    CONF_OF_MKINITCPIO: (0o644, FILES),
}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (FILES, None),
        (b"FILES=(/etc/headers/1.header)\n", "luks-1.key: a rebuild loses it"),
        (b"FILES=(/etc/cryptsetup-keys.d/luks-1.key)\n", "/etc/headers/1.header: a rebuild loses"),
        (b"# " + FILES, "a rebuild loses it"),
    ],
)
def test_key_files_of_mkinitcpio(tree: t.Any, files: bytes, says: str | None) -> None:
    root = tree({**MKINITCPIO, CONF_OF_MKINITCPIO: (0o644, files)})
    found = initramfs.key_files(root, ROW, keys={"boot key": BOOT})
    assert bool(found) is bool(says)
    assert says is None or says in found[0]


def test_key_files_that_are_not_there(tree: t.Any) -> None:
    keys = {"boot key": BOOT}
    assert "is not there" in initramfs.key_files(tree({}), ROW, keys=keys)[0]
    swap = [["swap", "/dev/x", "/dev/urandom", "swap"]]
    assert "no key file" in initramfs.key_files(tree({}), swap, keys=keys)[0]


def test_a_root_without_initramfs_tools_needs_no_umask(tree: t.Any) -> None:
    files = {path: file for path, file in KEYS.items() if "initramfs" not in path}
    assert initramfs.key_files(tree(files), ROW, keys={"boot key": BOOT}) == []


BACKUP = ["backup", "UUID=1", "none", "noauto"]


def test_keys_of_what_is_kept_are_not_taken_for_the_roots(tree: t.Any) -> None:
    top = "/etc/cryptsetup-keys.d"
    files = {
        top: (0o700,),
        f"{top}/luks-1.key": (0o400, BOOT),
        f"{top}/backup.key": (0o400, b"a key of its own"),
        "/etc/keys/vault.key": (0o400, b"another key"),
    }
    root = ["cr_root", "UUID=2", f"{top}/luks-1.key", "luks"]
    keys = {"boot key": BOOT}
    assert initramfs.key_files(tree(files), [root, VAULT, BACKUP], keys=keys) == []
    # Nothing is left that uses it.
    assert initramfs.key_files(tree(files), [root, VAULT], keys=keys) == [
        f"{top}/backup.key is not the boot key (a newline at its end counts)"
    ]


def test_keys_that_no_initramfs_may_hold(tree: t.Any) -> None:
    found = initramfs.foreign_keys(
        tree(
            {
                "/etc/cryptsetup-keys.d/luks-1.key": (0o400, BOOT),
                "/etc/cryptsetup-keys.d/backup.key": (0o400, b"backup's key"),
                "/etc/keys/x509_ima.der": (0o644, b"a certificate"),
                "/etc/keys/old.key": (0o600, b"another machine's"),
                "/etc/keys/short.key": (0o600, b"2 short"),
                "/srv/vault.key": (0o644, b"the vault's key"),
            }
        ),
        [[*VAULT[:2], "/srv/vault.key"], BACKUP, ["x", "/srv/x.img", "/gone.key"]],
        BOOT,
    )
    assert found == {
        "key in /etc/cryptsetup-keys.d/backup.key": b"backup's key",
        "key in /etc/keys/old.key": b"another machine's",
        "key in /srv/vault.key": b"the vault's key",
    }
