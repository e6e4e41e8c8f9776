# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The SELinux configuration of an image, and the labels that its files must have: pure."""

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
# Options that a relabelling at boot passes to fixfiles(8): reset whole labels, not only types.
FLAG_CONTENT = b"-F\n"
# The kernel treats a file as one of these if it has no label, or one that the policy does not know.
UNLABELLED = ("unlabeled_t", "file_t")

_LABEL = r"[^\s:]+:[^\s:]+:[^\s:]+(?::\S+)?"
_ROW = re.compile(r"^Would relabel (?=/)", re.MULTILINE)
# libselinux 3.5 and later print "<no context>", earlier ones "(null)".
_CHANGE = re.compile(
    rf" from (?:<no context>|\(null\)|{_LABEL}) to ({_LABEL})$",
    re.MULTILINE,
)
_TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True)
class Config:
    """``/etc/selinux/config``: *mode* is enforcing, permissive or disabled, or empty if it is not set."""

    mode: str
    type: str

    @property
    def active(self) -> bool:
        """Say whether the policy, if there is one, is loaded at boot."""
        return self.mode in ("enforcing", "permissive")

    @property
    def directory(self) -> str:
        """Return the directory of the policy."""
        return f"/etc/selinux/{self.type}"


def parse_config(text: str) -> Config:
    """Parse selinux_config(5) like libselinux: the first known mode and the last type count."""
    modes = re.findall(
        r"^SELINUX=[ \t]*(enforcing|permissive|disabled)", text, re.MULTILINE | re.IGNORECASE
    )
    types = re.findall(r"^[ \t]*SELINUXTYPE=(.*)$", text, re.MULTILINE)
    policy_type = types[-1].rstrip() if types else "targeted"
    if not _TYPE.fullmatch(policy_type):
        raise SealedRootError(
            f"SELINUXTYPE in {CONFIG} of the image is '{policy_type}', which names no directory in"
            " /etc/selinux: correct it"
        )
    return Config(modes[0].lower() if modes else "", policy_type)


def newest_policy(names: t.Iterable[str]) -> str:
    """Return the name with the highest version among names like ``policy.33``; empty if there is none."""
    versions = (re.fullmatch(r"policy\.(\d+)", name) for name in names)
    numbers = [int(match.group(1)) for match in versions if match]
    return f"policy.{max(numbers)}" if numbers else ""


def type_of(label: str) -> str:
    """Return the type of a label, its third field; empty if it is not a label."""
    fields = label.split(":")
    return fields[2] if len(fields) > 2 else ""


def setfiles_argv(config: Config, policy: str) -> t.List[str]:
    """Return the command that prints which label each file lacks, without writing any (setfiles(8)).

    ``-c`` checks labels against this policy instead of the running kernel's.
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
    """Parse the output of setfiles: the new label of each path whose label is wrong."""
    labels = {}
    row = _ROW.search(text)
    # Search alternately, because a file name can hold any number of lines. A single pattern for both parts would try
    # each end for each beginning.
    while row:
        change = _CHANGE.search(text, row.end())
        if not change:
            break
        labels[text[row.end() : change.start()]] = change.group(1)
        row = _ROW.search(text, change.end())
    return labels


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
