# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boot loader entries and GRUB's environment block."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils import _boot_entries, _grub
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError

ENTRY = """\
title A Linux (1)
# a comment
linux /vmlinuz-1
initrd /a.img
initrd /b.img
options root=/dev/sda1 ro  quiet
"""


@pytest.mark.parametrize(
    ("config", "used"),
    [
        ("blscfg\n", True),
        ("  blscfg (hd0)\n", True),
        ("insmod blscfg\n", False),
        ("# blscfg\n", False),
    ],
)
def test_only_the_command_makes_entries_a_menu(config, used):
    assert _boot_entries.used(config) is used


def test_values_of_several_lines_are_one():
    assert _boot_entries.get(ENTRY, "initrd") == "/a.img /b.img"
    text = _boot_entries.put(ENTRY, "initrd", "/boot/a.img /boot/b.img")
    assert text.splitlines()[3:] == [
        "initrd /boot/a.img /boot/b.img",
        "options root=/dev/sda1 ro  quiet",
    ]
    assert _boot_entries.put(text, "initrd", "/boot/a.img /boot/b.img") == text
    assert _boot_entries.put(ENTRY, "linux", "/boot/x").splitlines()[1:3] == [
        "# a comment",
        "linux /boot/x",
    ]
    assert _boot_entries.put(ENTRY, "devicetree", "/x").endswith("quiet\ndevicetree /x\n")


def test_a_key_is_a_whole_word():
    assert _boot_entries.get("linuxefi /x\nlinux\t/y  \n", "linux") == "/y"


@pytest.mark.parametrize(
    ("have", "words"),
    [
        ("", "root=UUID=1 ro a=1"),
        ("root=/dev/x rw rootflags=subvol=r rootwait rd.lvm.lv=a/b", "root=UUID=1 ro rootwait a=1"),
        ("root=UUID=1 ro a=1 b", "root=UUID=1 ro a=1 b"),
        ("luks.uuid=2 quiet", "root=UUID=1 ro quiet a=1"),
    ],
)
def test_words_of_a_command_line(have, words):
    said = _boot_entries.words_for(have, root_uuid="1", wanted="a=1", old_disks=_grub.OLD_DISKS)
    assert said == words
    again = _boot_entries.words_for(said, root_uuid="1", wanted="a=1", old_disks=_grub.OLD_DISKS)
    assert again == words


def test_our_own_disk_is_no_old_one():
    wanted = "rd.luks.uuid=luks-2"
    for have in ("rd.luks.uuid=luks-1", "rd.luks.uuid=luks-2"):
        said = _boot_entries.words_for(have, root_uuid="1", wanted=wanted, old_disks=("rd.luks.",))
        assert said == "root=UUID=1 ro rd.luks.uuid=luks-2"


def test_variables_of_grub():
    env = {"a": "1", "b": "2"}
    assert _boot_entries.expand("$a ${b}3 $c x$a", env) == "1 23  x1"


@pytest.mark.parametrize(
    ("name", "own", "rescue"),
    [
        (f"{'a' * 32}-5.1.el9.conf", f"{'f' * 32}-5.1.el9.conf", False),
        (f"{'0' * 32}-0-rescue.conf", f"{'f' * 32}-0-rescue.conf", True),
        ("custom.conf", "custom.conf", False),
        (f"{'f' * 32}-5.conf", f"{'f' * 32}-5.conf", False),
    ],
)
def test_names(name, own, rescue):
    assert _boot_entries.own_name(name) == own
    assert _boot_entries.is_rescue(name) is rescue


def test_a_block_that_is_too_large():
    with pytest.raises(SealedRootError, match="room for 1024 bytes, and 2"):
        _boot_entries.format_env({"kernelopts": "x" * 2000})


def test_a_menu_is_written_out():
    config = 'set kernelopts="root=UUID=0 ro"\nblscfg\n'
    entries = {"b.conf": "title no kernel\n", "a.conf": "linux /boot/k\noptions $kernelopts $x y\n"}
    assert _boot_entries.rendered(config, entries, {}).endswith(
        "\nlinux /boot/k root=UUID=0 ro y\n"
    )
    env = {"kernelopts": "root=UUID=9 ro"}
    assert _boot_entries.rendered(config, entries, env).endswith("/boot/k root=UUID=9 ro y\n")
    assert _boot_entries.rendered("linux /k\n", entries, env) == "linux /k\n"


def test_grub_cfg_with_entries_is_judged_by_the_words_it_has_for_them():
    config = 'set kernelopts="root=/dev/loop0 ro"\nblscfg\n'
    said = _grub.check_config(config, root_uuid="1", words=["a"])
    assert "kernelopts gets root=/dev/loop0 instead of root=UUID=1" in said
    assert "kernelopts does not get a" in said
    assert _grub.check_config("insmod blscfg\nblscfg\n", root_uuid="1", words=["a"]) == []
    assert _grub.check_config("insmod blscfg\n", root_uuid="1", words=[]) == ["it boots no kernel"]
