# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Compare what is published as an image with its manifest.

A manifest is public, so it has neither digest nor size of a key file. A key file is right if it opens its slot of
the LUKS header on the published disk.
"""

from __future__ import annotations

import json
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._build import input_mac, places
from ansible_collections.sealedroot.image.plugins.module_utils._build.image_files import (
    BOOT_KEY,
    KEY_FILES,
    MANIFEST,
    RECOVERY_KEY,
    SECRET,
    path_of,
)
from ansible_collections.sealedroot.image.plugins.module_utils._disk import view
from ansible_collections.sealedroot.image.plugins.module_utils._disk.output_formats import FORMATS
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import secret_table
from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    container,
    cryptsetup,
    metadata,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.digest import sha256

# The manifest's name of the input from which a key file is made.
_INPUTS = {BOOT_KEY: "boot_key", RECOVERY_KEY: "recovery"}
_NOTHING_GIVEN = {"root_password_hash": "", "customize": []}
# An option of the modules that examine a published image.
SECRET_INPUTS: t.Dict[str, t.Any] = {
    "type": "dict",
    "no_log": False,
    "options": {
        "boot_key": {"type": "str", "default": "", "no_log": True},
        "recovery_passphrase": {"type": "str", "default": "", "no_log": True},
        "root_password_hash": {"type": "str", "default": "", "no_log": True},
        "customize": {"type": "list", "elements": "str", "default": [], "no_log": True},
    },
}


def is_as_listed(path: str, entry: t.Mapping[str, t.Any]) -> bool:
    """Say whether a file is as the manifest lists it; compare the size first, because that is quick."""
    if "slot" in entry or "holds" in entry:
        try:
            container.check_key_file(path)
        except SealedRootError:
            return False
        return True
    size, digest = entry["size"], entry["sha256"]
    regular = os.path.isfile(path) and not os.path.islink(path)
    return regular and os.path.getsize(path) == size and sha256(path) == digest


class _Image:
    """A directory with a manifest; *files* says which files are as the manifest lists them."""

    def __init__(self, directory: str, manifest: t.Mapping[str, t.Any]) -> None:
        self.directory, self.manifest = directory, manifest
        entries = manifest["files"].items()
        self.files = {name: is_as_listed(self.path(name), entry) for name, entry in entries}
        # The slot and the content of each key file that can be tried.
        self.slots = {
            name: int(entry["slot"])
            for name, entry in entries
            if "slot" in entry and self.files[name]
        }
        self.keys = {name: self.content(name) for name in self.slots}
        secrets = [name for name, entry in entries if "holds" in entry and self.files[name]]
        for name in secrets:
            key = self.keys.get(BOOT_KEY)
            self.files[name] = key is not None and secret_table.holds(self.content(name), key)

    def path(self, name: str) -> str:
        """Return the path of a file."""
        return path_of(self.directory, name)

    def content(self, name: str) -> bytes:
        """Return the content of a key file."""
        with open(self.path(name), "rb") as file:
            return file.read()

    def disk(self) -> t.Tuple[str, str]:
        """Return a disk that is as it was built, and QEMU's name of its format."""
        for name in sorted(self.files):
            known = FORMATS.get(name.rpartition(".")[2])
            if known and self.files[name]:
                return self.path(name), known.driver
        raise SealedRootError("no disk there is as the manifest has it")

    def try_keys(self, runner: Runner) -> t.List[str]:
        """Return the key files that do not open the disk."""
        path, driver = self.disk()
        region = self.manifest["luks_region"]
        node = view.region_node(
            view.disk_node(path, driver),
            offset=int(region["offset"]),
            size=min(int(region["size"]), metadata.MOST_BYTES),
            image_format=driver,
        )
        with view.private_directory(None) as work:
            header = os.path.join(work, "header")
            view.copy(runner, node, header)
            return [
                name
                for name, slot in self.slots.items()
                if cryptsetup.opens(runner, header, self.path(name), slot=slot) is None
            ]

    def different_macs(self, given: t.Mapping[str, t.Any]) -> t.List[str]:
        """Name the inputs whose MAC in the manifest differs from that of boot.key and *given*."""
        if BOOT_KEY not in self.keys:
            return []
        found = input_mac.macs(
            self.keys[BOOT_KEY],
            self.manifest["name"],
            root_password_hash=given["root_password_hash"],
            customize=given["customize"],
        )
        return input_mac.different(found, self.manifest["inputs_mac"])

    def different_keys(self, given: t.Mapping[str, t.Any]) -> t.List[str]:
        """Name the key files whose key differs from the given one; an empty one is not compared."""
        wanted = {BOOT_KEY: given["boot_key"], RECOVERY_KEY: given["recovery_passphrase"]}
        return [
            name for name, key in self.keys.items() if wanted[name] and wanted[name].encode() != key
        ]


def problem(directory: str, files: t.Mapping[str, bool], other_keys: t.Sequence[str]) -> str:
    """Say why an image is incomplete or changed, and what to do; empty if it is neither."""
    bad = sorted({*other_keys, *(name for name, good in files.items() if not good)})
    if files and not bad:
        return ""
    if other_keys and set(bad) <= {*KEY_FILES, SECRET}:
        return (
            f"{directory} has the disk as it was built, but not the keys that open it ({', '.join(bad)}). After"
            " rotate_keys the keys there are those of the running machine: keep them, and choose another image_name"
            " for a new image. Without a rotation, put the right files back."
        )
    return (
        f"{directory} exists and is not whole ({', '.join(bad) or MANIFEST}): remove it, choose another image_name,"
        " or set image_replace=true."
    )


def read(
    runner: Runner, directory: str, given: t.Optional[t.Mapping[str, t.Any]] = None
) -> t.Dict[str, t.Any]:
    """Describe what is published in *directory*, and which of the secret inputs *given* differ."""
    there = os.path.lexists(directory)
    nothing: t.Dict[str, t.Any] = {
        "exists": there,
        "free_bytes": places.free_bytes(directory),
        "manifest": None,
        "files": {},
        "intact": False,
        "problem": problem(directory, {}, ()) if there else "",
        "keys_tried": False,
        "other_inputs": [],
        "warnings": [],
    }
    path = os.path.join(directory, MANIFEST)
    if not os.path.isfile(path):
        return nothing
    try:
        with open(path, encoding="utf-8") as file:
            manifest = json.load(file)
        return {
            **nothing,
            "manifest": manifest,
            **_look(runner, _Image(directory, manifest), given),
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return nothing


def _look(
    runner: Runner, image: _Image, given: t.Optional[t.Mapping[str, t.Any]]
) -> t.Dict[str, t.Any]:
    """Try the keys, and compare the secret inputs."""
    macs = image.different_macs(given or _NOTHING_GIVEN)
    warnings, tried = [], False
    # If the keys cannot be tried, the manifest's MAC still tells whether this is the boot key.
    other_keys = [BOOT_KEY] if "boot_key" in macs else []
    try:
        if image.keys:
            other_keys, tried = image.try_keys(runner), True
    except SealedRootError as exc:
        reason = str(exc).rstrip(".")
        warnings.append(f"The keys in {image.directory} were not tried on its disk: {reason}.")
    files = {name: good and name not in other_keys for name, good in image.files.items()}
    why = problem(image.directory, files, other_keys)
    others = []
    if given is not None:
        others += [_INPUTS[name] for name in image.different_keys(given) if name not in other_keys]
        others += [name for name in macs if BOOT_KEY not in other_keys and name not in others]
    return {
        "files": files,
        "intact": not why,
        "problem": why,
        "keys_tried": tried,
        "other_inputs": others,
        "warnings": warnings,
    }


__all__ = (
    "SECRET_INPUTS",
    "is_as_listed",
    "problem",
    "read",
)
