# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What an audit examines, and its results."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._firmware import ovmf
from ansible_collections.sealedroot.image.plugins.module_utils._system import printable
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

CHECKS = (
    *("format", "layout", "header", "keys_open", "grub_opens", "esp"),
    *("filesystem", "grub_code", "grub_cfg", "console", "initramfs", "key_files", "pinned_header"),
    *("mounts", "identity", "host_agents", "selinux"),
    *("clear_areas", "payload", "published"),
)


@dataclasses.dataclass(frozen=True)
class Launched:
    """What a confidential guest is started from: a core image that reads a secret from an area of the firmware.

    *prompt* says whether it asks for the key if it finds none.
    """

    core: bytes
    hashes: bytes
    firmware: bytes
    area: ovmf.Area
    prompt: bool


@dataclasses.dataclass(frozen=True)
class Subject:
    """The image to examine, and its required properties."""

    path: str
    key_files: t.Mapping[str, str]
    keys: t.Mapping[str, bytes] = dataclasses.field(repr=False)
    dead_key_files: t.Tuple[str, ...]
    dead_keys: t.Tuple[bytes, ...] = dataclasses.field(repr=False)
    markers: t.Tuple[str, ...]
    builder_words: t.Tuple[str, ...]
    luks_uuid: t.Optional[str]
    luks_type: t.Optional[str]
    hash: str
    root_uuid: t.Optional[str]
    slots: t.Mapping[int, int]
    digest_iterations: int
    esp_files: t.Tuple[str, ...]
    secure_boot: bool
    debug_console: bool
    host_agents: t.Tuple[str, ...]
    public_files: t.Tuple[str, ...]
    selinux: str
    work_dir: t.Optional[str]
    unlock: t.Tuple[str, ...] = ("prompt",)
    launched: t.Optional[Launched] = None

    def secrets(self) -> t.Dict[str, bytes]:
        """Return every key, by its name in messages."""
        keys = {f"{name} key": key for name, key in self.keys.items()}
        for path, key in zip(self.dead_key_files, self.dead_keys):
            keys[f"dead key {os.path.basename(path)}"] = key
        return keys


@dataclasses.dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    verdict: str
    detail: str


class Report:
    """The results so far. The outcome has every check of CHECKS, whatever happened."""

    def __init__(self) -> None:
        self._checks: t.Dict[str, Check] = {}
        self.facts: t.Dict[str, t.Any] = {}
        self.warnings: t.List[str] = []

    def add(self, name: str, problems: t.Sequence[str], fine: str) -> bool:
        """Record the result of a check; return whether it passed."""
        verdict, detail = ("failed", "; ".join(problems)) if problems else ("ok", fine)
        self._checks[name] = Check(name, verdict, printable.text(detail))
        return not problems

    @contextlib.contextmanager
    def guard(self, name: str) -> t.Iterator[None]:
        """Record an error that stops a check as its result."""
        try:
            yield
        except SealedRootError as exc:
            if name not in self._checks:  # an earlier result says more than this error
                self.add(name, [str(exc)], "")

    def checks(self) -> t.List[Check]:
        """Return all checks; a check that was not reached has failed."""
        first = next((c.name for c in self._checks.values() if c.verdict == "failed"), "an error")
        unseen = f"not examined, because of {first}"
        return [self._checks.get(name) or Check(name, "failed", unseen) for name in CHECKS]

    def failed(self) -> t.List[Check]:
        """Return the failed checks, with those that were not reached last."""
        failed = [check for check in self.checks() if check.verdict != "ok"]
        return sorted(failed, key=lambda check: check.name not in self._checks)

    def outcome(self) -> t.Dict[str, t.Any]:
        """Return the module's result. It has no times, because most of them depend on a key."""
        return {
            "checks": [dataclasses.asdict(check) for check in self.checks()],
            "facts": printable.result(self.facts),
        }


__all__ = ("CHECKS", "Check", "Launched", "Report", "Subject")
