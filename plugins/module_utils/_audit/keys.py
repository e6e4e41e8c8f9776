# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Checks of an audit that try keys: on the LUKS header and through GRUB."""

from __future__ import annotations

import base64
import concurrent.futures
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._audit import areas, checks
from ansible_collections.sealedroot.image.plugins.module_utils._audit.reports import (
    Report,
    Subject,
)
from ansible_collections.sealedroot.image.plugins.module_utils._build.image_files import SLOTS
from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._grub import fstest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import cryptsetup, metadata
from ansible_collections.sealedroot.image.plugins.module_utils._system import secret_search
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

GRUB_CFG = "/boot/grub/grub.cfg"
# Two copies of up to 4 MiB each.
_LUKS2_HEADER_MOST = 8 * partitions.MIB


def header(
    runner: Runner,
    subject: Subject,
    report: Report,
    *,
    handle: int,
    ranges: t.Sequence[secret_search.Range],
    luks: partitions.Partition,
    work: str,
) -> metadata.Header:
    """Check the LUKS header in the open disk *handle*, and which keys open it."""
    # Give cryptsetup a copy: it needs no loop device and cannot write to the image.
    start, end = luks.offset, luks.offset + min(luks.size, metadata.MOST_BYTES)
    copy = os.path.join(work, "header")
    cut = secret_search.within(ranges, start, end)
    areas.copy(handle, copy, cut, start=start, size=luks.size)
    found = metadata.read(runner, copy)
    if found is None:
        raise SealedRootError("the LUKS partition has no LUKS header")
    report.facts.update(
        luks_uuid=found.uuid,
        luks_type=found.type,
        slots={str(number): slot.iterations for number, slot in sorted(found.slots.items())},
        header_sha256=areas.digest(handle, start, start + found.payload_offset),
    )
    problems = checks.header(
        found,
        slots=subject.slots,
        digest_iterations=subject.digest_iterations,
        luks_uuid=subject.luks_uuid,
        luks_type=subject.luks_type,
        hash_=subject.hash,
    )
    if found.type == "luks2":
        problems += checks.luks2_copies(os.pread(handle, _LUKS2_HEADER_MOST, start))
    report.add(
        "header", problems, f"{found.type}, {found.cipher}, {found.hash}, the expected slots"
    )
    with report.guard("keys_open"):
        problems = []
        for name, path in subject.key_files.items():
            if cryptsetup.opens(runner, copy, path, slot=SLOTS[name]) is None:
                problems.append(f"the {name} key does not open slot {SLOTS[name]}")
        for path in subject.dead_key_files:
            slot = cryptsetup.opens(runner, copy, path)
            if slot is not None:
                problems.append(f"{path} still opens slot {slot}: remove it")
        untried = checks.untried(found.slots, SLOTS, subject.key_files)
        seen = "; ".join(filter(None, ("each key opens its slot", untried)))
        report.warnings += [f"{subject.path}: {untried}."] if untried else []
        report.add("keys_open", problems, seen)
    return found


def grub(runner: Runner, subject: Subject, report: Report, *, disk: str) -> t.Optional[str]:
    """Let GRUB's code open the disk with each key; return the grub.cfg that it read."""
    wrong = base64.b64encode(os.urandom(33))
    # Side by side, because a passphrase has a slow slot, which every wrong key is tried in as well.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        *opened, refused = pool.map(
            lambda key: fstest.cat(runner, image=disk, key=key, name=GRUB_CFG),
            (*subject.keys.values(), wrong),
        )
    readings = dict(zip(subject.keys, opened))
    problems = checks.grub_opens(readings, refused, slots=SLOTS)
    report.add("grub_opens", problems, "GRUB's code opens it with each key, not with a wrong one")
    return next((r.content for r in readings.values() if r.content is not None), None)


__all__ = ("GRUB_CFG", "grub", "header")
