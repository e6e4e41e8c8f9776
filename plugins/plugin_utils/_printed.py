# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Check what programs of an image print before it is used in a command or published. Pure functions.

An impossible answer is an error: a program of the root has made it up.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import (
    boot_files,
    generator_commands,
)
from ansible_collections.sealedroot.image.plugins.plugin_utils._answers import short

_BOOT_FILE = re.compile(rf"/boot(/{boot_files.VERSION.pattern}){{1,4}}")
MOST_PACKAGES = 50_000
# Lines of each package manager: name, version and, if it lists it, architecture.
_PACKAGES = {
    "alpm": re.compile(r"[A-Za-z0-9@_+][A-Za-z0-9@._+-]* [A-Za-z0-9:._+~-]+"),
    "deb": re.compile(r"[a-z0-9][a-z0-9+.-]* [A-Za-z0-9][A-Za-z0-9:.+~-]* [a-z0-9-]+"),
    "rpm": re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]* [A-Za-z0-9:._+~^-]+ ([A-Za-z0-9_]+|\(none\))"),
}


class ImpossibleError(Exception):
    """No image can give this answer about itself."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}. A program in the root answered what it liked, so nothing of it was used: look at where the root"
            " is from, and at what was installed in it."
        )


def check_each(
    what: str, values: t.Iterable[str], allowed: t.Union[t.Container[str], t.Pattern[str]]
) -> None:
    """Refuse a value that is not in a list of allowed values, or does not match a pattern."""
    for value in values:
        fits = allowed.fullmatch(value) if isinstance(allowed, re.Pattern) else value in allowed
        if not fits:
            raise ImpossibleError(f"In the image {what} is {short(value, 128)!r}")


def initramfs_script(
    generator: str, kernels: t.Sequence[t.Mapping[str, t.Any]], epoch: int = 0
) -> str:
    """Return the script that makes the initramfs of each kernel, after checking every word used in it."""
    check_each("what builds the initramfs", [generator], generator_commands.GENERATORS)
    check_each("a kernel", [row["version"] for row in kernels], boot_files.VERSION)
    check_each("an initramfs", [row["path"] for row in kernels], _BOOT_FILE)
    return generator_commands.script(generator, kernels, epoch)


def package_list(lines: t.Sequence[str], kind: str) -> t.List[str]:
    """Return the packages that the image's package manager listed, one per line, in order: rpm has none of its own."""
    if len(lines) > MOST_PACKAGES:
        raise ImpossibleError(f"The image lists more than {MOST_PACKAGES} packages")
    for line in lines:
        if len(line) > 512 or not _PACKAGES[kind].fullmatch(line):
            raise ImpossibleError(f"The image lists a package as {short(line, 128)!r}")
    return sorted(lines)


__all__ = ("ImpossibleError", "check_each", "initramfs_script", "package_list")
