# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The commands of a grub.cfg, and which of them lead out of the open volume or ask for a password. Pure.

A script is read as GRUB's lexer reads it (GRUB manual, "Shell-like scripting"), and no variable is expanded.
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
# What reads another script, and what loads a file to start; the last word of the former is the file.
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
# What starts something else than Linux, with no word of ours. uki makes a menu of what is on the ESP.
_OTHER_SYSTEMS = (
    *("appleloader", "chainloader", "freedos", "kfreebsd", "knetbsd", "kopenbsd", "multiboot"),
    *("multiboot2", "ntldr", "plan9", "pxechainloader", "truecrypt", "uki", "xnu_kernel"),
    *("xnu_kernel64", "xen_hypervisor", "xen_linux", "xen_initrd", "xen_module", "xen_xsm"),
)
# Variables by which GRUB finds what it reads, and keeps its editor and shell closed.
GUARDED = ("boot", "config_directory", "prefix", "root", "superusers")
# What asks the console or the firmware, and what looks at a disk or a text and sets a variable.
_ASKERS, _SETTERS = ("read", "smbios"), ("probe", "regexp")
_DIRECTORY = re.compile(r"\$(?:prefix|\{prefix\}|config_directory|\{config_directory\})(?=/)")
_DEVICE = re.compile(r"\(([^()]*)\)")
_QUOTES = frozenset("'\"\\")
_ASSIGNMENT = re.compile(r"\w+=")


def _statements(text: str) -> t.Iterator[t.Tuple[Words, str]]:
    """Give the words of each command, quotes and all, and what ends it."""
    words: Words = []
    for match in _TOKEN.finditer(f"{text}\n"):
        if match["end"]:
            yield words, match["end"]
            words = []
        elif match["word"]:
            word = match["word"].replace("\\\n", "")
            # What the language puts before a command.
            if word and (words or word not in _RESERVED):
                words.append(word)


@functools.lru_cache(maxsize=8)
def commands(text: str) -> t.Sequence[Words]:
    """Return the words of each command in a grub.cfg, without what the language puts before it, and its plain name.

    What is returned is not to be changed: each of many judgements asks for it anew.
    """
    return [[plain(words[0]), *words[1:]] for words, _end in _statements(text) if words]


def assignment(words: Words) -> t.Optional[t.Tuple[str, str]]:
    """Return the variable that a command sets, and its value; ``set`` need not be said. None for another command."""
    said = words[1:2] if words[0] == "set" else words
    name, equals, value = plain(said[0]).partition("=") if said else ("", "", "")
    return (name, value) if equals else None


def assigned(text: str, name: str) -> t.List[str]:
    """Return the values that a grub.cfg gives a variable, in their order."""
    pairs = map(assignment, commands(text))
    return [pair[1] for pair in pairs if pair and pair[0] == name]


def is_memory_test(words: Words) -> bool:
    """Say whether a command starts a memory test (memtest86+x64.efi): it has no shell, and reads no disk."""
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
    """Return a word without its quotes."""
    if not _QUOTES.intersection(word):
        return word
    return re.sub(r"""'([^']*)'|["\\]""", lambda match: match[1] or "", word)


def _is_elsewhere(word: str, volume: str) -> bool:
    device = _DEVICE.match(plain(word))
    return bool(device) and device[1] not in (volume, "$root", "${root}")  # type: ignore[index]


def target(words: Words, *, volume: str, directory: str) -> t.Optional[str]:
    """Return the file of the open *volume* that a command reads as a script; None for none, or for another disk.

    *directory* is GRUB's own. The volume is ``root`` all the time: what sets another one is found elsewhere.
    """
    files = [plain(word) for word in words[1:] if not word.startswith("-")]
    if words[0] not in READERS or not files or _is_elsewhere(files[-1], volume):
        return None
    path = _DEVICE.sub("", _DIRECTORY.sub(directory, files[-1]), count=1)
    return path if path.startswith("/") and "$" not in path else None


def scripts(text: str, *, volume: str, directory: str) -> t.List[str]:
    """Return the files of the open *volume* that a grub.cfg reads, if they are there."""
    found = (target(words, volume=volume, directory=directory) for words in commands(text))
    return sorted({path for path in found if path})


def foreign(text: str, *, volume: str) -> t.List[str]:
    """Return the commands that read or start what is not of the open *volume*, or another system than its Linux."""
    found = []
    for words in commands(text):
        # Distributions start their memory test by some of these.
        is_other = words[0] in _OTHER_SYSTEMS and not is_memory_test(words)
        known = words[0] in (*READERS, *_LOADERS, *_OTHER_SYSTEMS)
        is_lost = (
            words[0] in READERS and words[1:] and not target(words, volume=volume, directory="/")
        )
        if is_other or is_lost or (known and any(_is_elsewhere(it, volume) for it in words[1:])):
            found.append(" ".join(words))
    return found


def _set_by(words: Words) -> t.List[str]:
    """Return the variables that a command sets by -s NAME, --set NAME or --set=NAME; a number may be before a name."""
    found = []
    for word, following in zip(map(plain, words[1:]), [*map(plain, words[2:]), ""]):
        if word in ("-s", "--set"):
            found.append(following)
        elif word.startswith(("-s", "--set=")):
            found.append(word.partition("=")[2] or word[2:])
    return [name.rpartition(":")[2] for name in found]


def _is_guarded(name: str) -> bool:
    return name in GUARDED or "$" in name


def _is_unclear(words: Words, volume: str) -> bool:
    name, rest = plain(words[0]), [plain(word) for word in words[1:]]
    # What gives a variable another's value starts nothing.
    if ("$" in words[0] and not _ASSIGNMENT.match(words[0])) or name in _ASKERS:
        return True
    if name in _SETTERS:
        return any(map(_is_guarded, _set_by(words)))
    if name == "load_env":
        named = [part for word in rest for part in (word, word.partition("=")[2])]
        plainly = (_DIRECTORY.sub("", it) for it in named)
        return any(map(_is_guarded, plainly)) or any(_is_elsewhere(it, volume) for it in named)
    if name == "cryptomount":
        own = volume.rpartition("/")[2]
        return rest[:1] != ["-u"] or [word.replace("-", "") for word in rest[1:]] != [own]
    return False


def unclear(text: str, *, volume: str) -> t.List[str]:
    """Return the commands by which a variable, the console, the firmware or another disk says what GRUB does."""
    found = [words for words, _end in _statements(text) if words and _is_unclear(words, volume)]
    return [" ".join(words) for words in found]


def restricted(text: str) -> t.List[str]:
    """Return the titles of entries that boot a kernel and that GRUB would ask a password for.

    That is all but those that say ``--unrestricted``, which is in the variable that GRUB's own scripts put there. An
    entry without a kernel is a notice or a memory test: nobody waits for it.
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
)
