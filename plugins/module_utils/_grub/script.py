# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Parse a grub.cfg, and find commands that leave the open volume or ask for a password. Pure.

A script is split as by GRUB's lexer (GRUB manual, "Shell-like scripting"), and no variable is expanded.
"""

from __future__ import annotations

import functools
import re
import typing as t

Words = t.List[str]

_TOKEN = re.compile(
    r"""[#][^\n]*
    |(?P<end>[\n;{}|&<>])
    |(?P<word>(?:'[^']*'|"(?:\\.|[^"\\])*"|\\.|\$\{\w*\}|[^\s'"\\{}|&;<>])+)""",
    re.VERBOSE | re.DOTALL,
)
_RESERVED = ("if", "elif", "then", "else", "while", "until", "do", "!")
# Commands that read another script, whose path is the last word.
READERS = (
    *(
        "source",
        ".",
        "configfile",
        "normal",
        "extract_entries_source",
        "extract_entries_configfile",
    ),
    *("legacy_source", "legacy_configfile", "syslinux_source", "syslinux_configfile"),
)
KERNEL = ("linux", "linuxefi", "linux16")
INITRD = ("initrd", "initrdefi", "initrd16")
_LOADERS = (*KERNEL, *INITRD, "devicetree", "acpi", "loopback", "insmod", "blscfg")
# Commands that start another system, without our kernel words. uki builds a menu of what is on the ESP.
_OTHER_SYSTEMS = (
    *("appleloader", "chainloader", "freedos", "kfreebsd", "knetbsd", "kopenbsd", "multiboot"),
    *("multiboot2", "ntldr", "plan9", "pxechainloader", "truecrypt", "uki", "xnu_kernel"),
    *("xnu_kernel64", "xen_hypervisor", "xen_linux", "xen_initrd", "xen_module", "xen_xsm"),
)
# Commands that leave GRUB with the volume's key in memory: for the next program that the firmware knows, which may be
# the host's, and for the rescue shell. fwsetup resets the machine, as any host can (docs/facts.md: leave-grub).
_LEAVERS = ("exit", "normal_exit")
# Variables that tell GRUB where to read, or that keep its editor and shell closed.
GUARDED = ("boot", "config_directory", "env_block", "prefix", "root", "superusers")
# How 00_header names the blocks of the volume that keep variables, and how it reads them (docs/facts.md: env-block).
_OWN_BLOCKS = re.compile(r"\(\$(?:root|\{root\})\)\$(?:env_block|\{env_block\})")
_READS_BLOCKS = re.compile(r"(?:-f|--file)[ =]\$(?:env_block|\{env_block\})(?![^ ])")
# Commands that read from the console or the firmware, and that set a variable from a disk or a text.
_ASKERS, _SETTERS = ("read", "smbios"), ("probe", "regexp")
_DIRECTORY = re.compile(r"\$(?:prefix|\{prefix\}|config_directory|\{config_directory\})(?=/)")
_DEVICE = re.compile(r"\(([^()]*)\)")
_QUOTES = frozenset("'\"\\")
_ASSIGNMENT = re.compile(r"\w+=")
# Options of menuentry with which GRUB still asks for a password.
_CLOSED = ("--class", "--hotkey", "--id", "--source", "--users")


def _statements(text: str) -> t.Iterator[t.Tuple[Words, str]]:
    """Yield the words of each command, with quotes, and the character that ends the command."""
    words: Words = []
    for match in _TOKEN.finditer(f"{text}\n"):
        if match["end"]:
            yield words, match["end"]
            words = []
        elif match["word"]:
            word = match["word"].replace("\\\n", "")
            # Skip reserved words before a command.
            if word and (words or word not in _RESERVED):
                words.append(word)


def without_isos(text: str) -> str:
    """Return a grub.cfg without the entries that start an ISO image by loopback, and that nobody can start.

    They boot another system than this root, and need no ``root=``. Without ``--unrestricted``, GRUB asks for the
    password of a user, and there is none.
    """
    blocks: t.List[t.Dict[str, t.Any]] = []
    words: Words = []
    begin = 0
    kept, position = "", 0
    for match in _TOKEN.finditer(f"{text}\n"):
        if match["word"]:
            begin = begin if words else match.start()
            words += [match["word"]] if words or match["word"] not in _RESERVED else []
        elif match["end"]:
            if match["end"] == "{":
                blocks.append({"begin": begin, "words": words, "is_iso": False})
            elif blocks:
                blocks[-1]["is_iso"] |= words[:1] == ["loopback"]
            if match["end"] == "}" and blocks:
                block = blocks.pop()
                if block["is_iso"] and _is_closed_entry(block["words"]):
                    kept += text[position : block["begin"]]
                    position = match.end()
            words = []
    return kept + text[position:]


def _is_closed_entry(words: Words) -> bool:
    """Say whether a block is an entry with a title and options that are known to leave it closed."""
    name, *rest = [word.replace("\\\n", "") for word in words] or [""]
    # GRUB takes options before the title as well, and a variable can hold any option.
    return name == "menuentry" and not any(
        "$" in word or (word.startswith("-") and word.partition("=")[0] not in _CLOSED)
        for word in map(plain, rest)
    )


@functools.lru_cache(maxsize=8)
def commands(text: str) -> t.Sequence[Words]:
    """Return the words of each command in a grub.cfg, without reserved words; the command's name has no quotes.

    The result is cached for the many checks that need it, so it must not be changed.
    """
    return [[plain(words[0]), *words[1:]] for words, _end in _statements(text) if words]


def assignment(words: Words) -> t.Optional[t.Tuple[str, str]]:
    """Return the variable that a command sets, and its value (with or without ``set``); None for another command."""
    parts = words[1:2] if words[0] == "set" else words
    name, equals, value = plain(parts[0]).partition("=") if parts else ("", "", "")
    return (name, value) if equals else None


def assigned(text: str, name: str) -> t.List[str]:
    """Return the values that a grub.cfg assigns to a variable, in order."""
    pairs = map(assignment, commands(text))
    return [pair[1] for pair in pairs if pair and pair[0] == name]


def is_memory_test(words: Words) -> bool:
    """Say whether a command starts a memory test (memtest86+x64.efi), which has no shell and reads no disk."""
    return any(plain(it).rpartition("/")[2].startswith("memtest") for it in words[1:2])


def loads(text: str, names: t.Container[str]) -> t.List[Words]:
    """Return what each of these commands loads, and the words behind it, without quotes; no memory test is among them.

    *names* are KERNEL or INITRD.
    """
    return [
        [plain(word) for word in words[1:]]
        for words in commands(text)
        if words[0] in names and words[1:] and not is_memory_test(words)
    ]


def plain(word: str) -> str:
    """Return a word without quotes."""
    if not _QUOTES.intersection(word):
        return word
    return re.sub(r"""'([^']*)'|["\\]""", lambda match: match[1] or "", word)


def _is_elsewhere(word: str, volume: str) -> bool:
    device = _DEVICE.match(plain(word))
    return bool(device) and device[1] not in (volume, "$root", "${root}")  # type: ignore[index]


def target(words: Words, *, volume: str, directory: str) -> t.Optional[str]:
    """Return the file of the open *volume* that a command reads as a script; None if there is none, or on another disk.

    *directory* is GRUB's own. ``root`` is taken to be the volume; other checks report a change of it.
    """
    files = [plain(word) for word in words[1:] if not word.startswith("-")]
    if words[0] not in READERS or not files or _is_elsewhere(files[-1], volume):
        return None
    path = _DEVICE.sub("", _DIRECTORY.sub(directory, files[-1]), count=1)
    return path if path.startswith("/") and "$" not in path else None


def scripts(text: str, *, volume: str, directory: str) -> t.List[str]:
    """Return the files of the open *volume* that a grub.cfg reads, if they exist."""
    paths = (target(words, volume=volume, directory=directory) for words in commands(text))
    return sorted({path for path in paths if path})


def foreign(text: str, *, volume: str) -> t.List[str]:
    """Return commands that read or start something outside the open *volume*, start another system, or leave GRUB."""
    outside = []
    for words in commands(text):
        # Distributions start their memory test with some of these commands.
        is_other = words[0] in _OTHER_SYSTEMS and not is_memory_test(words)
        is_other |= words[0] in _LEAVERS
        known = words[0] in (*READERS, *_LOADERS, *_OTHER_SYSTEMS)
        is_lost = (
            words[0] in READERS and words[1:] and not target(words, volume=volume, directory="/")
        )
        if is_other or is_lost or (known and any(_is_elsewhere(it, volume) for it in words[1:])):
            outside.append(" ".join(words))
    return outside


def _set_by(words: Words) -> t.List[str]:
    """Return the variables that a command sets by -s NAME, --set NAME or --set=NAME; NAME can be NUMBER:NAME."""
    names = []
    for word, following in zip(map(plain, words[1:]), [*map(plain, words[2:]), ""]):
        if word in ("-s", "--set"):
            names.append(following)
        elif word.startswith(("-s", "--set=")):
            names.append(word.partition("=")[2] or word[2:])
    return [name.rpartition(":")[2] for name in names]


def _is_guarded(name: str) -> bool:
    return name in GUARDED or "$" in name


def _is_unclear(words: Words, volume: str) -> bool:
    name, rest = plain(words[0]), [plain(word) for word in words[1:]]
    # An assignment from another variable starts nothing.
    if ("$" in words[0] and not _ASSIGNMENT.match(words[0])) or name in _ASKERS:
        return True
    if name in _SETTERS:
        return any(map(_is_guarded, _set_by(words)))
    variable, value = assignment(words) or ("", "")
    if variable == "env_block":
        return not _OWN_BLOCKS.fullmatch(value)
    if name == "load_env":
        rest = _READS_BLOCKS.sub("", " ".join(rest), count=1).split()
        named = [part for word in rest for part in (word, word.partition("=")[2])]
        plainly = (_DIRECTORY.sub("", it) for it in named)
        return any(map(_is_guarded, plainly)) or any(_is_elsewhere(it, volume) for it in named)
    if name == "cryptomount":
        own = volume.rpartition("/")[2]
        return rest[:1] != ["-u"] or [word.replace("-", "") for word in rest[1:]] != [own]
    return False


def unclear(text: str, *, volume: str) -> t.List[str]:
    """Return commands that let a variable, the console, the firmware or another disk decide what GRUB does."""
    unclear_words = [
        words for words, _end in _statements(text) if words and _is_unclear(words, volume)
    ]
    return [" ".join(words) for words in unclear_words]


def restricted(text: str) -> t.List[str]:
    """Return the titles of entries that boot a kernel and for which GRUB would ask a password.

    These are all without ``--unrestricted``, which GRUB's own scripts put into a variable. An entry without a
    kernel is a notice or a memory test, which no boot depends on.
    """
    found: t.List[str] = []
    blocks: t.List[Words] = []
    for words, end in _statements(text):
        if words and words[0] in KERNEL and not is_memory_test(words):
            found += [
                plain(block[1])
                for block in blocks
                if block[:1] in (["menuentry"], ["submenu"]) and len(block) > 1
                if not {"--unrestricted", "$menuentry_id_option", "${menuentry_id_option}"}
                & {*block}
            ]
        if end == "{":
            blocks.append(words)
        elif end == "}":
            blocks = blocks[:-1]
    return list(dict.fromkeys(found))


__all__ = (
    "GUARDED",
    "INITRD",
    "KERNEL",
    "READERS",
    "assigned",
    "assignment",
    "commands",
    "foreign",
    "is_memory_test",
    "loads",
    "plain",
    "restricted",
    "scripts",
    "target",
    "unclear",
    "without_isos",
)
