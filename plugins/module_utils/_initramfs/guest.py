# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The kernel command line of a guest: where its root is, what to ignore of its host, how failures end. Pure.

docs/threat_model.md lists the attack that each word stops.
"""

from __future__ import annotations

import fnmatch
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# Words that take influence from the host. For every generator, because systemd reads them in the root as well.
HOST_WORDS = (
    # Mounts swap, /home, /srv and others by partition type (systemd-gpt-auto-generator(8)).
    "systemd.gpt_auto=0",
    # Reads units, accounts and keys from SMBIOS, fw_cfg and the ESP (systemd.system-credentials(7)).
    "systemd.import_credentials=no",
    # Variables of the firmware: systemd before 254 takes SystemdOptions as a command line; since 255 HibernateLocation
    # names a device to resume from (systemd-hibernate-resume-generator(8)).
    "efi=noruntime",
    # A hibernation image on a swap device of the host would replace the running system.
    "noresume",
    "nohibernate",
)
# A failure must end in a restart, never in a shell (kernel-parameters.txt: panic, sysctl.*).
CONSOLE_WORDS = ("panic=5", "sysctl.kernel.sysrq=0")
# initramfs-tools needs only panic= (initramfs-tools(7)).
GENERATOR_CONSOLE_WORDS: t.Mapping[str, t.Tuple[str, ...]] = {
    "initramfs_tools": (),
    # dracut.cmdline(7)
    "dracut": ("rd.shell=0", "rd.emergency=reboot"),
    # emergency.service is replaced in its initramfs (_etc/emergency.py).
    "mkinitcpio": (),
}
# The owner can override these with a later word. Without it dracut waits for the root forever (dracut.cmdline(7)), and
# a confidential machine can start slowly.
DEFAULT_WORDS: t.Mapping[str, t.Tuple[str, ...]] = {"dracut": ("rd.timeout=600",)}
# Names of words that give a shell, a debugger or SysRq to anyone at the console. * matches any ending; an entry with a
# value matches only that value. Readers take - and _ as equal, and a name after rd. as the same name.
SHELLS = (
    *("rd.shell", "rdshell", "break", "rdbreak", "rd.cmdline", "sysrq_always_enabled*"),
    # Another init, target or unit.
    *("init", "rdinit", "systemd.unit", "systemd.wants", "systemd.run*", "systemd.debug_shell"),
    *("systemd.setenv=SYSTEMD_SULOGIN_FORCE*", "systemd.set_credential*"),
    *("systemd.crash_shell", "systemd.confirm_spawn"),
    # A debugger.
    *("kgdb*", "ekgdboc"),
)
# Words that match only as a whole.
SHELL_WORDS = ("single", "S", "s", "1", "emergency", "rescue", "-b", "-s")
# Names of words that use a disk, or a file, of the host.
HOST_DISKS = (
    # The kernel ignores all words after it.
    "--",
    # The last root= counts; initramfs-tools accepts variables in this form.
    *("root", "ROOT", "mount.usr*", "boot", "nfsroot", "netroot", "rd.live*", "overlayroot"),
    *("resume", "resume_offset", "initrd", "ds"),
    *("systemd.mount_extra", "systemd.swap_extra"),
    # Another mapping than the root's, or the root's without its pinned header: rd.hostonly=0 makes dracut use crypttab.
    *("luks*", "cryptopts", "cryptdevice", "cryptkey", "rd.auto", "rd.hostonly"),
    *("dm", "dm_mod.create", "roothash", "usrhash", "systemd.verity*"),
    *(f"rootflags=*{option}=*" for option in ("logdev", "rtdev", "device", "journal_path")),
    # An overlay, an image, another initramfs, and an ACPI table.
    *("rd.overlay*", "systemd.pull*", "initrdmem", "efivar_ssdt"),
)
# Names of words about disks of the machine that a root comes from, besides HOST_DISKS. grub-mkconfig writes root=
# itself, and cryptopts= would replace the initramfs's own crypttab (docs/facts.md: initramfs-option).
OLD_DISKS = ("rootflags", "rootfstype", "rd.lvm*", "rd.md*", "rd.dm*", "rd.multipath*")
# With it, all clones are the same machine.
MACHINE_ID = "systemd.machine_id"
# Names of words that are of one machine (docs/facts.md: words-of-one-machine). They go; an owner may set others.
ONE_MACHINE = (
    *(MACHINE_ID, "systemd.hostname", "iscsi*"),
    *("ip=*.*.*.*", "ip=[[]*", "ifname", "BOOTIF"),
)
# Quotes: systemd accepts ' and " on the command line, the kernel only ". An unclosed quote hides all later words
# from its reader.
QUOTES = "'\"\\"
# Quotes and the special characters of GRUB's language.
_SPECIAL = re.compile(rf"[{re.escape(QUOTES)}$`;{{}}|&<>]|^#")
# A variable of the root's own GRUB; the words in its value are checked separately.
_VARIABLE = re.compile(r"\$(?:\w+|\{\w+\})")
_ALL = (
    *HOST_WORDS,
    *CONSOLE_WORDS,
    *(it for its in GENERATOR_CONSOLE_WORDS.values() for it in its),
)


def volume(luks_uuid: str) -> str:
    """Return the name that systemd uses for key and volume of a LUKS UUID (systemd-cryptsetup-generator(8))."""
    return f"luks-{luks_uuid}"


def mapping(generator: str, luks_uuid: str) -> str:
    """Return the mapping name of the open root in the running machine."""
    return "cr_root" if generator == "initramfs_tools" else volume(luks_uuid)


def device(generator: str, luks_uuid: str) -> str:
    """Return the root's device. Only the guest can create this name, in contrast to a UUID or label."""
    return f"/dev/mapper/{mapping(generator, luks_uuid)}"


def check_generator(name: str) -> str:
    """Refuse a generator that is not known."""
    if name not in GENERATOR_CONSOLE_WORDS:
        known = ", ".join(sorted(GENERATOR_CONSOLE_WORDS))
        raise SealedRootError(f"'{name}' builds no initramfs that is known: use one of {known}")
    return name


def words(generator: str, *, luks_uuid: str, debug_console: bool = False) -> t.List[str]:
    """Return the kernel words besides ``root=``; *debug_console* leaves the shells open."""
    check_generator(generator)
    # It makes systemd's generators open only this disk, whatever else crypttab has.
    line = [] if generator == "initramfs_tools" else [f"rd.luks.uuid={volume(luks_uuid)}"]
    line += HOST_WORDS
    return line if debug_console else [*line, *CONSOLE_WORDS, *GENERATOR_CONSOLE_WORDS[generator]]


def is_closed(given: t.Collection[str]) -> bool:
    """Say whether a command line has the :func:`words` that close the shells."""
    return set(CONSOLE_WORDS) <= set(given)


def plain(word: str) -> str:
    """Return a kernel word as its readers see it: without quotes, and for sysctl with dots for slashes."""
    bare = word.replace('"', "")
    return bare.replace("/", ".") if bare.startswith("sysctl") else bare


def _spelt(word: str) -> str:
    """Return a word with _ for each - in its name, as the kernel and systemd compare it (proc_cmdline_key_streq)."""
    name, equals, value = plain(word).partition("=")
    return f"{name.replace('-', '_')}{equals}{value}"


def as_read(word: str) -> str:
    """Return the canonical spelling of a word: an initramfs takes it with the prefix rd. as well."""
    spelt = _spelt(word)
    return spelt[len("rd.") :] if spelt.startswith("rd.") else spelt


def name_of(word: str) -> str:
    """Return the name of a kernel word."""
    return as_read(word).partition("=")[0]


def is_named(word: str, names: t.Iterable[str]) -> bool:
    """Say whether a word matches one of *names*, which have the form of :data:`SHELLS`."""
    spellings = (_spelt(word).partition("=")[0], name_of(word), as_read(word))
    patterns = [name.replace("-", "_") for name in names]
    return any(fnmatch.fnmatchcase(it, pattern) for it in spellings for pattern in patterns)


def opens(word: str) -> bool:
    """Say whether a kernel word gives a shell to anyone at the console."""
    return as_read(word) in map(as_read, SHELL_WORDS) or is_named(word, SHELLS)


def takes(word: str) -> bool:
    """Say whether a kernel word uses something of the host; ``rd.luks.uuid`` does, for any disk but the image's."""
    return is_named(word, HOST_DISKS)


def rivals(word: str, given: t.Iterable[str]) -> t.List[str]:
    """Return the given words that set the name of *word* to something else."""
    return [it for it in given if name_of(it) == name_of(word) and as_read(it) != as_read(word)]


def is_special(word: str) -> bool:
    """Say whether GRUB, the kernel or systemd may read a word differently from how it is written.

    A variable of GRUB does not count, because a root has some.
    """
    return bool(_SPECIAL.search(_VARIABLE.sub("", word)))


def undoes(word: str, own: t.Sequence[str]) -> bool:
    """Say whether a word undoes what the words *own* set for the guest; *own* can include the owner's words."""
    if is_special(word):
        return True
    if as_read(word) in map(as_read, own):
        return False
    # If a word is given twice, the last one counts.
    decided = {name_of(it) for it in own if "=" in it} & {name_of(it) for it in _ALL if "=" in it}
    return name_of(word) in decided or takes(word) or (is_closed(own) and opens(word))


def unwanted(words: t.Sequence[str] = _ALL) -> t.Callable[[str], bool]:
    """Return a function that says whether to remove a word that a root has, to which *words* are added.

    Words about old disks and of the old machine are removed, and words that would undo what *words* set for the guest.
    """
    names = (*OLD_DISKS, *ONE_MACHINE)
    return lambda word: is_named(word, names) or undoes(word, words)


def contrary(cmdline: str, *, debug_console: bool = False) -> t.List[str]:
    """Return the words of an owner's command line that undo what :func:`words` sets."""
    own = HOST_WORDS if debug_console else _ALL
    # The owner cannot know the variables of a root that is not built yet.
    return [word for word in cmdline.split() if "$" in word or undoes(word, own)]


__all__ = (
    "CONSOLE_WORDS",
    "DEFAULT_WORDS",
    "GENERATOR_CONSOLE_WORDS",
    "HOST_DISKS",
    "HOST_WORDS",
    "MACHINE_ID",
    "OLD_DISKS",
    "ONE_MACHINE",
    "QUOTES",
    "SHELLS",
    "as_read",
    "check_generator",
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
    "unwanted",
    "volume",
    "words",
)
