# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Boot loader entries (Boot Loader Specification, BLS) and GRUB's environment block. Pure.

If grub.cfg has the command ``blscfg``, GRUB builds its menu from the files in /boot/loader/entries (Fedora since 30,
RHEL and relatives since 8; GRUB: grub-core/commands/blscfg.c there, blsuki.c in 2.14). A ``$name`` in an entry is a
variable of GRUB, which the environment block or grub.cfg sets.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import shell_defaults
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

DIRECTORY = "/boot/loader/entries"
# Entries of an image have this instead of its machine ID, which is not known before the first boot. Red Hat's
# kernel-install knows this token, and removes such an entry with its kernel (20-grub.install, BLS_FAKE_TARGET).
TOKEN = "f" * 32
ENV_BYTES = 1024  # GRUB: include/grub/lib/envblk.h
_ENV_HEAD = "# GRUB Environment Block\n"
_NAME = re.compile(r"[0-9a-f]{32}-(.+)\.conf")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def used(config: str) -> bool:
    """Say whether a grub.cfg builds its menu from boot loader entries."""
    return bool(re.search(r"^[ \t]*blscfg\b", config, re.MULTILINE))


def fallback(config: str) -> t.Optional[str]:
    """Return the kernel words of grub.cfg for entries that have none (RHEL 8); None if there are none."""
    values = re.findall(r'^[ \t]*set kernelopts="([^"]*)"', config, re.MULTILINE)
    return values[-1] if values else None


def parse_env(data: bytes) -> t.Dict[str, str]:
    """Return the variables of an environment block; none if the block is empty."""
    text = data.decode("utf-8", "surrogateescape")
    pairs = re.findall(r"^([A-Za-z_]\w*)=((?:\\\n|[^\n])*)$", text, re.MULTILINE)
    return {name: re.sub(r"\\(.|\n)", r"\1", value) for name, value in pairs}


def format_env(variables: t.Mapping[str, str]) -> bytes:
    """Return an environment block as grub-editenv(1) writes it; GRUB overwrites it in place."""
    text = _ENV_HEAD
    for name, value in variables.items():
        escaped = re.sub(r"([\\\n])", r"\\\1", value)
        text += f"{name}={escaped}\n"
    data = text.encode("utf-8", "surrogateescape")
    if len(data) > ENV_BYTES:
        raise SealedRootError(
            f"GRUB's environment block has room for {ENV_BYTES} bytes, and {len(data)} are needed: shorten the"
            " kernel command line"
        )
    return data.ljust(ENV_BYTES, b"#")


def forget_blocks(tree: Tree, path: str) -> None:
    """Plan to forget the blocks of the old machine's file system that kept variables (docs/facts.md: env-block)."""
    have = parse_env(tree.read(path) or b"")
    if have.pop("env_block", None) is not None:
        tree.write(path, format_env(have), mode=0o600, secret=True, replace=True)


def get(entry: str, key: str) -> str:
    """Return the value of *key*, or an empty string; several lines are joined, as GRUB accepts several initrd."""
    values = re.findall(rf"^{key}[ \t]+(.*)$", entry, re.MULTILINE)
    return " ".join(value.strip(" \t") for value in values)


def put(entry: str, key: str, value: str) -> str:
    """Return the entry with *key* set to *value* on one line, in place of its first line or else at the end."""
    if get(entry, key) == value:
        return entry
    lines = entry.splitlines()
    places = [i for i, line in enumerate(lines) if re.match(rf"{key}(?:[ \t]|$)", line)]
    kept = [line for i, line in enumerate(lines) if i not in places]
    kept.insert(places[0] if places else len(kept), f"{key} {value}")
    return "\n".join(kept) + "\n"


def expand(text: str, variables: t.Mapping[str, str]) -> str:
    """Expand variables in *text* as GRUB does: an unset variable is empty."""
    return _VARIABLE.sub(lambda match: variables.get(match.group(1) or match.group(2), ""), text)


def rendered(config: str, entries: t.Mapping[str, str], env: t.Mapping[str, str]) -> str:
    """Return a grub.cfg followed by the commands that GRUB derives from the entries, so that all can be checked alike.

    A grub.cfg that does not use entries is returned unchanged.
    """
    if not used(config):
        return config
    variables = {**env}
    words = fallback(config)
    if words is not None:
        variables.setdefault("kernelopts", words)
    menu = ""
    for _name, entry in sorted(entries.items()):
        kernel = expand(get(entry, "linux"), variables)
        if not kernel:  # GRUB skips such an entry
            continue
        options = expand(get(entry, "options"), variables)
        menu += f"linux {kernel} {' '.join(options.split())}\n"
        images = expand(get(entry, "initrd"), variables).split()
        menu += f"initrd {' '.join(images)}\n" if images else ""
    return f"{config}\n{menu}"


def own_name(name: str) -> str:
    """Return the name of an entry in an image: TOKEN replaces the machine ID."""
    match = _NAME.fullmatch(name)
    return f"{TOKEN}-{match.group(1)}.conf" if match else name


def is_rescue(name: str) -> bool:
    """Say whether an entry is for the rescue kernel, which dracut makes once per machine (51-dracut-rescue.install)."""
    match = _NAME.fullmatch(name)
    return bool(match and re.fullmatch(r"0-rescue(?:-.*)?", match.group(1)))


def words_for(
    have: str, *, root_device: str, wanted: str, unwanted: t.Callable[[str], bool]
) -> str:
    """Return the kernel command line *have* with *root_device* and all words of *wanted*.

    Words that are *unwanted* are removed, unless *wanted* has them.
    """
    kept, _dropped = shell_defaults.without_words(have, unwanted, wanted.split())
    own = [f"root={root_device}", "ro", *(it for it in kept.split() if it not in ("ro", "rw"))]
    return shell_defaults.merge_words(" ".join(own), wanted)


def options_for(
    have: str, *, root_device: str, wanted: str, unwanted: t.Callable[[str], bool]
) -> str:
    """Return the options of an entry; one that uses ``$kernelopts`` keeps doing so (RHEL 8)."""
    words = have.split()
    if "$kernelopts" in words:
        kept, _dropped = shell_defaults.without_words(have, unwanted)
        return kept
    return words_for(have, root_device=root_device, wanted=wanted, unwanted=unwanted)


__all__ = (
    "DIRECTORY",
    "ENV_BYTES",
    "TOKEN",
    "expand",
    "fallback",
    "forget_blocks",
    "format_env",
    "get",
    "is_rescue",
    "options_for",
    "own_name",
    "parse_env",
    "put",
    "rendered",
    "used",
    "words_for",
)
