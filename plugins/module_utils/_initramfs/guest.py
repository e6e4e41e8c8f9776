# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the kernel of a guest is told: where its root is, what to ignore of its host, how a failure ends. Pure.

docs/threat_model.md has the attack that each word stops.
"""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError

# What the host would have a say in. Each stands for every generator: systemd reads it in the initramfs and in the root.
HOST_WORDS = (
    # Swap, /home, /srv and others by the type of a partition (systemd-gpt-auto-generator(8)).
    "systemd.gpt_auto=0",
    # Units, accounts and keys from SMBIOS, fw_cfg and the ESP (systemd.system-credentials(7)).
    "systemd.import_credentials=no",
    # The firmware's variables: SystemdOptions is a command line to systemd before 254, HibernateLocation names a
    # device to resume from since 255 (systemd-hibernate-resume-generator(8)).
    "efi=noruntime",
    # An image of memory on a swap device of the host would take the place of the system.
    "noresume",
    "nohibernate",
)
# How a failure ends: in a restart, never in a shell (kernel-parameters.txt: panic, sysctl.*).
CONSOLE_WORDS = ("panic=5", "sysctl.kernel.sysrq=0")
# Of initramfs-tools, panic= is all (initramfs-tools(7)).
GENERATOR_CONSOLE_WORDS: t.Mapping[str, t.Tuple[str, ...]] = {
    "initramfs_tools": (),
    # dracut.cmdline(7)
    "dracut": ("rd.shell=0", "rd.emergency=reboot"),
    # Its emergency.service is replaced in the initramfs (_etc/emergency.py).
    "mkinitcpio": (),
}
# What an owner may say otherwise, in a later word. dracut would wait for its root for ever (dracut.cmdline(7)), and a
# confidential machine can start slowly.
DEFAULT_WORDS: t.Mapping[str, t.Tuple[str, ...]] = {"dracut": ("rd.timeout=600",)}
# How words begin that give whoever is at the console a shell, or SysRq.
SHELLS = (
    *("rd.shell", "rd.break", "break", "sysrq_always_enabled"),
    *("systemd.debug_shell", "systemd.debug-shell"),
    *("rd.systemd.debug_shell", "rd.systemd.debug-shell"),
    # Another first program or target, a debugger, a question.
    *(
        "init=",
        "rdinit=",
        "systemd.unit=",
        "rd.systemd.unit=",
        "systemd.wants=",
        "rd.systemd.wants=",
    ),
    *("systemd.run", "systemd.setenv=SYSTEMD_SULOGIN_FORCE", "systemd.set_credential"),
    *("systemd.crash_shell", "systemd.confirm_spawn", "rdshell", "rdbreak", "rd.cmdline", "kgdb"),
)
# These as a whole, and only these.
SHELL_WORDS = ("single", "S", "s", "1", "emergency", "rescue", "-b")
# How words begin that take a disk, or a file, of the host.
HOST_DISKS = (
    *(
        "systemd.mount-extra",
        "systemd.swap-extra",
        "rd.systemd.mount-extra",
        "rd.systemd.swap-extra",
    ),
    *(
        "mount.usr",
        "luks.",
        "rd.luks.name",
        "rd.luks.data",
        "cryptopts",
        "cryptdevice",
    ),
    *("ROOT=", "resume=", "rd.live", "netroot", "boot=", "overlayroot", "ds=", "initrd=", "root="),
)
_ALL = (
    *HOST_WORDS,
    *CONSOLE_WORDS,
    *(it for its in GENERATOR_CONSOLE_WORDS.values() for it in its),
)
# What ours decide. Of a word that is given twice, the last one counts.
KEYS = frozenset(word.partition("=")[0] for word in _ALL if "=" in word) - {"rd.shell"}


def volume(luks_uuid: str) -> str:
    """Return the name by which systemd finds key and volume of a LUKS UUID (systemd-cryptsetup-generator(8))."""
    return f"luks-{luks_uuid}"


def mapping(generator: str, luks_uuid: str) -> str:
    """Return the name that the open root has in the running machine."""
    return "cr_root" if generator == "initramfs_tools" else volume(luks_uuid)


def device(generator: str, luks_uuid: str) -> str:
    """Return the device that the root is on: a name that only the guest can give, unlike UUID and label."""
    return f"/dev/mapper/{mapping(generator, luks_uuid)}"


def words(generator: str, *, luks_uuid: str, debug_console: bool = False) -> t.List[str]:
    """Return the words of the kernel command line beside ``root=``; *debug_console* leaves the shells open."""
    if generator not in GENERATOR_CONSOLE_WORDS:
        known = ", ".join(sorted(GENERATOR_CONSOLE_WORDS))
        raise SealedRootError(
            f"'{generator}' builds no initramfs that is known: use one of {known}"
        )
    # The generators of systemd open this disk alone by it, whatever else crypttab has.
    found = [] if generator == "initramfs_tools" else [f"rd.luks.uuid={volume(luks_uuid)}"]
    found += HOST_WORDS
    return found if debug_console else [*found, *CONSOLE_WORDS, *GENERATOR_CONSOLE_WORDS[generator]]


def is_closed(given: t.Collection[str]) -> bool:
    """Say whether a command line is one of :func:`words` without *debug_console*."""
    return set(CONSOLE_WORDS) <= set(given)


def plain(word: str) -> str:
    """Return a kernel word as it is read: without quotes, and with a dot where sysctl takes a slash as well."""
    bare = word.replace('"', "")
    return bare.replace("/", ".") if bare.startswith("sysctl") else bare


def name_of(word: str) -> str:
    """Return the name of a kernel word, - for _ as the kernel and systemd read it (proc_cmdline_key_streq)."""
    return plain(word).partition("=")[0].replace("-", "_")


def opens(word: str) -> bool:
    """Say whether a kernel word gives whoever is at the console a shell."""
    return plain(word) in SHELL_WORDS or plain(word).startswith(SHELLS)


def contrary(cmdline: str, *, debug_console: bool = False) -> t.List[str]:
    """Return the words of an owner's command line that undo what :func:`words` says."""
    own = HOST_WORDS if debug_console else _ALL
    names = {name_of(word): word for word in own if "=" in word}
    return [
        word
        for word in cmdline.split()
        if names.get(name_of(word), word) != word
        or plain(word).startswith(HOST_DISKS)
        or (not debug_console and opens(word) and word not in _ALL)
    ]


__all__ = (
    "CONSOLE_WORDS",
    "DEFAULT_WORDS",
    "GENERATOR_CONSOLE_WORDS",
    "HOST_DISKS",
    "HOST_WORDS",
    "KEYS",
    "SHELLS",
    "contrary",
    "device",
    "is_closed",
    "mapping",
    "name_of",
    "opens",
    "volume",
    "words",
)
