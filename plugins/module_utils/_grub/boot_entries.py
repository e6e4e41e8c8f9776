# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Boot loader entries (the Boot Loader Specification, BLS) and GRUB's environment block. Pure.

GRUB makes its menu of the files in /boot/loader/entries where grub.cfg says ``blscfg`` (Fedora and its relatives
since 30 and 8; GRUB: grub-core/commands/blscfg.c there, blsuki.c in 2.14). What an entry calls ``$name`` is a
variable of GRUB, which the environment block or grub.cfg sets.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import shell_defaults
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

DIRECTORY = "/boot/loader/entries"
# What entries of an image are named by, since its machine ID is not known before the first boot. Red Hat's
# kernel-install knows the name, and removes such an entry with its kernel (20-grub.install, BLS_FAKE_TARGET).
TOKEN = "f" * 32
ENV_BYTES = 1024  # GRUB: include/grub/lib/envblk.h
_ENV_HEAD = "# GRUB Environment Block\n"
_NAME = re.compile(r"[0-9a-f]{32}-(.+)\.conf")
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


def used(config: str) -> bool:
    """Say whether a grub.cfg makes its menu of boot loader entries."""
    return bool(re.search(r"^[ \t]*blscfg\b", config, re.MULTILINE))


def fallback(config: str) -> t.Optional[str]:
    """Return the kernel's words that grub.cfg has for entries without their own (RHEL 8); None for none."""
    found = re.findall(r'^[ \t]*set kernelopts="([^"]*)"', config, re.MULTILINE)
    return found[-1] if found else None


def parse_env(data: bytes) -> t.Dict[str, str]:
    """Return the variables of an environment block; that of nothing is empty."""
    text = data.decode("utf-8", "surrogateescape")
    found = re.findall(r"^([A-Za-z_]\w*)=((?:\\\n|[^\n])*)$", text, re.MULTILINE)
    return {name: re.sub(r"\\(.|\n)", r"\1", value) for name, value in found}


def format_env(variables: t.Mapping[str, str]) -> bytes:
    """Return an environment block as grub-editenv(1) writes it, for GRUB to overwrite where it lies."""
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


def get(entry: str, key: str) -> str:
    """Return the value of *key*, or an empty string; of several lines all, as GRUB takes several initrd."""
    found = re.findall(rf"^{key}[ \t]+(.*)$", entry, re.MULTILINE)
    return " ".join(value.strip(" \t") for value in found)


def put(entry: str, key: str, value: str) -> str:
    """Return the entry with *key* set to *value* in one line, where it was first or else at the end."""
    if get(entry, key) == value:
        return entry
    lines = entry.splitlines()
    places = [i for i, line in enumerate(lines) if re.match(rf"{key}(?:[ \t]|$)", line)]
    kept = [line for i, line in enumerate(lines) if i not in places]
    kept.insert(places[0] if places else len(kept), f"{key} {value}")
    return "\n".join(kept) + "\n"


def expand(text: str, variables: t.Mapping[str, str]) -> str:
    """Return *text* as GRUB expands it; a variable that is not set is nothing."""
    return _VARIABLE.sub(lambda match: variables.get(match.group(1) or match.group(2), ""), text)


def rendered(config: str, entries: t.Mapping[str, str], env: t.Mapping[str, str]) -> str:
    """Return a grub.cfg with what GRUB makes of the entries written out, so that it can be judged as any other.

    One that does not use entries is returned as it is.
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
        if not kernel:  # which GRUB leaves out
            continue
        options = expand(get(entry, "options"), variables)
        menu += f"linux {kernel} {' '.join(options.split())}\n"
        images = expand(get(entry, "initrd"), variables).split()
        menu += f"initrd {' '.join(images)}\n" if images else ""
    return f"{config}\n{menu}"


def own_name(name: str) -> str:
    """Return what an entry is called in an image: the machine ID of another machine gives way."""
    match = _NAME.fullmatch(name)
    return f"{TOKEN}-{match.group(1)}.conf" if match else name


def is_rescue(name: str) -> bool:
    """Say whether an entry is of a rescue kernel, which dracut makes once for a machine (51-dracut-rescue.install)."""
    match = _NAME.fullmatch(name)
    return bool(match and re.fullmatch(r"0-rescue(?:-.*)?", match.group(1)))


def words_for(
    have: str, *, root_device: str, wanted: str, unwanted: t.Callable[[str], bool]
) -> str:
    """Return a kernel command line that has *root_device*, all of *wanted*, and what else *have* said.

    Words that are *unwanted* go, but those of *wanted* do not.
    """
    kept, _dropped = shell_defaults.without_words(have, unwanted, wanted.split())
    own = [f"root={root_device}", "ro", *(it for it in kept.split() if it not in ("ro", "rw"))]
    return shell_defaults.merge_words(" ".join(own), wanted)


def options_for(
    have: str, *, root_device: str, wanted: str, unwanted: t.Callable[[str], bool]
) -> str:
    """Return the options of an entry; one that takes ``$kernelopts`` goes on to do so (RHEL 8)."""
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
