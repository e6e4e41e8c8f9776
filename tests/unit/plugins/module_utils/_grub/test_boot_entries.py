# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Boot loader entries and GRUB's environment block."""

from __future__ import annotations

import time

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._grub import boot_entries, cfg
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

ROOT = "/dev/mapper/luks-1"
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
    assert boot_entries.used(config) is used


def test_values_of_several_lines_are_one():
    assert boot_entries.get(ENTRY, "initrd") == "/a.img /b.img"
    text = boot_entries.put(ENTRY, "initrd", "/boot/a.img /boot/b.img")
    assert text.splitlines()[3:] == [
        "initrd /boot/a.img /boot/b.img",
        "options root=/dev/sda1 ro  quiet",
    ]
    assert boot_entries.put(text, "initrd", "/boot/a.img /boot/b.img") == text
    assert boot_entries.put(ENTRY, "linux", "/boot/x").splitlines()[1:3] == [
        "# a comment",
        "linux /boot/x",
    ]
    assert boot_entries.put(ENTRY, "devicetree", "/x").endswith("quiet\ndevicetree /x\n")


def test_a_key_is_a_whole_word():
    assert boot_entries.get("linuxefi /x\nlinux\t/y  \n", "linux") == "/y"


@pytest.mark.parametrize(
    ("have", "words"),
    [
        ("", f"root={ROOT} ro a=1"),
        (
            "root=/dev/x rw rootflags=subvol=r rootwait rd.lvm.lv=a/b",
            f"root={ROOT} ro rootwait a=1",
        ),
        (f"root={ROOT} ro a=1 b", f"root={ROOT} ro a=1 b"),
        ("root=UUID=1 ro a=1 b", f"root={ROOT} ro a=1 b"),
        ("luks.uuid=2 quiet", f"root={ROOT} ro quiet a=1"),
    ],
)
def test_words_of_a_command_line(have, words):
    said = boot_entries.words_for(have, root_device=ROOT, wanted="a=1", unwanted=guest.unwanted([]))
    assert said == words
    again = boot_entries.words_for(
        said, root_device=ROOT, wanted="a=1", unwanted=guest.unwanted([])
    )
    assert again == words


def test_our_own_disk_is_no_old_one():
    wanted = "rd.luks.uuid=luks-2"
    for have in ("rd.luks.uuid=luks-1", "rd.luks.uuid=luks-2"):
        said = boot_entries.words_for(
            have, root_device=ROOT, wanted=wanted, unwanted=guest.unwanted([])
        )
        assert said == f"root={ROOT} ro rd.luks.uuid=luks-2"


def test_what_contradicts_ours_goes_and_ours_stays():
    wanted = " ".join(guest.words("dracut", luks_uuid="2"))
    have = f"root=UUID=1 rw {wanted} systemd.gpt_auto=1 rd.shell rd.break console=ttyS0"
    said = boot_entries.words_for(
        have, root_device=ROOT, wanted=wanted, unwanted=guest.unwanted(wanted.split())
    )
    assert sorted(said.split()) == sorted(f"root={ROOT} ro console=ttyS0 {wanted}".split())
    # In the order that a second run leaves as it is.
    again = boot_entries.words_for(
        said, root_device=ROOT, wanted=wanted, unwanted=guest.unwanted(wanted.split())
    )
    assert again == said


def test_an_entry_of_rhel_8_loses_what_contradicts_ours():
    have = "$kernelopts $tuned_params systemd.debug_shell panic=0"
    unwanted = guest.unwanted(guest.words("dracut", luks_uuid="2"))
    said = boot_entries.options_for(have, root_device=ROOT, wanted="a=1", unwanted=unwanted)
    # What else it gets is in the environment block.
    assert said == "$kernelopts $tuned_params"


def test_variables_of_grub():
    env = {"a": "1", "b": "2"}
    assert boot_entries.expand("$a ${b}3 $c x$a", env) == "1 23  x1"


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
    assert boot_entries.own_name(name) == own
    assert boot_entries.is_rescue(name) is rescue


def test_a_block_that_is_too_large():
    with pytest.raises(SealedRootError, match="room for 1024 bytes, and 2"):
        boot_entries.format_env({"kernelopts": "x" * 2000})


def test_a_menu_is_written_out():
    config = 'set kernelopts="root=UUID=0 ro"\nblscfg\n'
    entries = {"b.conf": "title no kernel\n", "a.conf": "linux /boot/k\noptions $kernelopts $x y\n"}
    assert boot_entries.rendered(config, entries, {}).endswith("\nlinux /boot/k root=UUID=0 ro y\n")
    env = {"kernelopts": "root=UUID=9 ro"}
    assert boot_entries.rendered(config, entries, env).endswith("/boot/k root=UUID=9 ro y\n")
    assert boot_entries.rendered("linux /k\n", entries, env) == "linux /k\n"


def test_grub_cfg_with_entries_is_judged_by_the_words_it_has_for_them():
    config = 'set kernelopts="root=/dev/loop0 ro"\nblscfg\n'
    said = cfg.check_menu(config, root_device=ROOT, words=["a"])
    assert f"kernelopts gets root=/dev/loop0, not root={ROOT}" in said
    assert "kernelopts does not get a" in said
    assert cfg.check_menu("insmod blscfg\nblscfg\n", root_device=ROOT, words=["a"]) == []
    said = cfg.check_menu("insmod blscfg\n", root_device=ROOT, words=[])
    assert said == ["it boots no kernel"]


@pytest.mark.parametrize("debug_console", [False, True])
def test_grub_cfg_with_entries_is_closed_and_searches_for_nothing(debug_console):
    def check(config):
        return cfg.check_config(
            config, root_device=ROOT, luks_uuid="1-2", words=["a"], debug_console=debug_console
        )

    assert check(f"{cfg.CLOSED[0]}\n{cfg.CLOSED[1]}\nblscfg\n") == []
    assert len(check("blscfg\n")) == (0 if debug_console else 2)
    stray = "search --no-floppy --fs-uuid --set=boot 3"
    closed = "\n".join(cfg.CLOSED)
    assert check(f"{closed}\n{stray}\nblscfg\n") == [f"'{stray}' can find another disk"]


@pytest.mark.parametrize(
    "text", ["\n " * 50_000, "options" + " " * 100_000 + "x\n", "options" + " x" * 50_000]
)
def test_blanks_without_end_take_no_long_time(text: str) -> None:
    began = time.process_time()
    boot_entries.rendered(f"{text}blscfg", {"x": f"linux /x\n{text}"}, {})
    boot_entries.put(text, "options", "a b")
    assert time.process_time() - began < 2
