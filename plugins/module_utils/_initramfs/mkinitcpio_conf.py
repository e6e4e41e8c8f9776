# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""mkinitcpio.conf(5): the bash arrays that select the content of an initramfs. Pure."""

from __future__ import annotations

import re
import shlex
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

CONF = "/etc/mkinitcpio.conf"
DROP_INS = "/etc/mkinitcpio.conf.d"
# The hook sd-encrypt uses this file as the initramfs's crypttab (mkinitcpio -H sd-encrypt).
CRYPTTAB = "/etc/crypttab.initramfs"
NOTHING: t.Mapping[str, t.Sequence[str]] = {"HOOKS": (), "FILES": ()}
_ARRAY = re.compile(
    r"^[ \t]*(HOOKS|FILES)(\+?=)(\((.*?)\)|[\"'](.*?)[\"'])", re.MULTILINE | re.DOTALL
)


def arrays(text: str, have: t.Mapping[str, t.Sequence[str]]) -> t.Dict[str, t.List[str]]:
    """Return HOOKS and FILES after bash has read *text*, starting from *have*."""
    values = {name: list(words) for name, words in have.items()}
    for name, operator, _value, array, string in _ARRAY.findall(text):
        try:
            words = shlex.split(array, comments=True) if array else string.split()
        except ValueError:
            raise SealedRootError(
                f"{name} in a configuration of mkinitcpio has a quote that does not end: correct it"
            ) from None
        values[name] = [*values[name], *words] if operator == "+=" else words
    return values


def assign(text: str, name: str, words: t.Sequence[str]) -> str:
    """Return a configuration with the array *name* set, in its place, or at the end if several lines set it."""
    if arrays(text, NOTHING)[name] == list(words):
        return text
    line = f"{name}=({' '.join(shlex.quote(word) for word in words)})"
    places = [match for match in _ARRAY.finditer(text) if match.group(1) == name]
    if len(places) == 1 and places[0].group(2) == "=":
        return text[: places[0].start()] + line + text[places[0].end() :]
    end = "" if text.endswith("\n") or not text else "\n"
    return f"{text}{end}{line}\n"


# Hooks that systemd's replace: the busybox init opens the root with the header on the disk, and starts a shell if it
# fails (mkinitcpio(8), hooks encrypt and base). '' removes a hook: it inspects the builder, or is for hibernation.
_REPLACED = {
    "udev": "systemd",
    "keymap": "sd-vconsole",
    "consolefont": "sd-vconsole",
    **dict.fromkeys(("autodetect", "encrypt", "sd-encrypt", "resume", "usr"), ""),
}


def hooks(words: t.Sequence[str]) -> t.List[str]:
    """Return hooks that unlock the root after its disk is found and before its file system is mounted."""
    kept = [*dict.fromkeys(new for word in words for new in [_REPLACED.get(word, word)] if new)]
    # base provides the sh that the check of the kernel words needs (_initramfs/kernel_words.py).
    kept = ["base", *(word for word in kept if word != "base")]
    if "systemd" not in kept:
        kept.insert(1, "systemd")
    if "filesystems" not in kept:
        kept.append("filesystems")
    place = kept.index("filesystems")
    before = kept[:place]
    if "block" not in before:
        before.append("block")
    return [*before, "sd-encrypt", *(word for word in kept[place:] if word != "block")]


def wanted(
    have: t.Mapping[str, t.Sequence[str]], files: t.Sequence[str]
) -> t.Dict[str, t.List[str]]:
    """Return HOOKS and FILES as they must be, with *files* added."""
    added = [name for name in files if name not in have["FILES"]]
    return {"HOOKS": hooks(have["HOOKS"]), "FILES": [*have["FILES"], *added]}


__all__ = ("CONF", "CRYPTTAB", "DROP_INS", "NOTHING", "arrays", "assign", "hooks", "wanted")
