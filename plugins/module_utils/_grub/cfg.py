# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""GRUB's names, early configuration and grub.cfg: pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    boot_entries,
    own_volume,
    script as grub_script,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import boot_files
from ansible_collections.sealedroot.image.plugins.module_utils._system import filesystems
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# Modules of every core image; those for the root's file system and the header's hash are added. GRUB can load nothing
# before the volume is open, so the core image must have all that opening takes (docs/facts.md: core-image).
LUKS_MODULES = {"luks1": "luks", "luks2": "luks2"}
REQUIRED = (
    *("part_gpt", "cryptodisk", "pbkdf2", "gcry_rijndael", "normal", "configfile", "linux"),
    # Commands of the script that opens the volume.
    *("echo", "halt", "reboot", "sleep"),
)
# These read that script in a core image that the build makes.
MEMDISK = ("memdisk", "tar")
# A module of GRUB 2.12 and later, which start Linux as an EFI program. In earlier versions, loading a kernel twice
# with an initramfs in between reset the machine (2.06 of Debian 12 with LUKS2).
ASKS = "efitextmode"
WANTED = (
    *("all_video", "boot", "cat", "efi_gop", "fat", "gzio", "loadenv", "ls", "minicmd"),
    *("search", "search_fs_uuid", "terminal", "test"),
    # For the script: the first tells whether it has to ask, the second finds the kernels to ask with.
    *(ASKS, "regexp"),
    # The menu of Fedora and relatives; the second name is that of GRUB 2.14.
    *("blscfg", "blsuki"),
)
# Where distributions keep the modules of each platform; the second is SUSE's.
LIBRARIES = ("/usr/lib/grub", "/usr/share/grub2")
# Where it has its menu and what it loads; the second is Fedora's and SUSE's.
DIRECTORIES = ("/boot/grub", "/boot/grub2")
# More modules that a signed GRUB must contain, because under Secure Boot it can load none (docs/facts.md: signed-grub).
# The stub is read from the ESP and uses "[".
SIGNED = ("fat", "search", "test")
# No user has a password, so nobody gets GRUB's editor or shell; entries are --unrestricted (GRUB manual, "Security").
CLOSED = ('set superusers=""', "export superusers")
REFUSED = ('echo "No key opens the disk. Restarting."', "sleep 3", "reboot")
# grub-mkconfig puts this variable into every entry that it makes.
UNRESTRICTED = 'menuentry_id_option="--unrestricted --id"'
# The script of grub-mkconfig that prints both: after 00_header and the themes, before the entries.
MENU_SCRIPT = "/etc/grub.d/06_sealedroot"
MENU_SCRIPT_TEXT = f"""\
#!/bin/sh
# Nobody at the console gets GRUB's editor or shell: no user has a password. Entries that grub-mkconfig makes start all
# the same; one of your own needs --unrestricted.
cat <<'EOF'
{CLOSED[0]}
{CLOSED[1]}
{UNRESTRICTED}
export menuentry_id_option
EOF
"""


def needed(*, luks_type: str, hash_name: str, filesystem: str) -> t.List[str]:
    """Return the modules that GRUB needs to read its own disk."""
    if filesystem not in filesystems.FILESYSTEMS:
        known = ", ".join(filesystems.FILESYSTEMS)
        raise SealedRootError(f"GRUB's module for {filesystem} is not known; use one of {known}")
    return [
        *REQUIRED,
        LUKS_MODULES[luks_type],
        f"gcry_{hash_name}",
        filesystems.find(filesystem).grub_module,
    ]


def modules(
    available: t.Container[str],
    *,
    luks_type: str,
    hash_name: str,
    filesystem: str,
    more: t.Sequence[str] = (),
    left_out: t.Sequence[str] = (),
) -> t.List[str]:
    """Return the modules of the core image, with *more* that it needs; raise an error if a needed one is missing."""
    names = [
        *needed(luks_type=luks_type, hash_name=hash_name, filesystem=filesystem),
        *more,
    ]
    missing = [name for name in (*names, *MEMDISK) if name not in available]
    if missing:
        raise SealedRootError(
            f"the image's GRUB has no {', '.join(missing)}: install a grub-efi package that has, or"
            " choose another LUKS type, hash or file system"
        )
    wanted = (name for name in WANTED if name in available and name not in (*more, *left_out))
    return list(dict.fromkeys([*names, *MEMDISK, *wanted]))


def unlock_script(
    *,
    luks_uuid: str,
    directory: str,
    debug_console: bool = False,
    ask: bool = False,
    own: bool = False,
) -> str:
    """Return the script that asks for the key, opens the volume and reads its grub.cfg; it needs GRUB's ``normal``.

    The script is made from the UUID, not by probing, because a build's devices are not the machine's. The UUID has no
    dashes, because GRUB up to 2.06 compares it that way (docs/facts.md: uuid-without-dashes). Every failure ends in a
    restart or a halt, because GRUB's shell could read the open volume; with *debug_console* it ends in that shell.

    Where GRUB starts Linux as an EFI program (2.12 and later), the firmware can offer an initramfs of the host, and the
    kernel would use it. In a menu entry GRUB only prints an error and boots anyway, so the script must *ask* before.
    With *own*, the volume must be this image's own.
    """
    menu = menu_lines(
        luks_uuid=luks_uuid, directory=directory, debug_console=debug_console, ask=ask
    )
    if own:
        menu = own_volume.checked(menu, prefix=prefix(luks_uuid, directory))
    asking = ask_lines(luks_uuid=luks_uuid, menu=menu)
    # Before the volume is open, so that no key pressed meanwhile leads to a shell.
    lines = asking if debug_console else [*CLOSED, *asking, *REFUSED]
    return "".join(f"{line}\n" for line in lines)


def ask_lines(*, luks_uuid: str, menu: t.Sequence[str]) -> t.List[str]:
    """Return lines that ask for the key, and go on to the *menu*."""
    return [
        # GRUB before 2.14 asks once only.
        "for try in 1 2 3; do",
        f"  if cryptomount -u {luks_uuid.replace('-', '')}; then",
        *(f"    {line}" for line in menu),
        "  fi",
        "done",
    ]


def menu_lines(
    *, luks_uuid: str, directory: str, debug_console: bool = False, ask: bool = False
) -> t.List[str]:
    """Return lines that go on to the menu of the open volume."""
    opened = [
        f"set root={volume(luks_uuid)}",
        f"set prefix={prefix(luks_uuid, directory)}",
    ]
    menu = ["configfile $prefix/grub.cfg"]
    if debug_console:
        return [*opened, *menu, "break"]
    if ask:
        menu = _asked(menu, kernels=prefix(luks_uuid, directory.rpartition("/")[0]))
    # A restart asks for the key again; a damaged configuration would stay damaged.
    return [*opened, *menu, 'echo "GRUB has no menu to go on with."', "sleep 3", "halt"]


def _asked(menu: t.Sequence[str], *, kernels: str) -> t.List[str]:
    """Return lines that go to the *menu* only if GRUB can give a kernel in the directory *kernels* an initramfs.

    GRUB caches what it reads, so no file is read twice. The kernel file stands in for the initramfs, and is never used.
    """
    start = "linux $kernel panic=5"
    return [
        f"for kernel in {' '.join(f'{kernels}/{it}' for it in boot_files.KERNEL_GLOBS)}; do",
        f"  if {start}; then",
        "    if initrd $kernel; then",
        # Load the kernel again. Otherwise GRUB 2.12 gives the next kernel no initramfs: when it unloads one, it forgets
        # that the kernel can ask for an initramfs (loader/efi/linux.c, grub_linux_unload).
        f"      {start}",
        *(f"      {line}" for line in menu),
        '    else echo "The firmware has an initramfs of its own."',
        "    fi",
        "    break",
        "  fi",
        "done",
    ]


def stub(*, luks_uuid: str, directory: str, debug_console: bool = False) -> str:
    """Return the grub.cfg that a signed GRUB reads from the ESP; like every file there, it is not secret.

    It reports Secure Boot, which a quiet kernel does not report. GRUB is locked down exactly if Secure Boot is on
    (GRUB: kern/lockdown.c, kern/efi/init.c).
    """
    # Do not ask: a locked-down GRUB passes the initramfs in another way, which cannot be tested like this.
    script = unlock_script(luks_uuid=luks_uuid, directory=directory, debug_console=debug_console)
    return f'if [ "$lockdown" = y ]; then echo "Secure Boot is enabled."; fi\n{script}'


def volume(luks_uuid: str) -> str:
    """Return GRUB's device name of the open volume."""
    return f"cryptouuid/{luks_uuid.replace('-', '')}"


def prefix(luks_uuid: str, directory: str) -> str:
    """Return GRUB's path of its own directory."""
    return f"({volume(luks_uuid)}){directory}"


_BUILDER = re.compile(
    r"/dev/(?:loop|nbd|dm-|fuse)\w*|/dev/mapper/sealedroot\S*|/var/tmp/\S*|/disk\.raw\b"
)
_SEARCH = re.compile(r"^([ \t]*)search\b.*?--set(?:=(\w+))?\b.*$", re.MULTILINE)


def unsearched(text: str, *, luks_uuid: str) -> str:
    """Replace every search in a grub.cfg by the name of the open volume.

    A disk of the host can have the UUID that is searched for, and GRUB finds that disk if the host has overwritten the
    genuine file system. With GRUB_DISABLE_UUID=true, grub-mkconfig of GRUB 2.04 and later does not write searches. This
    is for older ones, and for a build, in which no device-mapper tells where the root is.
    """
    return _SEARCH.sub(
        lambda match: f"{match[1]}set {match[2] or 'root'}={volume(luks_uuid)}", text
    )


def _leads_away(words: t.List[str], own: str) -> bool:
    if words[0] == "search":
        return any(word == "-s" or word.startswith(("--set", "$")) for word in words)
    name, value = grub_script.assignment(words) or ("", "")
    return words[0].startswith("search.") or (
        name in ("root", "boot", "prefix", "config_directory") and value != own
    )


def strays(text: str, *, luks_uuid: str) -> t.List[str]:
    """Return the commands of a grub.cfg that lead, or can lead, to another disk than the open volume."""
    own = volume(luks_uuid)
    return [" ".join(words) for words in grub_script.commands(text) if _leads_away(words, own)]


def foreign(text: str, *, luks_uuid: str) -> t.List[str]:
    """Report commands of a grub.cfg that read or start what we have no words for, or what the host can replace."""
    return [
        f"'{line}' starts another system, or what is not in the volume: take that entry out"
        for line in grub_script.foreign(text, volume=volume(luks_uuid))
    ] + [
        f"'{line}' runs what is not in the text: take it out, or write out what it stands for"
        for line in grub_script.unclear(text, volume=volume(luks_uuid))
    ]


def _open_again(text: str) -> t.List[str]:
    commands = grub_script.commands(text)
    problems = [
        f"it says '{words[0]}', which sets a password or runs what is not in the text"
        for words in commands
        if words[0] in ("password", "password_pbkdf2", "authenticate", "eval")
    ]
    for words in commands:
        if words[0] == "unset" and "superusers" in map(grub_script.plain, words):
            problems.append("it says 'unset superusers': GRUB's editor and shell are open")
    if any(grub_script.assigned(text, "superusers")):
        problems.append("it gives superusers a name: that user could have GRUB's editor and shell")
    return problems


def _restricted(text: str) -> t.List[str]:
    return [
        f"the entry '{title}' would ask for a password: put --unrestricted behind its name"
        for title in grub_script.restricted(text)
    ]


def open_doors(text: str) -> t.List[str]:
    """Report what in a grub.cfg opens GRUB's editor or shell to anyone at the console, or asks for a password."""
    commands = grub_script.commands(text)
    lines = [" ".join(words) for words in commands]
    problems = [
        f"it does not say '{line}': GRUB's editor and shell are open"
        for line in CLOSED
        if line not in lines
    ]
    problems += _open_again(text)
    name, _equals, option = UNRESTRICTED.partition("=")
    if grub_script.assigned(text, name)[-1:] != [option.strip('"')] and any(
        words[0] == "menuentry" for words in commands
    ):
        problems.append(f"it does not say '{UNRESTRICTED}': its entries would ask for a password")
    return problems + _restricted(text)


def doors_of_part(text: str) -> t.List[str]:
    """Report the same for a script that grub.cfg reads and that shares its variables."""
    return [*_open_again(text), *_restricted(text)]


def check_config(
    text: str,
    *,
    root_device: str,
    luks_uuid: str,
    words: t.Sequence[str],
    debug_console: bool = False,
) -> t.List[str]:
    """Report problems of a grub.cfg: it must boot only this root, and must not refer to the builder."""
    problems = [f"'{line}' can find another disk" for line in strays(text, luks_uuid=luks_uuid)]
    problems += foreign(text, luks_uuid=luks_uuid)
    if not debug_console:
        problems += open_doors(text)
    return problems + check_menu(text, root_device=root_device, words=words)


def check_menu(text: str, *, root_device: str, words: t.Sequence[str]) -> t.List[str]:
    """Report problems of the kernels that a menu boots.

    If the menu is made from boot loader entries, grub.cfg has only the words for entries without their own; the module
    boot_entries, which writes the entries, checks them.
    """
    problems = []
    kernels = grub_script.loads(text, grub_script.KERNEL)
    if boot_entries.used(text):
        fallback = boot_entries.fallback(text)
        kernels += [["kernelopts", *fallback.split()]] if fallback is not None else []
    elif not kernels:
        problems.append("it boots no kernel")
    for kernel, *given in kernels:
        problems += other_roots(kernel, given, root_device=root_device)
        lost = [word for word in words if word not in given]
        if lost:
            problems.append(f"{kernel} does not get {' '.join(lost)}")
    problems += traces(text)
    return sorted(set(problems))


def other_roots(kernel: str, given: t.Iterable[str], *, root_device: str) -> t.List[str]:
    """Say which root a kernel gets by the words that it is *given*, where that is not this one alone."""
    # The last one counts, so another one beside ours would be the one.
    roots = sorted({word for word in given if word.startswith("root=")})
    if roots == [f"root={root_device}"]:
        return []
    return [f"{kernel} gets {' and '.join(roots) or 'no root='}, not root={root_device}"]


def traces(text: str, names: t.Iterable[str] = ()) -> t.List[str]:
    """Say which devices and paths of a builder *text* has, and which of its *names*."""
    found = {match.group(0) for match in _BUILDER.finditer(text)}
    found |= {name for name in names if name and name in text}
    return [f"it names {item} of the builder" for item in sorted(found)]


__all__ = (
    "ASKS",
    "CLOSED",
    "DIRECTORIES",
    "LIBRARIES",
    "LUKS_MODULES",
    "MENU_SCRIPT",
    "MENU_SCRIPT_TEXT",
    "REFUSED",
    "ask_lines",
    "check_config",
    "check_menu",
    "doors_of_part",
    "foreign",
    "menu_lines",
    "modules",
    "needed",
    "open_doors",
    "other_roots",
    "prefix",
    "strays",
    "stub",
    "traces",
    "unlock_script",
    "unsearched",
    "volume",
)
