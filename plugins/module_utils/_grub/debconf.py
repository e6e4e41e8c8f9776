# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The answers in debconf(7) by which Debian's package of GRUB updates itself in the machine.

A later upgrade runs grub-install. It must renew the removable path, which the firmware of a cloud boots
(docs/facts.md: signed-grub), and it must not ask.
"""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    MissingToolError,
    Runner,
)

ANSWERS: t.Mapping[str, str] = {
    "grub2/enable_os_prober": "false",
    "grub2/force_efi_extra_removable": "true",
    "grub2/update_nvram": "false",
}


def package(architecture: str) -> str:
    """Return the package that asks these questions; *architecture* is Debian's name."""
    return f"grub-efi-{architecture}"


def answers(runner: Runner, owner: str) -> t.Mapping[str, str]:
    """Return the answers for GRUB's package; in an image without debconf, nothing has to change."""
    try:
        runner.find("debconf-set-selections")
        argv = [runner.find("debconf-show"), owner]
    except MissingToolError:
        return ANSWERS
    return parse(runner.run(argv, timeout=60).stdout)


def parse(shown: str) -> t.Dict[str, str]:
    """Return our answers from the output of debconf-show(1); a question without a star would be asked again."""
    lines = (line[2:].partition(": ") for line in shown.splitlines() if line.startswith("* "))
    return {name: value for name, _colon, value in lines if name in ANSWERS}


def selections(owner: str) -> str:
    """Return the input of debconf-set-selections(1)."""
    return "".join(f"{owner} {name} boolean {value}\n" for name, value in ANSWERS.items())


def text(given: t.Mapping[str, str]) -> str:
    """Return answers as text for a diff."""
    return "".join(f"{name}: {value}\n" for name, value in sorted(given.items()))


__all__ = ("ANSWERS", "answers", "package", "parse", "selections", "text")
