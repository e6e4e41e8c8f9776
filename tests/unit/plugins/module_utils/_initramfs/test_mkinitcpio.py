# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import functools
import pathlib
import stat
import subprocess

import distribution_trees as trees
import pytest
import unlocking
from ansible_collections.sealedroot.image.plugins.module_utils._etc import emergency
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    kernel_words,
    unlocked_root,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

UUID = unlocking.UUID
KEY = "k" * 44
PINNED = f"/etc/cryptsetup-headers.d/luks-{UUID}.header"
INSTALLED = [PINNED, kernel_words.path("mkinitcpio"), *emergency.UNITS]
PATH = f"/etc/cryptsetup-keys.d/luks-{UUID}.key"


@pytest.fixture
def root(tmp_path: pathlib.Path) -> pathlib.Path:
    trees.make(trees.ARCH, tmp_path)
    (tmp_path / "run/sealedroot").mkdir(parents=True)
    (tmp_path / "run/sealedroot/boot.key").write_text(KEY)
    (tmp_path / "run/sealedroot/luks.header").write_text("a LUKS header")
    return tmp_path


ensure = functools.partial(unlocking.ensure, generator="mkinitcpio")


def configure(root: pathlib.Path, text: str, name: str = "etc/mkinitcpio.conf") -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def effective(root: pathlib.Path, array: str) -> list[str]:
    """What mkinitcpio has in an array: it lets bash read the file and then the drop-ins, as one."""
    paths = [root / "etc/mkinitcpio.conf", *sorted((root / "etc/mkinitcpio.conf.d").glob("*.conf"))]
    script = "".join(f". {path}\n" for path in paths) + f'printf "%s\\n" "${{{array}[@]}}"'
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_key_is_roots_alone(root):
    ensure(root)
    key = root / PATH[1:]
    assert key.read_text() == KEY
    assert stat.S_IMODE(key.stat().st_mode) == 0o400
    assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
    assert KEY not in str(ensure(root))


def test_systemds_hook_finds_the_root_in_a_table_of_the_initramfs(root):
    ensure(root)
    hooks = effective(root, "HOOKS")
    assert (
        hooks
        == trees.SYSTEMD.replace(" autodetect", "").replace("block", "block sd-encrypt").split()
    )
    assert effective(root, "FILES") == [PATH, *INSTALLED]
    line = f"luks-{UUID} UUID={UUID} {PATH} {unlocked_root.SYSTEMD_OPTIONS},header={PINNED}\n"
    assert (root / "etc/crypttab.initramfs").read_text() == line
    assert (root / "etc/crypttab").read_text().endswith(line)
    assert (root / "etc/fstab").read_text().startswith(f"/dev/mapper/luks-{UUID} / ext4 ")


def test_every_file_of_the_initramfs_is_there(root):
    ensure(root)
    assert all((root / path[1:]).is_file() for path in effective(root, "FILES"))
    header = root / PINNED[1:]
    assert header.read_text() == "a LUKS header"
    assert stat.S_IMODE(header.stat().st_mode) == 0o400


def test_busyboxs_hooks_give_way_to_systemds(root):
    """Busybox's init takes no pinned header, and ends in a shell when it fails."""
    configure(root, trees.ARCH_BUSYBOX.files["etc/mkinitcpio.conf"])
    ensure(root)
    assert effective(root, "HOOKS") == [
        *("base", "systemd", "microcode", "modconf", "kms", "keyboard", "sd-vconsole"),
        *("block", "sd-encrypt", "filesystems", "fsck"),
    ]


def test_an_open_console_leaves_the_units_of_a_failed_boot_alone(root):
    ensure(root, debug_console=True)
    assert effective(root, "FILES") == [PATH, PINNED]
    assert not any(
        (root / path[1:]).exists() for path in [*emergency.FILES, kernel_words.path("mkinitcpio")]
    )


@pytest.mark.parametrize(
    ("text", "hooks", "files"),
    [
        ("", "base systemd block sd-encrypt filesystems", ""),
        (
            'HOOKS="base udev block filesystems"\n',
            "base systemd block sd-encrypt filesystems",
            "",
        ),
        (
            "HOOKS=(base udev # first\n  'block'\n  filesystems)\nFILES=('/a b')\n",
            "base systemd block sd-encrypt filesystems",
            "/a b",
        ),
        (
            "HOOKS=(base)\nHOOKS+=(udev filesystems block)\n",
            "base systemd block sd-encrypt filesystems",
            "",
        ),
        (
            f"FILES+=(/x)\nFILES+=({PATH})\nHOOKS=(encrypt systemd block sd-encrypt filesystems fsck)\n",
            "base systemd block sd-encrypt filesystems fsck",
            "/x",
        ),
        # Neither of the two that know a disk to resume from, or a /usr of its own.
        (
            "HOOKS=(base udev keymap consolefont block encrypt lvm2 resume usr filesystems)\n",
            "base systemd sd-vconsole block lvm2 sd-encrypt filesystems",
            "",
        ),
        ("HOOKS=(base block filesystems)\n", "base systemd block sd-encrypt filesystems", ""),
    ],
)
def test_every_way_to_write_an_array(root, text, hooks, files):
    configure(root, text)
    ensure(root)
    assert effective(root, "HOOKS") == hooks.split()
    assert effective(root, "FILES") == [*filter(None, [files]), PATH, *INSTALLED]
    assert not ensure(root)["changed"]


def test_comments_and_the_rest_stay(root):
    configure(
        root, "# HOOKS=(not this)\nMODULES=(a)\nHOOKS=(base udev block filesystems) # mine\nX=1\n"
    )
    ensure(root)
    assert (root / "etc/mkinitcpio.conf").read_text() == (
        "# HOOKS=(not this)\nMODULES=(a)\nHOOKS=(base systemd block sd-encrypt filesystems) # mine\nX=1\n"
        f"FILES=({' '.join([PATH, *INSTALLED])})\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "HOOKS=(base systemd autodetect block filesystems)\n",
        "HOOKS+=(autodetect)\n",
        "FILES=(/y)\n",
    ],
)
def test_a_drop_in_does_not_have_the_last_word(root, text):
    configure(root, text, "etc/mkinitcpio.conf.d/50-mine.conf")
    ensure(root)
    hooks = effective(root, "HOOKS")
    assert "autodetect" not in hooks
    assert hooks.index("block") < hooks.index("sd-encrypt") < hooks.index("filesystems")
    assert {PATH, *INSTALLED} <= {*effective(root, "FILES")}
    assert not ensure(root)["changed"]


def test_a_drop_in_about_other_things_needs_no_answer(root):
    configure(root, "COMPRESSION=cat\n", "etc/mkinitcpio.conf.d/50-mine.conf")
    ensure(root)
    assert not (root / "etc/mkinitcpio.conf.d/_sealedroot.conf").exists()


def test_four_calls(root):
    assert ensure(root, check_mode=True)["changed"]
    assert not (root / "etc/cryptsetup-keys.d").exists()
    assert ensure(root)["changed"]
    assert not ensure(root)["changed"]
    assert not ensure(root, check_mode=True)["changed"]


@pytest.mark.parametrize(
    ("gone", "says"),
    [
        ("usr/bin/mkinitcpio", "lacks mkinitcpio"),
        ("usr/lib/initcpio/install/sd-encrypt", "lacks cryptsetup: install cryptsetup"),
        ("run/sealedroot/boot.key", "boot.key does not exist"),
        ("run/sealedroot/luks.header", "header_file /run/sealedroot/luks.header does not exist"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_touched(root, gone, says):
    (root / gone).unlink()
    with pytest.raises(SealedRootError, match=says):
        ensure(root)
    assert "sd-encrypt" not in (root / "etc/mkinitcpio.conf").read_text()
