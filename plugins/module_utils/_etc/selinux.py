# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What an image says of its SELinux policy, and which label each of its files is to have: pure."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

ATTRIBUTE = "security.selinux"
CONFIG = "/etc/selinux/config"
FLAG = ".autorelabel"
# What a relabelling at boot hands to fixfiles(8): reset whole labels, not types only.
FLAG_CONTENT = b"-F\n"
# What a file without a label, or with one that the policy does not know, counts as.
UNLABELLED = ("unlabeled_t", "file_t")

_LABEL = r"[^\s:]+:[^\s:]+:[^\s:]+(?::\S+)?"
_ROW = re.compile(r"^Would relabel (?=/)", re.MULTILINE)
# "<no context>" is said by libselinux 3.5 and later, "(null)" by earlier ones.
_CHANGE = re.compile(
    rf" from (?:<no context>|\(null\)|{_LABEL}) to ({_LABEL})$",
    re.MULTILINE,
)
_TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True)
class Config:
    """``/etc/selinux/config``: *mode* is enforcing, permissive or disabled, or empty when nothing says it."""

    mode: str
    type: str

    @property
    def active(self) -> bool:
        """Whether the policy is loaded at boot, if there is one."""
        return self.mode in ("enforcing", "permissive")

    @property
    def directory(self) -> str:
        """The directory of the policy."""
        return f"/etc/selinux/{self.type}"


def parse_config(text: str) -> Config:
    """Parse selinux_config(5) as libselinux does: the first known mode counts, and the last type."""
    modes = re.findall(
        r"^SELINUX=[ \t]*(enforcing|permissive|disabled)", text, re.MULTILINE | re.IGNORECASE
    )
    types = re.findall(r"^[ \t]*SELINUXTYPE=(.*)$", text, re.MULTILINE)
    found = types[-1].rstrip() if types else "targeted"
    if not _TYPE.fullmatch(found):
        raise SealedRootError(
            f"SELINUXTYPE in {CONFIG} of the image is '{found}', which names no directory in"
            " /etc/selinux: correct it"
        )
    return Config(modes[0].lower() if modes else "", found)


def newest_policy(names: t.Iterable[str]) -> str:
    """Return the name with the highest version of those like ``policy.33``; empty when there is none."""
    versions = (re.fullmatch(r"policy\.(\d+)", name) for name in names)
    found = [int(match.group(1)) for match in versions if match]
    return f"policy.{max(found)}" if found else ""


def type_of(label: str) -> str:
    """Return the type of a label, its third field; empty for what is no label."""
    fields = label.split(":")
    return fields[2] if len(fields) > 2 else ""


def setfiles_argv(config: Config, policy: str) -> t.List[str]:
    """Return the argv that says which label each file lacks, and writes none (setfiles(8)).

    ``-c`` checks every label against that policy instead of the running kernel's.
    """
    contexts = f"{config.directory}/contexts/files/file_contexts"
    argv = [
        "setfiles",
        "-n",
        "-v",
        "-F",
        "-e",
        "/proc",
        "-c",
        f"{config.directory}/policy/{policy}",
    ]
    return [*argv, contexts, "/"]


def parse_plan(text: str) -> t.Dict[str, str]:
    """Parse what setfiles said: the label that each path is to get. What has the right one is not there."""
    found = {}
    row = _ROW.search(text)
    # One after the other, since a name has any length and any line in it: one pattern for both would try each row's end
    # for each row's beginning.
    while row:
        change = _CHANGE.search(text, row.end())
        if not change:
            break
        found[text[row.end() : change.start()]] = change.group(1)
        row = _ROW.search(text, change.end())
    return found


__all__ = (
    "ATTRIBUTE",
    "CONFIG",
    "FLAG",
    "FLAG_CONTENT",
    "UNLABELLED",
    "Config",
    "newest_policy",
    "parse_config",
    "parse_plan",
    "setfiles_argv",
    "type_of",
)
