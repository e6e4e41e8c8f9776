# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the kernel of a guest is told, by what builds its initramfs."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest
from ansible_collections.sealedroot.image.plugins.module_utils._root import needs
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
HOST = [
    *("systemd.gpt_auto=0", "systemd.import_credentials=no", "efi=noruntime"),
    *("noresume", "nohibernate"),
]
CONSOLE = ["panic=5", "sysctl.kernel.sysrq=0"]
DISK = f"rd.luks.uuid=luks-{UUID}"


@pytest.mark.parametrize(
    ("generator", "own", "console", "name"),
    [
        ("initramfs_tools", [], [], "cr_root"),
        ("dracut", [DISK], ["rd.shell=0", "rd.emergency=reboot"], f"luks-{UUID}"),
        ("mkinitcpio", [DISK], [], f"luks-{UUID}"),
    ],
)
def test_each_generator(generator: str, own: list[str], console: list[str], name: str) -> None:
    words = guest.words(generator, luks_uuid=UUID)
    assert words == [*own, *HOST, *CONSOLE, *console]
    assert guest.mapping(generator, UUID) == name
    assert guest.device(generator, UUID) == f"/dev/mapper/{name}"


@pytest.mark.parametrize("generator", guest.GENERATOR_CONSOLE_WORDS)
def test_an_open_console_changes_nothing_that_the_host_would_have_a_say_in(generator: str) -> None:
    closed = guest.words(generator, luks_uuid=UUID)
    opened = guest.words(generator, luks_uuid=UUID, debug_console=True)
    assert set(HOST) <= set(opened) < set(closed)
    shells = {"panic", "sysctl.kernel.sysrq", "rd.shell", "rd.emergency"}
    assert not shells & {word.partition("=")[0] for word in opened}


@pytest.mark.parametrize("generator", guest.GENERATOR_CONSOLE_WORDS)
def test_no_word_is_said_twice(generator: str) -> None:
    """Of a word that is given twice, the last one counts."""
    names = [word.partition("=")[0] for word in guest.words(generator, luks_uuid=UUID)]
    assert len(names) == len(set(names))


def test_every_generator_that_a_root_may_have_is_known() -> None:
    assert set(guest.GENERATOR_CONSOLE_WORDS) == set(needs.INITRAMFS_NEEDS)


def test_another_generator_is_refused() -> None:
    with pytest.raises(
        SealedRootError, match="'booster' builds no initramfs that is known: use one"
    ):
        guest.words("booster", luks_uuid=UUID)


def test_where_systemd_looks_for_the_key() -> None:
    assert guest.volume(UUID) == f"luks-{UUID}"


@pytest.mark.parametrize(
    ("cmdline", "closed", "opened"),
    [
        ("console=tty0 console=ttyS0,115200 quiet splash", [], []),
        # What is said anyway does no harm.
        (" ".join([*HOST, *CONSOLE, "rd.shell=0", "rd.emergency=reboot"]), [], []),
        # The host's say.
        ("systemd.gpt_auto=1 quiet", ["systemd.gpt_auto=1"], ["systemd.gpt_auto=1"]),
        ("systemd.gpt_auto", ["systemd.gpt_auto"], ["systemd.gpt_auto"]),
        ("systemd.gpt-auto=1", ["systemd.gpt-auto=1"], ["systemd.gpt-auto=1"]),
        ("efi=runtime", ["efi=runtime"], ["efi=runtime"]),
        ("root=UUID=1", ["root=UUID=1"], ["root=UUID=1"]),
        # The console's.
        ("panic=0", ["panic=0"], []),
        ("sysctl.kernel.sysrq=1", ["sysctl.kernel.sysrq=1"], []),
        ("rd.emergency=halt", ["rd.emergency=halt"], []),
        ("rd.shell rd.shell=1", ["rd.shell", "rd.shell=1"], []),
        ("rd.break break=top", ["rd.break", "break=top"], []),
        ("systemd.debug_shell=1", ["systemd.debug_shell=1"], []),
        ("rd.systemd.debug-shell", ["rd.systemd.debug-shell"], []),
        ("sysrq_always_enabled", ["sysrq_always_enabled"], []),
        ("", [], []),
    ],
)
def test_words_that_undo_ours(cmdline: str, closed: list[str], opened: list[str]) -> None:
    assert guest.contrary(cmdline) == closed
    assert guest.contrary(cmdline, debug_console=True) == opened


@pytest.mark.parametrize("generator", guest.GENERATOR_CONSOLE_WORDS)
def test_our_own_words_undo_none_of_ours(generator: str) -> None:
    words = guest.words(generator, luks_uuid=UUID)
    # An owner does not know the UUID of a build.
    assert guest.contrary(" ".join(words)) == [word for word in words if word == DISK]
    assert not [word for word in words if guest.undoes(word, words)]
    assert guest.is_closed(words)
    assert not guest.is_closed(guest.words(generator, luks_uuid=UUID, debug_console=True))


@pytest.mark.parametrize(
    "word",
    [
        *(
            "init=/bin/sh",
            "rdinit=/bin/sh",
            "systemd.unit=rescue.target",
            "single",
            "S",
            "1",
            "emergency",
        ),
        *(
            "systemd.wants=debug-shell.service",
            "systemd.run=/bin/sh",
            "rd.systemd.unit=emergency.target",
        ),
        *("systemd.setenv=SYSTEMD_SULOGIN_FORCE=1", "rdbreak", "kgdboc=ttyS0", '"panic=0"'),
        *("sysctl.kernel/sysrq=1", "sysctl/kernel/sysrq=1", '"systemd.gpt_auto=1"', '"rd.shell=1"'),
        *(
            "systemd.mount-extra=LABEL=H:/home",
            "mount.usr=LABEL=H",
            "rd.luks.name=1=x",
            "cryptopts=x",
        ),
        *("ROOT=LABEL=x", "resume=/dev/vdb", "boot=nfs", "ds=nocloud;s=http://h/", "root=LABEL=x"),
    ],
)
def test_words_that_a_host_or_its_console_would_like(word: str) -> None:
    assert guest.contrary(f"quiet {word} console=ttyS0") == [word]


# Every spelling of a name, with - or _ and behind rd. or not, and whatever the value.
OPENING = (
    *("rd.shell", "rd.shell=1", "rdshell", "rd.break", "rd.break=mount", "break", "break=top"),
    *("rdbreak", "rd.cmdline=ask", "init=/bin/sh", "rdinit=/bin/sh", "-s", "-b", "single"),
    *("rd.emergency", "rd.rescue", "rescue", "rd.systemd.unit=rescue.target"),
    *("systemd.debug-shell", "rd.systemd.debug_shell=ttyS0", "systemd.crash-shell=1"),
    *("systemd.crash_shell", "rd.systemd.crash-shell", "systemd.confirm-spawn=1"),
    *("systemd.set-credential=a:b", "systemd.set_credential_binary=a:b"),
    *("rd.systemd.set-credential-binary=a:b", "systemd.run-success-action=none"),
    *("systemd.setenv=SYSTEMD_SULOGIN_FORCE=1", "rd.systemd.setenv=SYSTEMD_SULOGIN_FORCE=1"),
    *("sysrq-always-enabled", "sysrq_always_enabled", "sysrq-always-enabled=1"),
    *("kgdboc=ttyS0", "ekgdboc=kbd", "kgdbwait", "kgdboc-earlycon", "kgdbcon"),
)
TAKING = (
    *(
        "rd.luks=0",
        "luks=no",
        "rd.luks.crypttab=0",
        "luks.crypttab=no",
        "rd.luks.options=header=/x",
    ),
    *("luks.options=1=discard", "rd.luks.uuid=luks-1", "luks.uuid=1", "rd.luks.name=1=x"),
    *("rd.luks.key=/k:LABEL=x", "rd.luks.partuuid=1", "rd.auto", "rd.auto=1", "rd.hostonly=0"),
    *(
        "nfsroot=10.0.2.2:/x",
        "netroot=iscsi:x",
        "root=LABEL=x",
        "ROOT=LABEL=x",
        "mount.usr=LABEL=H",
    ),
    *("mount.usrfstype=ext4", "rd.live.image", "boot=nfs", "overlayroot=device:dev=/dev/vdb"),
    *("resume=/dev/vdb", "resume-offset=1", "initrd=\\x", "ds=nocloud"),
    *("systemd.mount_extra=LABEL=H:/home", "systemd.swap-extra=/dev/vdb"),
    *("rd.systemd.mount-extra=LABEL=H:/home", "rd.systemd.swap_extra=/dev/vdb"),
    *("cryptopts=target=x", "cryptdevice=UUID=1:x", "cryptkey=/dev/vdb:ext4:/k"),
    *(
        "rootflags=logdev=/dev/vdb",
        "rootflags=ro,device=/dev/vdb",
        "rd.overlay=LABEL=x",
        "rd.overlay",
    ),
    *("systemd.pull=raw:x:http://h/", "rd.systemd.pull=x", "initrdmem=0x1,0x2", "efivar_ssdt=x"),
    *("dm-mod.create=x,,0,rw", "dm_mod.create=x", "dm=1", "roothash=00", "usrhash=00"),
    *(
        "systemd.verity=1",
        "systemd.verity_root_data=/dev/vdb",
        "rd.systemd.verity-usr-hash=/dev/vdb",
    ),
    *("systemd.gpt_auto", "systemd.gpt-auto=1", "rd.systemd.gpt_auto=1", "rd.systemd.gpt-auto"),
    *("systemd.import-credentials=yes", "rd.systemd.import_credentials=1", "efi=runtime", "--"),
)


@pytest.mark.parametrize("word", [*OPENING, *TAKING])
def test_a_word_in_every_spelling(word: str) -> None:
    assert guest.contrary(f"quiet {word} console=ttyS0") == [word]
    assert guest.contrary(word, debug_console=True) == ([word] if word in TAKING else [])


@pytest.mark.parametrize(
    "word",
    [
        *('dyndbg="file', "x=\\'", "'systemd.debug_shell'", "systemd.debug''_shell", "bre\\ak=top"),
        *(
            "\\'rd.luks.crypttab\\'=0",
            "$a",
            "${a}",
            "a;b",
            "a|b",
            "a&b",
            "{",
            "}",
            "a>b",
            "#a",
            "`a`",
        ),
    ],
)
def test_what_is_read_otherwise_than_it_is_written(word: str) -> None:
    """The kernel, systemd or GRUB would take our words for a part of it, or it for something else."""
    assert guest.contrary(f"quiet {word} a=b") == [word]
    assert guest.contrary(f"quiet {word} a=b", debug_console=True) == [word]
    is_variable = word in ("$a", "${a}")
    assert guest.undoes(word, guest.words("dracut", luks_uuid=UUID)) is not is_variable


@pytest.mark.parametrize(
    "word",
    [
        *("quiet", "console=ttyS0", "console=tty0", "net.ifnames=0", "norandmaps", "ro", "rw"),
        *("earlyprintk=ttyS0", "cgroup_enable=memory", "crashkernel=auto", "mitigations=auto"),
        *("systemd.default_device_timeout_sec=900", "systemd.unified_cgroup_hierarchy=1"),
        *("systemd.log_level=debug", "rd.systemd.show_status=1", "rd.retry=60", "rd.timeout=0"),
        *("rd.driver.blacklist=x", "rd.driver.pre=x", "rd.udev.log_level=3", "rd.debug"),
        *("rootflags=subvol=x", "rootfstype=ext4", "rootdelay=5", "rootwait", "security=selinux"),
        *("selinux=1", "enforcing=1", "apparmor=0", "nomodeset", "ipv6.disable=1", "boot_delay=1"),
        *("initcall_debug", "panic_on_oops=1", "sysctl.vm.swappiness=1", "rhgb", "autofs=1"),
    ],
)
def test_words_that_are_an_owners(word: str) -> None:
    words = guest.words("dracut", luks_uuid=UUID)
    assert guest.contrary(word) == []
    assert not guest.undoes(word, words)


def test_what_counts_beside_a_whole_command_line() -> None:
    words = ["console=ttyS0", "init=/mine", *guest.words("dracut", luks_uuid=UUID)]
    # Its own, in whatever spelling, and what it has no opinion about.
    for word in ("init=/mine", "rd.systemd.gpt-auto=0", "console=tty0", DISK):
        assert not guest.undoes(word, words)
    for word in ("init=/other", "rd.luks.uuid=luks-2", "rd.emergency=halt", "panic=0"):
        assert guest.undoes(word, words)
    opened = guest.words("dracut", luks_uuid=UUID, debug_console=True)
    assert not guest.undoes("panic=0", opened)
    assert guest.undoes("rd.luks.options=discard", opened)
