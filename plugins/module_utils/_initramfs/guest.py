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

import fnmatch
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

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
# Names of words that give whoever is at the console a shell, a debugger or SysRq: * stands for any end, and what has a
# value here counts with that alone. With - for _, and behind rd., a name is the same one to who reads it.
SHELLS = (
    *("rd.shell", "rdshell", "break", "rdbreak", "rd.cmdline", "sysrq_always_enabled*"),
    # Another first program, target or unit.
    *("init", "rdinit", "systemd.unit", "systemd.wants", "systemd.run*", "systemd.debug_shell"),
    *("systemd.setenv=SYSTEMD_SULOGIN_FORCE*", "systemd.set_credential*"),
    *("systemd.crash_shell", "systemd.confirm_spawn"),
    # A debugger.
    *("kgdb*", "ekgdboc"),
)
# These as a whole, and only these.
SHELL_WORDS = ("single", "S", "s", "1", "emergency", "rescue", "-b", "-s")
# Names of words that take a disk, or a file, of the host.
HOST_DISKS = (
    # The kernel takes none of the words behind it for its own.
    "--",
    # Of two root= the last one counts; initramfs-tools takes variables as they are.
    *("root", "ROOT", "mount.usr*", "boot", "nfsroot", "netroot", "rd.live*", "overlayroot"),
    *("resume", "resume_offset", "initrd", "ds"),
    *("systemd.mount_extra", "systemd.swap_extra"),
    # Another mapping than the root's, or the root's without its pinned header: rd.hostonly=0 takes dracut's crypttab.
    *("luks*", "cryptopts", "cryptdevice", "cryptkey", "rd.auto", "rd.hostonly"),
    *("dm", "dm_mod.create", "roothash", "usrhash", "systemd.verity*"),
    *(f"rootflags=*{option}=*" for option in ("logdev", "rtdev", "device", "journal_path")),
    # An overlay, an image, another initramfs and an ACPI table.
    *("rd.overlay*", "systemd.pull*", "initrdmem", "efivar_ssdt"),
)
# What quotes: systemd takes ' and " in the command line, the kernel ". A single one hides all words behind it from who
# takes it.
QUOTES = "'\"\\"
# Beside that, what is GRUB's own language.
_SPECIAL = re.compile(rf"[{re.escape(QUOTES)}$`;{{}}|&<>]|^#")
# A variable of a root's own GRUB, whose words are judged where they are.
_VARIABLE = re.compile(r"\$(?:\w+|\{\w+\})")
_ALL = (
    *HOST_WORDS,
    *CONSOLE_WORDS,
    *(it for its in GENERATOR_CONSOLE_WORDS.values() for it in its),
)


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


def _spelt(word: str) -> str:
    """Return a word with _ for each - in its name, as the kernel and systemd read it (proc_cmdline_key_streq)."""
    name, equals, value = plain(word).partition("=")
    return f"{name.replace('-', '_')}{equals}{value}"


def as_read(word: str) -> str:
    """Return a word in the one spelling that all others of it stand for: an initramfs takes it behind rd. as well."""
    spelt = _spelt(word)
    return spelt[len("rd.") :] if spelt.startswith("rd.") else spelt


def name_of(word: str) -> str:
    """Return the name of a kernel word."""
    return as_read(word).partition("=")[0]


def is_named(word: str, names: t.Iterable[str]) -> bool:
    """Say whether a word has one of *names*, which are as in :data:`SHELLS`."""
    spellings = (_spelt(word).partition("=")[0], name_of(word), as_read(word))
    patterns = [name.replace("-", "_") for name in names]
    return any(fnmatch.fnmatchcase(it, pattern) for it in spellings for pattern in patterns)


def opens(word: str) -> bool:
    """Say whether a kernel word gives whoever is at the console a shell."""
    return as_read(word) in map(as_read, SHELL_WORDS) or is_named(word, SHELLS)


def takes(word: str) -> bool:
    """Say whether a kernel word takes what the host has; ``rd.luks.uuid`` is one, for any disk but the image's."""
    return is_named(word, HOST_DISKS)


def rivals(word: str, given: t.Iterable[str]) -> t.List[str]:
    """Return the words that say something else in the place of one of ours."""
    return [it for it in given if name_of(it) == name_of(word) and as_read(it) != as_read(word)]


def is_special(word: str) -> bool:
    """Say whether GRUB, the kernel and systemd may read a word otherwise than it is written.

    A variable of GRUB is none: a root has some.
    """
    return bool(_SPECIAL.search(_VARIABLE.sub("", word)))


def undoes(word: str, own: t.Sequence[str]) -> bool:
    """Say whether a word undoes what those of a command line say for the guest; *own* may have an owner's as well."""
    if is_special(word):
        return True
    if as_read(word) in map(as_read, own):
        return False
    # Of a word that is given twice, the last one counts.
    decided = {name_of(it) for it in own if "=" in it} & {name_of(it) for it in _ALL if "=" in it}
    return name_of(word) in decided or takes(word) or (is_closed(own) and opens(word))


def contrary(cmdline: str, *, debug_console: bool = False) -> t.List[str]:
    """Return the words of an owner's command line that undo what :func:`words` says."""
    own = HOST_WORDS if debug_console else _ALL
    # An owner knows no variable of a root that is not made yet.
    return [word for word in cmdline.split() if "$" in word or undoes(word, own)]


__all__ = (
    "CONSOLE_WORDS",
    "DEFAULT_WORDS",
    "GENERATOR_CONSOLE_WORDS",
    "HOST_DISKS",
    "HOST_WORDS",
    "QUOTES",
    "SHELLS",
    "as_read",
    "contrary",
    "device",
    "is_closed",
    "is_named",
    "is_special",
    "mapping",
    "name_of",
    "opens",
    "rivals",
    "takes",
    "undoes",
    "volume",
    "words",
)
