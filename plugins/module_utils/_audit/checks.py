# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Checks of an audit that work on data already read: pure; each returns a list of problems.

An empty list means that the check passed. A problem says what is wrong and, if it is not obvious, what to
change.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    cfg,
    core_image,
    embedded,
    fstest,
    install,
    script,
    unlock_ways,
)
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import guest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    finding_table,
    findings,
    metadata,
)

CORE_MODULES = ("part_gpt", "cryptodisk", "gcry_rijndael")
# Findings that are compared with what was requested, not with the usual.
AS_ASKED = ("hash", "slow-digest", "slow-slot")
_UUID = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b"
)
_VARIABLE = re.compile(r"\$(?:\w+|\{\w+\})")
_DISK_DEVICE = re.compile(r"/dev/(?:[shv]d[a-z]+|xvd[a-z]+|nvme\d+n|mmcblk\d+)\w*")


def image_format(info: t.Mapping[str, t.Any]) -> t.List[str]:
    """Return what ties the image to other files or snapshots (``qemu-img info``)."""
    problems = []
    if info.get("backing-filename"):
        problems.append(
            f"it has the backing file {info['backing-filename']}: convert it into one file without"
        )
    if info.get("snapshots"):
        problems.append(f"it has {len(info['snapshots'])} internal snapshots: delete them")
    specific = info.get("format-specific", {}).get("data", {})
    if specific.get("data-file"):
        problems.append(f"its data is in another file, {specific['data-file']}")
    if specific.get("corrupt") or info.get("dirty-flag"):
        problems.append("it is marked as corrupt or was not closed: convert it again")
    if info.get("encrypted"):
        problems.append("the container format itself is encrypted, so it cannot be examined")
    return problems


def layout(table: t.Optional[partitions.Table], nonzero: t.Sequence[int]) -> t.List[str]:
    """A GPT with an ESP at the start and one LUKS partition; *nonzero* are bytes between them."""
    if table is None:
        return ["it has no GPT"]
    problems = []
    kinds = [part.type for part in table.partitions]
    if kinds != [partitions.ESP_TYPE, partitions.LUKS_TYPE]:
        problems.append(f"it has the partitions {kinds}, not one ESP and then one LUKS partition")
    elif table.partitions[0].offset > partitions.MIB:
        problems.append(f"the ESP begins at byte {table.partitions[0].offset}, not at the start")
    if nonzero:
        problems.append(f"there is data outside the partitions, at byte {nonzero[0]}")
    return problems


def header(
    found: metadata.Header,
    *,
    slots: t.Mapping[int, int],
    digest_iterations: int,
    luks_uuid: t.Optional[str],
    luks_type: t.Optional[str],
    hash_: str,
) -> t.List[str]:
    """The LUKS header is what was asked for, and nothing that GRUB cannot read or a host could abuse."""
    problems = [
        f"{it.meaning}: {it.cure}"
        for it in findings.findings(found)
        if it.severity != finding_table.NOTE and it.id not in AS_ASKED
    ]
    if luks_type not in (None, found.type):
        problems.append(f"it is {found.type}, not {luks_type}")
    if found.hash != hash_:
        problems.append(f"the hash is {found.hash}, not {hash_}")
    if found.digest_iterations != digest_iterations:
        problems.append(
            f"the volume key's digest has {found.digest_iterations} iterations, not"
            f" {digest_iterations}: force them when formatting"
        )
    have = {number: slot.iterations for number, slot in found.slots.items()}
    if have != dict(slots):
        problems.append(f"the slots and their iterations are {have}, not {dict(slots)}")
    if found.slot_order and found.slot_order[0] != min(slots, default=0):
        problems.append(f"GRUB tries slot {found.slot_order[0]} first: make the boot key's anew")
    if luks_uuid and found.uuid != luks_uuid:
        problems.append(f"the UUID is {found.uuid}, not {luks_uuid}")
    return problems


def untried(slots: t.Iterable[int], keys: t.Mapping[str, int], given: t.Container[str]) -> str:
    """Return a sentence for those *slots* whose keys are not given; *keys* are their slots by name."""
    tried = {slot for name, slot in keys.items() if name in given}
    left = ", ".join(str(it) for it in sorted(set(slots) - tried))
    return f"no key was given for slot {left}, which was not tried" if left else ""


def luks2_copies(start: bytes) -> t.List[str]:
    """Both copies of a LUKS2 header say the same; *start* is the beginning of the container.

    cryptsetup uses the newer copy with a valid checksum, GRUB the newer one without verifying it.
    """
    size, number = start[8:16], start[16:24]
    second = int.from_bytes(size, "big")
    other = start[second : 2 * second]
    same = (
        other[:6] == b"SKUL\xba\xbe"
        and (other[8:16], other[16:24]) == (size, number)
        and other[metadata.LUKS2_BINARY :] == start[metadata.LUKS2_BINARY : second]
    )
    return [] if same else ["the two copies of the LUKS2 header differ: run 'cryptsetup repair'"]


def grub_opens(
    readings: t.Mapping[str, fstest.Reading],
    refused: fstest.Reading,
    *,
    slots: t.Mapping[str, int],
) -> t.List[str]:
    """GRUB reads its configuration with each key, and not with a wrong one.

    How long it takes is not judged here: the header has the iterations, and a busy builder has no time.
    """
    problems = []
    for name, reading in readings.items():
        if reading.slot is None:
            problems.append(f"GRUB cannot open it with the {name} key: {reading.said}")
        elif reading.content is None:
            problems.append(f"GRUB opens it but cannot read the file system: {reading.said}")
        elif reading.slot != slots[name]:
            problems.append(f"the {name} key opens slot {reading.slot}, not {slots[name]}")
    if refused.slot is not None:
        problems.append("a random key opens it")
    return problems


def grub_cfg(
    text: str,
    *,
    root_device: str,
    root_uuid: str,
    luks_uuid: str,
    words: t.Sequence[str],
    builder_words: t.Sequence[str],
    is_part: bool = False,
) -> t.List[str]:
    """Every kernel gets this root and the required words, and nothing names the builder or the host.

    *words* must be on the command line of every kernel, without other values of the same name. A script that grub.cfg
    reads is part of it, and need not boot a kernel.
    """
    problems = cfg.traces(text, builder_words)
    problems += [
        f"'{line}' can find a disk of the host: set GRUB_DISABLE_UUID=true for grub-mkconfig"
        for line in cfg.strays(text, luks_uuid=luks_uuid)
    ]
    problems += cfg.foreign(text, luks_uuid=luks_uuid)
    kernels = kernel_lines(text)
    if not kernels and not is_part:
        problems.append("it boots no kernel: make it in the image with grub-mkconfig")
    for kernel, options in kernels:
        given = options.split()
        problems += cfg.other_roots(kernel, given, root_device=root_device)
        for word in words:
            rivals = guest.rivals(word, given)
            if rivals or word not in given:
                got = " ".join(rivals) or f"no {word.partition('=')[0]}"
                problems.append(f"{kernel} gets {got}, not {word}")
        others = [word for word in given if word not in words and not word.startswith("root=")]
        problems += [
            f"{kernel} gets {word}, which quotes: systemd does not see the words behind it"
            for word in others
            if guest.is_special(word)
        ]
        problems += [
            f"{kernel} gets {word}, which opens the console"
            for word in others
            if guest.is_closed(words) and guest.opens(word)
        ]
        problems += [
            f"{kernel} gets {word}, which takes what the host has"
            for word in others
            if guest.takes(word)
        ]
        problems += [
            f"{kernel} gets {word}, which every clone would share: leave it out"
            for word in others
            if guest.name_of(word) == guest.MACHINE_ID
        ]
        problems += [f"{kernel} gets the device {name}" for name in _DISK_DEVICE.findall(options)]
    known = {root_uuid, luks_uuid, luks_uuid.replace("-", "")}
    foreign = set(_UUID.findall(text.lower())) - known
    problems += [f"it names {uuid}, which is not in the image" for uuid in sorted(foreign)]
    return problems


def kernel_lines(text: str) -> t.List[t.Tuple[str, str]]:
    """Return the kernels that a grub.cfg boots, each with its command line."""
    return [(it[0], " ".join(it[1:])) for it in _loads(text, script.KERNEL)]


def initrds(text: str) -> t.List[str]:
    """Return the initramfs files that a grub.cfg loads."""
    return sorted({name for names in _loads(text, script.INITRD) for name in names})


def _loads(text: str, names: t.Container[str]) -> t.List[t.List[str]]:
    """Return what each of these commands loads, and the words behind it, without variables."""
    known = ([_VARIABLE.sub("", it) for it in words] for words in script.loads(text, names))
    return [found for found in ([it for it in words if it] for words in known) if found]


def early_config(
    name: str,
    text: str,
    *,
    luks_uuid: str,
    modules: t.Container[str] = (),
    debug_console: bool = False,
    own: bool = False,
) -> t.List[str]:
    """What GRUB does before the disk is open: ask for the passphrase of this disk, and never show a shell.

    *modules* are those of the core image that runs it, which takes its *own* volume only.
    """
    problems = []
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    before = lines[: next((i for i, line in enumerate(lines) if "cryptomount" in line), len(lines))]
    if not debug_console:
        lost = [line for line in cfg.CLOSED if line not in before]
        if lost:
            problems.append(f"{name} asks before it says {' and '.join(lost)}: its shell is open")
        if lines[-1:] not in (["halt"], ["reboot"]):
            problems.append(
                f"{name} does not end with reboot or halt, so a failure ends in a shell"
            )
    calls = re.findall(r"^[ \t]*(?:if\s+)?cryptomount\b([^;\n]*)", text, re.MULTILINE)
    plain = luks_uuid.replace("-", "")
    if not calls:
        problems.append(f"{name} has no cryptomount, so GRUB never asks for the passphrase")
    for arguments in calls:
        if arguments.split() != ["-u", plain]:
            problems.append(
                f"{name} says 'cryptomount{arguments}': it must be '-u {plain}', without dashes and"
                " without a key"
            )
    # If an open console was requested, a closed one is acceptable as well.
    places = [(it, console) for it in cfg.DIRECTORIES for console in (False, debug_console)]
    scripts = set()
    for directory, console in places:
        what: t.Dict[str, t.Any] = {"luks_uuid": luks_uuid, "directory": directory}
        scripts.add(cfg.stub(**what, debug_console=console))
        ask = cfg.ASKS in modules
        scripts.add(cfg.unlock_script(**what, debug_console=console, ask=ask, own=own))
    if not problems and text not in scripts:
        problems.append(f"{name} does more than to open this disk and read its grub.cfg")
    return problems


def esp(
    files: t.Mapping[str, bytes],
    *,
    wanted: t.Sequence[str],
    luks_uuid: str,
    modules: t.Sequence[str],
    signed: bool = False,
    debug_console: bool = False,
    config: str = embedded.CONFIG,
) -> t.List[str]:
    """The ESP has exactly the *wanted* files, and they, if any, unlock this disk.

    The configuration inside a *signed* GRUB is generic; the one that it reads from the ESP must be for this disk.
    A core image begins with *config*.
    """
    problems = []
    # A TPM gives GRUB the key before it has asked.
    own = config != embedded.CONFIG
    known = {config, *([embedded.text(debug_console=True)] if debug_console else [])}
    have, want = {name.upper() for name in files}, {name.upper() for name in wanted}
    if have - want:
        problems.append(f"the ESP has also {', '.join(sorted(have - want))}")
    if want - have:
        problems.append(f"the ESP has no {', '.join(sorted(want - have))}")
    configured = False
    for name, data in files.items():
        inside: t.FrozenSet[str] = frozenset()
        if name.upper().endswith("GRUB.CFG"):
            text = data.decode("utf-8", "replace")
        else:
            core = core_image.parse(data)
            if core is None or signed or not core.config:
                continue
            text, inside = install.read_memdisk(core.memdisk), core.modules
            if core.config not in known:
                begin = "what asks the TPM for the key" if own else "its memdisk"
                problems.append(f"{name} begins with '{core.config.strip()}', not with {begin}")
            if core.is_odd or not install.is_memdisk(core.memdisk, [text], own=own):
                problems.append(
                    f"{name} has parts that no build gives it, such as a second memdisk, or lacks one: build the image"
                    " again"
                )
            more = sorted(core.modules & {*unlock_ways.TPM2.left_out}) if own else []
            if more:
                problems.append(
                    f"{name} has the GRUB modules {', '.join(more)}, so it reads files that the host can write"
                )
            lost = sorted({*CORE_MODULES, *modules} - core.modules)
            if lost:
                problems.append(f"{name} lacks the GRUB modules {', '.join(lost)}")
        configured = True
        problems += early_config(
            name, text, luks_uuid=luks_uuid, modules=inside, debug_console=debug_console, own=own
        )
        problems += cfg.traces(text)
    if wanted and not configured:
        problems.append("nothing on the ESP tells GRUB which disk to unlock")
    return problems


__all__ = (
    "early_config",
    "esp",
    "grub_cfg",
    "grub_opens",
    "header",
    "image_format",
    "initrds",
    "kernel_lines",
    "layout",
    "luks2_copies",
)
