# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Read what an audit is given: keys, what others may read, and what a confidential guest is started from."""

from __future__ import annotations

import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._audit.reports import Launched
from ansible_collections.sealedroot.image.plugins.module_utils._disk.output_formats import FORMATS
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import kernel_file, ovmf
from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

_AREA = {name: {"type": "int", "required": True} for name in ("base", "size")}
_AREA_OPTION = {"type": "dict", "required": True, "no_log": False, "options": _AREA}
LAUNCH: t.Dict[str, t.Any] = {
    "type": "dict",
    "options": {
        "core": {"type": "path", "required": True},
        "hashes": {"type": "path", "required": True},
        "firmware": {"type": "path", "required": True},
        "secret_area": _AREA_OPTION,
    },
}


def read_key(path: str) -> bytes:
    """Return a key that can be typed at GRUB, which stops reading at a newline (docs/facts.md: grub-passphrase)."""
    try:
        with open(path, "rb") as handle:
            key = handle.read(8193)
    except OSError as exc:
        raise SealedRootError(f"the key file {path} cannot be read: {exc.strerror}") from exc
    if not 8 <= len(key) <= 254 or any(byte < 0x20 or byte > 0x7E for byte in key):
        raise SealedRootError(
            f"the key in {path} cannot be typed at GRUB: it must be 8 to 254 printable ASCII characters"
            " without a newline"
        )
    return key


def public_files(params: t.Mapping[str, t.Any]) -> t.List[str]:
    """Return the files about the image that others may read, smallest first."""
    if params["public_files"] is not None:
        return list(params["public_files"])
    directory = os.path.dirname(params["path"])
    keys = [*filter(None, params["keys"].values()), *params["dead_key_files"]]
    left_out = {os.path.realpath(path) for path in (params["path"], *keys)}
    try:
        names = os.listdir(directory or ".")
    except OSError as exc:
        raise SealedRootError(
            f"{directory} cannot be listed: {exc.strerror}. Say in public_files what others may read"
        ) from exc
    found = []
    for name in names:
        path = os.path.join(directory, name)
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            continue  # it was just removed
        is_public = name.endswith(".json") or status.st_mode & (stat.S_IRGRP | stat.S_IROTH)
        is_disk = name.rpartition(".")[2] in FORMATS
        is_other = stat.S_ISREG(status.st_mode) and os.path.realpath(path) not in left_out
        if is_other and is_public and not is_disk:
            found.append((status.st_size, path))
    return [path for _size, path in sorted(found)]


def launched(expected: t.Mapping[str, t.Any]) -> t.Optional[Launched]:
    """Return what a confidential guest is started from; None if it is started from its disk."""
    given, unlock = expected["launch"], expected["unlock"]
    if bool(given) != ("launch_secret" in unlock):
        raise SealedRootError(
            "expected.launch and launch_secret in expected.unlock belong together: give both, or none"
        )
    if not given:
        return None
    core = kernel_file.read(given["core"])
    hashes = regular_file.demand(given["hashes"], most=regular_file.SMALL)
    firmware = regular_file.demand(given["firmware"], most=ovmf.LARGEST)
    return Launched(core, hashes, firmware, ovmf.Area(**given["secret_area"]), "prompt" in unlock)


__all__ = ("LAUNCH", "launched", "public_files", "read_key")
