# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._etc import shell_defaults
from ansible_collections.sealedroot.image.plugins.module_utils._grub import cfg
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
PLAIN = UUID.replace("-", "")
ROOT = "0f0d9ab5-2f3c-5b5e-8a0e-6b8f2f4b7f10"
DEVICE = f"/dev/mapper/luks-{UUID}"
VOLUME = f"cryptouuid/{PLAIN}"
EVERYTHING = {
    *(*cfg.REQUIRED, *cfg.MEMDISK, *cfg.WANTED),
    *("luks", "luks2", "gcry_sha256", "gcry_sha512", "ext2"),
}


def script(**more) -> list[str]:
    text = cfg.unlock_script(luks_uuid=UUID, directory="/boot/grub2", **{"ask": True, **more})
    return [line.strip() for line in text.splitlines()]


def test_the_script_asks_for_this_disk_alone_without_dashes_and_without_a_key():
    asks = [line for line in script() if "cryptomount" in line]
    assert asks == [f"if cryptomount -u {PLAIN}; then"]
    # It asks three times, since GRUB before 2.14 asks once and gives up.
    assert script()[2] == "for try in 1 2 3; do"


def test_the_script_goes_on_in_the_disk():
    lines = script()
    at = lines.index(f"if cryptomount -u {PLAIN}; then")
    assert lines[at + 1 : at + 4] == [
        f"set root={VOLUME}",
        f"set prefix=({VOLUME})/boot/grub2",
        f"for kernel in ({VOLUME})/boot/vmlinuz-* ({VOLUME})/boot/vmlinux-*; do",
    ]
    assert "configfile $prefix/grub.cfg" in lines


TRY, NEXT = "linux boot/vmlinuz-1 panic=5", "linux boot/vmlinuz-2 panic=5"
ASK, MENU = "initrd boot/vmlinuz-1", "configfile /grub.cfg"


@pytest.mark.parametrize(
    ("fails", "runs"),
    [
        # The second "linux" is for GRUB 2.12.
        ((), [TRY, ASK, TRY, MENU]),
        ((ASK,), [TRY, ASK, "The firmware has an initramfs of its own."]),
        ((TRY,), [TRY, NEXT, "initrd boot/vmlinuz-2", NEXT, MENU]),
        ((TRY, NEXT), [TRY, NEXT, "linux boot/vmlinux-* panic=5"]),
    ],
)
def test_no_menu_comes_before_the_question_for_another_initramfs(tmp_path, fails, runs):
    """sh stands in for GRUB, whose language reads the same here."""
    (tmp_path / "boot").mkdir()
    for name in ("vmlinuz-1", "vmlinuz-2"):
        (tmp_path / "boot" / name).touch()
    bad = "|".join(f"'{it}'" for it in (*fails, "linux boot/vmlinux-* panic=5"))
    programs = "".join(
        f'{name}() {{ echo "{name} $*"; case "{name} $*" in {bad}) return 1 ;; esac; }}\n'
        for name in ("linux", "initrd", "configfile")
    )
    programs += 'cryptomount() { echo cryptomount; }\necho() { command echo "$@"; }\n'
    programs += "sleep() { command echo sleep; }\nhalt() { command echo halt; exit; }\n"
    text = cfg.unlock_script(luks_uuid=UUID, directory="/boot/grub", ask=True)
    text = text.replace(f"({VOLUME})/", "")
    done = subprocess.run(
        ["sh"],
        input=programs + text,
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=30,
    )
    assert done.stdout.splitlines() == [
        "cryptomount",
        *runs,
        "GRUB has no menu to go on with.",
        "sleep",
        "halt",
    ]


@pytest.mark.parametrize("more", [{"debug_console": True}, {"ask": False}])
def test_nothing_is_asked_for_development_and_under_secure_boot(more):
    assert not [line for line in script(**more) if line.startswith(("for kernel", "if linux"))]


def test_the_shell_is_closed_before_a_key_is_asked_for():
    assert script()[:2] == ['set superusers=""', "export superusers"]


def test_whatever_fails_ends_in_a_halt_or_a_restart():
    lines = script()
    # The menu is damaged: it stays so, and the volume is open.
    after = lines[lines.index("configfile $prefix/grub.cfg") + 1 :]
    assert after[1:5] == ["fi", "break", "fi", "done"]
    assert after[5:9] == ['echo "GRUB has no menu to go on with."', "sleep 3", "halt", "fi"]
    # No key opens it: a restart asks again.
    assert after[9:] == [
        "done",
        'echo "No key opens the disk. Restarting."',
        "sleep 3",
        "reboot",
    ]


def test_a_debug_console_closes_and_ends_nothing():
    lines = script(debug_console=True)
    assert lines[0] == "for try in 1 2 3; do"
    assert not {"halt", "reboot"} & {*lines}
    assert not any("superusers" in line for line in lines)
    # A configuration that ended was left on purpose: the disk is not asked for again.
    assert lines[lines.index("configfile $prefix/grub.cfg") + 1 :] == ["break", "fi", "done"]


@pytest.mark.parametrize("debug_console", [False, True])
def test_every_command_of_the_script_is_in_the_core_image(debug_console):
    names = {line.split()[0] for line in script(debug_console=debug_console)}
    words = {"for", "if", "else", "fi", "done", "set", "export", "break"}  # of the language itself
    # initrd is in the module linux.
    assert names - words <= {*cfg.REQUIRED, "initrd"}
    assert "cryptodisk" in cfg.REQUIRED  # which has cryptomount


@pytest.mark.parametrize("debug_console", [False, True])
def test_the_stub_says_the_same_and_whether_secure_boot_is_on(debug_console):
    what = {"luks_uuid": UUID, "directory": "/boot/grub", "debug_console": debug_console}
    first, _newline, rest = cfg.stub(**what).partition("\n")
    assert first == 'if [ "$lockdown" = y ]; then echo "Secure Boot is enabled."; fi'
    assert rest == cfg.unlock_script(**what)


@pytest.mark.parametrize(
    ("luks_type", "hash_name", "module"),
    [("luks1", "sha256", "luks"), ("luks2", "sha512", "luks2")],
)
def test_modules_follow_the_header(luks_type, hash_name, module):
    names = cfg.modules(EVERYTHING, luks_type=luks_type, hash_name=hash_name, filesystem="ext4")
    assert {module, f"gcry_{hash_name}", "ext2", "cryptodisk", "gcry_rijndael"} <= set(names)
    assert {"memdisk", "tar", "halt", "reboot", "sleep", "echo"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", ["gcry_sha512", "memdisk", "tar", "halt", "sleep"])
def test_a_grub_without_what_the_boot_needs_is_refused(name):
    with pytest.raises(SealedRootError, match=f"no {name}: install a grub-efi package"):
        cfg.modules(EVERYTHING - {name}, luks_type="luks1", hash_name="sha512", filesystem="ext4")


def test_a_signed_grub_needs_no_memdisk():
    """It reads a stub from the ESP; Secure Boot would let it load none."""
    names = cfg.needed(luks_type="luks1", hash_name="sha256", filesystem="ext4")
    assert not {*cfg.MEMDISK} & {*names}


def test_optional_modules_may_be_missing():
    names = cfg.modules(
        EVERYTHING - {"efi_gop"}, luks_type="luks1", hash_name="sha256", filesystem="ext4"
    )
    assert "efi_gop" not in names


def test_an_unknown_file_system_is_refused():
    with pytest.raises(SealedRootError, match="zfs"):
        cfg.modules(EVERYTHING, luks_type="luks1", hash_name="sha256", filesystem="zfs")


CLOSED = """\
set superusers=""
export superusers
menuentry_id_option="--unrestricted --id"
export menuentry_id_option
"""


def config(options: str, before: str = CLOSED) -> str:
    return (
        f"{before}menuentry x $menuentry_id_option x {{\n\tlinux\t/boot/vmlinuz-6 {options}\n}}\n"
    )


GOOD = config(f"root={DEVICE} ro console=ttyS0")


def check(text: str, **more) -> list[str]:
    words = ["console=ttyS0"]
    return cfg.check_config(text, root_device=DEVICE, luks_uuid=UUID, words=words, **more)


def test_a_good_configuration():
    assert check(GOOD) == []


def test_the_same_root_twice_boots():
    assert check(config(f"root={DEVICE} root={DEVICE} console=ttyS0")) == []


def test_a_memory_test_has_no_root():
    memtest = "menuentry m {\n\tlinux\t/boot/memtest86+x64.efi\n}\n"
    assert check(GOOD + memtest) == []
    assert check(CLOSED + memtest) == ["it boots no kernel"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (CLOSED, "boots no kernel"),
        (config("root=/dev/loop0 console=ttyS0"), f"not root={DEVICE}"),
        # A disk of the host can have that UUID.
        (config(f"root=UUID={ROOT} console=ttyS0"), f"gets root=UUID={ROOT}, not root="),
        (config("ro console=ttyS0"), "no root="),
        # The kernel and the initramfs take the last one.
        (config(f"root={DEVICE} ro console=ttyS0 root=/dev/sda1"), "not root="),
        (config(f"root={DEVICE} ro"), "does not get console=ttyS0"),
        # A recovery entry ends in a shell, and GRUB_DISABLE_RECOVERY leaves it out.
        (config(f"root={DEVICE} ro single"), "does not get console=ttyS0"),
        (GOOD + "# /dev/mapper/sealedroot-x", "of the builder"),
        (GOOD + "# /var/tmp/x", "of the builder"),
        (GOOD + "# /run/sealedroot/disk.raw", "it names /disk.raw of the builder"),
        (f"{GOOD}if true; then linux16 /b; fi\n", "/b gets no root="),
        (GOOD + f"search --fs-uuid --set=root {ROOT}", "can find another disk"),
        (config(f"root={DEVICE} ro console=ttyS0", before=""), "editor and shell are open"),
    ],
)
def test_what_would_not_boot_or_what_else_would_is_said(text, words):
    assert any(words in problem for problem in check(text))


def test_a_debug_console_may_be_open_and_no_more():
    text = config(f"root={DEVICE} console=ttyS0", before="")
    assert check(text, debug_console=True) == []
    assert check(config("root=UUID=1 console=ttyS0", before=""), debug_console=True)
    assert check(f"{text}search --set=root --label x\n", debug_console=True)


@pytest.mark.parametrize(
    ("text", "doors"),
    [
        (GOOD, 0),
        # Entries of boot loader entries have the word of their own.
        ('set superusers=""\nexport superusers\nblscfg\n', 0),
        (GOOD.replace('set superusers=""\n', ""), 1),
        (GOOD.replace("export superusers\n", ""), 1),
        (GOOD.replace("--unrestricted ", ""), 1),
        (GOOD.replace(" $menuentry_id_option x", ""), 1),
        (f"{GOOD}unset superusers\n", 1),
        (f"{GOOD}if true; then unset superusers; fi\n", 1),
        (f"{GOOD}unset 'superusers'\n", 1),
        (f'{GOOD}set superusers="root"\n', 1),
        (f"{GOOD}superusers=root\npassword root secret\n", 2),
        (f"{GOOD}password_pbkdf2 root grub.pbkdf2.sha512\n", 1),
        (f'{GOOD}eval "unset superusers"\n', 1),
        (f"{GOOD}authenticate\n", 1),
        (f'{GOOD}menuentry_id_option="--id"\n', 1),
        (f'menuentry_id_option="--id"\n{GOOD}', 0),
        ("", 2),
    ],
)
def test_the_doors_to_the_editor_and_the_shell(text, doors):
    assert len(cfg.open_doors(text)) == doors


def test_the_script_of_grub_mkconfig_closes_them():
    done = subprocess.run(
        ["sh"], input=cfg.MENU_SCRIPT_TEXT, capture_output=True, text=True, check=True
    )
    assert done.stdout == CLOSED
    assert cfg.open_doors(done.stdout + "menuentry x {\n}\n") == []
    # After 00_header, which sets one of the two, and before every entry.
    assert "/etc/grub.d/00_header" < cfg.MENU_SCRIPT < "/etc/grub.d/10_linux"


def test_the_script_is_one_that_shellcheck_takes(shellcheck):
    shellcheck(cfg.MENU_SCRIPT_TEXT)


# What grub-mkconfig writes (GRUB: util/grub-mkconfig_lib.in, prepare_grub_to_access_device).
SEARCHES = f"""\
\tset root='hd0,gpt2'
\tif [ x$feature_platform_search_hint = xy ]; then
\t  search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt2 {ROOT}
\telse
\t  search --no-floppy --fs-uuid --set=root {ROOT}
\tfi
if [ x$feature_default_font_path = xy ] ; then
   font=unicode
else
  search --no-floppy --fs-uuid --set=boot {ROOT}
    font="/usr/share/grub/unicode.pf2"
fi
"""


def test_nothing_is_searched_for():
    text = cfg.unsearched(SEARCHES, luks_uuid=UUID)
    assert text.splitlines()[1:6] == [
        "\tif [ x$feature_platform_search_hint = xy ]; then",
        f"\t  set root={VOLUME}",
        "\telse",
        f"\t  set root={VOLUME}",
        "\tfi",
    ]
    assert f"  set boot={VOLUME}\n    font=" in text
    assert cfg.unsearched(text, luks_uuid=UUID) == text
    assert "search " not in text


def test_what_leads_to_other_disks():
    found = cfg.strays(SEARCHES, luks_uuid=UUID)
    assert found == [
        "set root='hd0,gpt2'",
        f"search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt2 {ROOT}",
        f"search --no-floppy --fs-uuid --set=root {ROOT}",
        f"search --no-floppy --fs-uuid --set=boot {ROOT}",
    ]
    text = cfg.unsearched(SEARCHES, luks_uuid=UUID)
    assert cfg.strays(text, luks_uuid=UUID) == ["set root='hd0,gpt2'"]


@pytest.mark.parametrize(
    ("line", "stray"),
    [
        (f"set root='{VOLUME}'", False),
        (f'set root="{VOLUME}"', False),
        (f"set boot={VOLUME}", False),
        ("echo searching --set=root", False),
        # Says where something is, and sets nothing.
        ("search --file /x", False),
        (f"set root=cryptouuid/{ROOT.replace('-', '')}", True),
        ("set boot='hd1'", True),
        ("prefix=(hd1)/grub", True),
        ("set config_directory=(hd1)/x", True),
        ("search --set --label x", True),
        (f"search -u {ROOT} -s root", True),
        ("search.fs_uuid 1234-ABCD root", True),
        ("search.file /x", True),
        ("if true; then search --set=root --file /x; fi", True),
    ],
)
def test_what_is_a_stray(line, stray):
    assert bool(cfg.strays(f"  {line}\n", luks_uuid=UUID)) is stray


@pytest.mark.parametrize(
    ("words", "have", "kept"),
    [
        # Disks of the machine that the root is from go at any time.
        ([], "root=/dev/sda1 resume=/dev/sda2 rd.lvm.lv=a/b quiet", "quiet"),
        ([], "rootflags=subvol=x rootfstype=btrfs rd.md=0 rd.dm.uuid=x rootwait", "rootwait"),
        (
            [],
            "rd.luks.crypttab=0 nfsroot=x rd.auto dm-mod.create=x ro rd.driver.pre=x",
            "ro rd.driver.pre=x",
        ),
        # So does what is of that machine alone.
        ([], "systemd.machine_id=1f systemd.hostname=old rd.iscsi.initiator=iqn.x quiet", "quiet"),
        (
            [],
            "ip=192.0.2.7::192.0.2.1 ip=[2001:db8::7]:::: ip=dhcp ifname=a:52:54:0:0:0:1",
            "ip=dhcp",
        ),
        ([], "panic=30 rd.break systemd.gpt_auto=1", "panic=30 rd.break systemd.gpt_auto=1"),
        # A word that ours has an opinion about,
        (["systemd.gpt_auto=0"], "systemd.gpt_auto=1 quiet", "quiet"),
        (["systemd.gpt_auto=0"], "systemd.gpt-auto=1 quiet", "quiet"),
        (
            ["efi=noruntime"],
            "efi=runtime efi_pstore.pstore_disable=1",
            "efi_pstore.pstore_disable=1",
        ),
        (["panic=5", "sysctl.kernel.sysrq=0"], "panic=0 panic_on_oops=1", "panic_on_oops=1"),
        # and none that a person's has.
        (["console=ttyS0", "a=1"], "console=tty0 a=2", "console=tty0 a=2"),
        # What opens a console goes where it is closed, and not where a person sets panic= alone.
        (
            ["panic=5", "sysctl.kernel.sysrq=0"],
            "rd.shell rd.break=mount break=top systemd.debug_shell=1 sysrq_always_enabled quiet",
            "quiet",
        ),
        (
            ["panic=5", "sysctl.kernel.sysrq=0"],
            "systemd.crash-shell sysrq-always-enabled ekgdboc=kbd -s rd.retry=9",
            "rd.retry=9",
        ),
        (["panic=10"], "rd.break systemd.debug_shell=1", "rd.break systemd.debug_shell=1"),
    ],
)
def test_words_of_a_root_that_go(words, have, kept):
    left, _gone = shell_defaults.without_words(have, guest.unwanted(words))
    assert left == kept
