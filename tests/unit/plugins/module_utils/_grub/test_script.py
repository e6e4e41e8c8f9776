# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The language of grub.cfg, and what leads out of the volume."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._grub import script

VOLUME = "cryptouuid/11111111222243338444555555555555"


@pytest.mark.parametrize(
    ("text", "commands"),
    [
        ("", []),
        ("# set a=b\n\n", []),
        ("set a=b # c\nexport a", [["set", "a=b"], ["export", "a"]]),
        ("set a=b#c\n", [["set", "a=b#c"]]),
        ('set superusers=""\n', [["set", 'superusers=""']]),
        (
            "if [ x$a = xy ]; then source $b; fi",
            [["[", "x$a", "=", "xy", "]"], ["source", "$b"], ["fi"]],
        ),
        (
            "menuentry 'a; {b} # c' --id d { linux /x }",
            [["menuentry", "'a; {b} # c'", "--id", "d"], ["linux", "/x"]],
        ),
        ('echo "a \\" ; b"\n', [["echo", '"a \\" ; b"']]),
        ("source ${prefix}/a.cfg\n", [["source", "${prefix}/a.cfg"]]),
        ("linux /x \\\n  quiet\n", [["linux", "/x", "quiet"]]),
        ("while ! true; do sleep 1; done", [["true"], ["sleep", "1"], ["done"]]),
        # What is not closed is read as far as it can be.
        ("echo 'a\n", [["echo", "a"]]),
    ],
)
def test_commands(text: str, commands: list[list[str]]) -> None:
    assert script.commands(text) == commands


def test_what_is_loaded() -> None:
    text = "if true; then linux \"/a\" ro $x; fi\nlinux16 /memtest.bin\nlinux\ninitrd /b '/c'\n"
    assert script.loads(text, script.KERNEL) == [["/a", "ro", "$x"]]
    assert script.loads(text, script.INITRD) == [["/b", "/c"]]


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("source $prefix/custom.cfg", "/boot/grub/custom.cfg"),
        ("source ${prefix}/custom.cfg", "/boot/grub/custom.cfg"),
        ("source ${config_directory}/custom.cfg", "/boot/grub/custom.cfg"),
        ('. "${config_directory}/custom.cfg"', "/boot/grub/custom.cfg"),
        ("configfile /boot/other.cfg", "/boot/other.cfg"),
        ("configfile ($root)/boot/other.cfg", "/boot/other.cfg"),
        (f"configfile ({VOLUME})/boot/other.cfg", "/boot/other.cfg"),
        ("syslinux_configfile -s /boot/syslinux.cfg", "/boot/syslinux.cfg"),
        ("if [ -f /a ]; then configfile '/b c'; fi", "/b c"),
        ("configfile (hd1)/x.cfg", None),
        ("configfile $where/x.cfg", None),
        ("[ -f /x.cfg ]", None),
        ("normal", None),
        ("loadfont /x.pf2", None),
    ],
)
def test_what_is_read(line: str, path: str | None) -> None:
    found = script.scripts(f"{line}\n", volume=VOLUME, directory="/boot/grub")
    assert found == ([path] if path else [])


@pytest.mark.parametrize(
    ("line", "is_foreign"),
    [
        ("source $prefix/custom.cfg", False),
        ("source /x.cfg", False),
        ("linux /boot/vmlinuz-6", False),
        (f"linux ({VOLUME})/boot/vmlinuz-6", False),
        ("linux ($root)/boot/vmlinuz-6", False),
        ("fwsetup", False),
        ("fwsetup --is-supported", False),
        ("echo exit", False),
        # The firmware starts the next program, and the volume's key is in memory.
        ("exit", True),
        ("menuentry x --unrestricted {\nexit 1\n}", True),
        ("normal_exit", True),
        ("normal", False),
        ("insmod part_gpt", False),
        ("echo chainloader (hd1)/x", False),
        # The memory tests of distributions.
        ("linux16 /boot/memtest86+.bin", False),
        ("chainloader /boot/memtest86+x64.efi", False),
        ("chainloader +1", True),
        ("chainloader (hd0,gpt1)/EFI/BOOT/OTHER.EFI", True),
        ("chainloader (hd1)/memtest.efi", True),
        ("multiboot2 /boot/xen.gz", True),
        # Reads the ESP.
        ("uki", True),
        ("if true; then configfile (hd1,gpt1)/grub.cfg; fi", True),
        ("source (memdisk)/x.cfg", True),
        # It may be anything.
        ("configfile $where/x.cfg", True),
        ("linux16 (hd1)/vmlinuz", True),
        ("linux /boot/vmlinuz-6\ninitrd /boot/a '(hd1)/b'", True),
        ("loopback loop (hd1)/x.iso", True),
        ("insmod (hd1)/x.mod", True),
        ("blscfg", False),
        ("blscfg (hd1,gpt1)/loader", True),
        ("xen_hypervisor (hd1)/xen", True),
    ],
)
def test_what_is_foreign(line: str, is_foreign: bool) -> None:
    assert bool(script.foreign(f"  {line}\n", volume=VOLUME)) is is_foreign


@pytest.mark.parametrize(
    ("line", "is_unclear"),
    [
        ("$u superusers", True),
        ("for c in unset; do $c superusers; done", True),
        ('"${c}" (hd1,gpt1)/grub.cfg', True),
        ("br$none x", True),
        ("read x", True),
        ("if true; then read; fi", True),
        ("smbios -t 11 -s 4 --set root", True),
        ("smbios --type 0 --get-string 4", True),
        ("probe -s root --fs-uuid hd1", True),
        ("probe -sroot --fs-uuid hd1", True),
        ("probe --set=root -u hd1", True),
        ("probe --set rootuuid -u $root", False),
        ("regexp -s root '(.*)' hd1,gpt1", True),
        ("regexp --set=1:root '(.*)' hd1,gpt1", True),
        ("regexp --set 1:prefix '(.*)' hd1,gpt1", True),
        ("regexp --set=$x '(.*)' hd1,gpt1", True),
        ("regexp --set=1:number '(.*)' root", False),
        ("load_env", False),
        ("load_env saved_entry next_entry", False),
        ("load_env -f ${config_directory}/grubenv", False),
        ("load_env root prefix", True),
        ("load_env -f (hd1,gpt1)/grubenv", True),
        ("load_env --file=/x $names", True),
        # 00_header of SUSE and of GRUB 2.14.
        ('load_env -f "${env_block}"', False),
        ("load_env --file=$env_block saved_entry", False),
        ("load_env -f $other_block", True),
        ("load_env -f ${env_block} root", True),
        ("load_env -f ${env_block} ${names}", True),
        ("load_env ${env_block}", True),
        ('set env_block="(${root})${env_block}"', False),
        ("env_block=($root)$env_block", False),
        ("set env_block=512+1", True),
        ("set env_block=(hd1)1+1", True),
        ("set env_block=${other}", True),
        ("regexp -s env_block '(.*)' '(hd1)1+1'", True),
        ("load_env --file=(hd1,gpt1)/grubenv", True),
        (f"cryptomount -u {VOLUME.rpartition('/')[2]}", False),
        ("cryptomount -a", True),
        ("cryptomount (hd1,gpt1)", True),
        (f"cryptomount -u {VOLUME.rpartition('/')[2]} -a", True),
        ("set gfxpayload=$linux_gfx_mode", False),
        ('[ "${next_entry}" ]', False),
        ('saved_entry="${chosen}"', False),
        ("$name=x", True),
        ("load_video", False),
        ("echo read $x", False),
    ],
)
def test_what_is_unclear(line: str, is_unclear: bool) -> None:
    assert bool(script.unclear(f"  {line}\n", volume=VOLUME)) is is_unclear


LINUX = "linux /boot/vmlinuz-6 ro"


@pytest.mark.parametrize(
    ("text", "titles"),
    [
        (f"menuentry 'a b' --unrestricted {{\n{LINUX}\n}}", []),
        (f"menuentry 'a' --class x $menuentry_id_option 'y' {{\n{LINUX}\n}}", []),
        (f"menuentry 'a' ${{menuentry_id_option}} 'y' {{\n{LINUX}\n}}", []),
        (f"menuentry 'a b' --class x {{\n{LINUX}\n{LINUX}\n}}", ["a b"]),
        (f"menuentry 'a --unrestricted' --id y {{ {LINUX} }}", ["a --unrestricted"]),
        # GRUB asks for that of a submenu as well.
        (f"submenu s {{ menuentry a --unrestricted {{ {LINUX} }} }}", ["s"]),
        (f"submenu s --unrestricted {{ menuentry a {{ {LINUX} }} }}", ["a"]),
        (f"submenu s {{ true }}\nmenuentry a --unrestricted {{ {LINUX} }}", []),
        (f"function f {{ {LINUX} }}", []),
        # Nobody waits for these.
        ("menuentry 'UEFI Firmware Settings' { fwsetup }", []),
        ("menuentry 'Memory test' { linux16 /boot/memtest86+.bin }", []),
    ],
)
def test_what_asks_for_a_password(text: str, titles: list[str]) -> None:
    assert script.restricted(f"{text}\n") == titles


ISO = """menuentry "Rescue ISO" {
    set isofile="/boot/rescue.iso"
    loopback loop $isofile
    linux (loop)/live/vmlinuz boot=live findiso=$isofile noeject
    initrd (loop)/live/initrd.img
}
"""
KERNEL = "menuentry 'x' --unrestricted {\n linux /boot/vmlinuz root=/dev/mapper/cr_root\n}\n"


@pytest.mark.parametrize(
    ("text", "is_left"),
    [
        (ISO, False),
        (f"submenu 'more' {{\n{ISO}}}\n", False),
        (f"if true; then {ISO}fi\n", False),
        # Anyone at the console could start these, and read what GRUB left in memory.
        (ISO.replace('ISO"', 'ISO" --unrestricted'), True),
        (ISO.replace('ISO"', 'ISO" $menuentry_id_option x'), True),
        (ISO.replace('ISO"', 'ISO" ${mine}'), True),
        (ISO.replace('ISO"', "ISO\" --'unrestricted'"), True),
        (ISO.replace("menuentry", "menuentry --unrestricted"), True),
        (ISO.replace("menuentry", "menuentry $menuentry_id_option x"), True),
        (ISO.replace("menuentry", "menuentry -\\\n-unrestricted"), True),
        (ISO.replace("menuentry", "menuentry \\\n--unrestricted"), True),
        (ISO.replace('ISO"', 'ISO" --other'), True),
        (ISO.replace('ISO"', 'ISO" --class iso --id=x --users ""'), False),
        (ISO.replace("menuentry", "menuentry --class iso"), False),
        # No entry, or one of another kind.
        ("loopback loop /x.iso\nlinux (loop)/vmlinuz\n", True),
        (f"submenu 'a' {{\nloopback loop /x.iso\n{KERNEL}}}\n", True),
        (ISO.replace("loopback", "echo loopback"), True),
        (ISO.rstrip("}\n"), True),
    ],
)
def test_an_entry_of_an_iso_that_nobody_can_start(text, is_left):
    reduced = script.without_isos(f"{KERNEL}{text}{KERNEL}")
    assert ("loopback" in reduced) is is_left
    assert is_left == (reduced == f"{KERNEL}{text}{KERNEL}")
    assert reduced.count("/boot/vmlinuz ") == 2 + text.count("/boot/vmlinuz ")
