# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Find out what verify_image examines and expects: as it was asked, else as the manifest beside the image says. Pure.
The same for what measure_image reads.

The manifest may be as wrong as the image. So what lets the host or its console in (image_debug_console,
image_host_agents, image_selinux) has to be asked for, and is never taken from it. Of key slots and of image_luks, it
can only say what a build can make, and a person's image_luks counts more.
"""

from __future__ import annotations

import dataclasses
import json
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._build import image_files
from ansible_collections.sealedroot.image.plugins.module_utils._disk.output_formats import FORMATS
from ansible_collections.sealedroot.image.plugins.module_utils._grub import unlock_ways
from ansible_collections.sealedroot.image.plugins.module_utils._system.architectures import (
    ARCHITECTURES,
)
from ansible_collections.sealedroot.image.plugins.plugin_utils import _specified

_IMAGE = (
    "set image_name and image_output_dir as they were for the build, or audit_image and audit_keys"
)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a person gave: *image*, *keys* and *slots* are empty if they did not.

    *manifest* is the text beside the image, empty if there is none, and *why* then says why. *directory* is where
    both are. *misspelled* is a sentence on names that resemble inputs, or empty.
    """

    image: str
    keys: t.Mapping[str, str]
    slots: t.Mapping[str, t.Any]
    manifest: str
    why: str
    directory: str
    misspelled: str


def plan(
    given: t.Mapping[str, t.Any], options: _specified.Options, asked: Asked
) -> t.Dict[str, t.Any]:
    """Return *problems*, and if there are none, the *image*, its *keys* and what is expected."""
    problems = [*filter(None, [asked.misspelled]), *_specified.problems(given, options)]
    expected: t.Dict[str, t.Any] = {
        "image": asked.image,
        "keys": asked.keys,
        "slots": asked.slots,
        "architecture": given["image_architecture"],
        "secure_boot": _specified.is_set(given["image_secure_boot"]),
        "luks": given["image_luks"],
        "unlock": given["image_unlock"],
        "launch": {},
    }
    if asked.manifest and not problems:
        try:
            said = _said(
                json.loads(asked.manifest), asked.directory, options["image_luks"]["options"]
            )
        except _UNFIT:
            problems.append(
                f"{_unfit(asked.directory)}, or remove it and set audit_image and audit_keys."
            )
        else:
            if given["image_unlock"] != _DEFAULT and {*said["unlock"]} != {*given["image_unlock"]}:
                problems.append(
                    f"image_unlock asks for {', '.join(given['image_unlock'])}, and"
                    f" {asked.directory}/{image_files.MANIFEST} has {', '.join(said['unlock'])}: do not use the image,"
                    " unless you know who changed one of them."
                )
            # Secure Boot is never taken back.
            said["secure_boot"] = said["secure_boot"] or expected["secure_boot"]
            said["luks"].update(expected["luks"])
            expected = {**said, **{it: expected[it] for it in _ASKED if expected[it]}}
            foreign = sorted(set(said["slots"]) - {str(it) for it in image_files.SLOTS.values()})
            if foreign and not asked.slots:
                problems.append(
                    f"{asked.directory}/{image_files.MANIFEST} has key slot {', '.join(foreign)}, which no build"
                    " makes: do not use the image, or give audit_slots with each slot and its iterations if it is"
                    " yours."
                )
    if not problems and not asked.image and "not readable" in asked.why:
        problems.append(
            f"{asked.directory} is not for this user to read: run ansible-playbook as root or as who built the image."
        )
    elif not problems and not expected["image"]:
        problems.append(f"There is no image in {asked.directory} ({asked.why}): {_IMAGE}.")
    elif not problems and not expected["keys"]:
        problems.append(
            f"audit_keys is missing, and no manifest beside the image names them ({asked.why}): give {{boot:"
            " /path/boot.key, recovery: /path/recovery.key}."
        )
    elif not problems and "boot" not in expected["keys"]:
        problems.append(
            "audit_keys has no boot key, which opens slot 0: give {boot: /path/boot.key}."
        )
    return {"problems": problems, **expected}


def measurable(manifest: str, directory: str) -> t.Dict[str, t.Any]:
    """Return *problems* of the *manifest* in a directory, and the *disk* whose GRUB asks a TPM; '' if none does.

    The launch of a guest is not judged here, and an earlier manifest may have nothing else.
    """
    try:
        inputs = json.loads(manifest).get("inputs", {})
        asks = unlock_ways.TPM2.name in _unlock(inputs)
        disk = _disk(inputs, directory) if asks else ""
    except _UNFIT:
        return {"problems": [f"{_unfit(directory)}."], "disk": ""}
    return {"problems": [], "disk": disk}


def _unfit(directory: str) -> str:
    return f"{directory}/{image_files.MANIFEST} is no manifest of an image: put the right one back"


_UNFIT = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
_ASKED = ("image", "keys", "slots")
# What image_unlock is where nobody asks for more.
_DEFAULT = ["prompt"]


def _said(
    manifest: t.Mapping[str, t.Any], directory: str, luks: _specified.Options
) -> t.Dict[str, t.Any]:
    """Return what a manifest says, as much of it as this collection writes; an error if it says something else.

    *luks* are the options of image_luks.
    """
    inputs, files = manifest["inputs"], manifest["files"]
    slots = {
        str(int(slot)): int(iterations)
        for slot, iterations in manifest["audit"]["facts"]["slots"].items()
    }
    header = {it: inputs["luks"][it] for it in ("type", "hash") if it in inputs["luks"]}
    if any(value not in luks[name]["choices"] for name, value in header.items()):
        raise ValueError(header)
    # LUKS has no more bits for them.
    if any(not 0 < it < 1 << 32 for it in slots.values()):
        raise ValueError(slots)
    if inputs["architecture"] not in ARCHITECTURES:
        raise ValueError(inputs["architecture"])
    return {
        "image": _disk(inputs, directory),
        "keys": {
            kind: os.path.join(directory, f"{kind}.key")
            for kind in image_files.SLOTS
            if f"{kind}.key" in files
        },
        "slots": slots,
        "architecture": inputs["architecture"],
        "secure_boot": inputs["secure_boot"] is True,
        "luks": header,
        "unlock": _unlock(inputs),
        "launch": _launch(manifest, directory) if "launch_secret" in _unlock(inputs) else {},
    }


def _disk(inputs: t.Mapping[str, t.Any], directory: str) -> str:
    (first, *_others) = inputs["formats"]
    if first not in FORMATS:
        raise ValueError(first)
    return os.path.join(directory, f"disk.{first}")


def _unlock(inputs: t.Mapping[str, t.Any]) -> t.List[str]:
    names = [str(it) for it in inputs.get("unlock", [unlock_ways.PROMPT.name])]
    if not names or not set(names) <= set(unlock_ways.WAYS):
        raise ValueError(names)
    return names


def _launch(manifest: t.Mapping[str, t.Any], directory: str) -> t.Dict[str, t.Any]:
    """Return what the fact image_launch had when the image was built."""
    measured = manifest["launch"]
    area = measured["firmware"]["secret_area"]
    return {
        "core": os.path.join(directory, image_files.CORE),
        "hashes": os.path.join(directory, image_files.HASHES),
        "firmware": os.path.join(directory, image_files.FIRMWARE),
        "secret": os.path.join(directory, image_files.SECRET),
        "measured": {
            "sev": str(measured["sev"]),
            "firmware": {"secret_area": {it: int(area[it]) for it in ("base", "size")}},
        },
    }


__all__ = ("Asked", "measurable", "plan")
