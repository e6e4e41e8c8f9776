# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Start a machine as a confidential guest is started, without the secure processor.

QEMU writes hashes and secret where it would itself (``kernel-hashes=on``) and where the secure processor would put
them (docs/facts.md: launch-without-sev).
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    kernel_file,
    kernel_hashes,
    ovmf,
    secret_table,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    qemu_options,
    regular_file,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

PUBLISHED, OTHER_KEY, NO_SECRET = "published", "other_key", "no_secret"
LONGER_CORE, NO_HASHES = "longer_core", "no_hashes"
STARTS = (PUBLISHED, OTHER_KEY, NO_SECRET, LONGER_CORE, NO_HASHES)


@dataclasses.dataclass(frozen=True)
class Launch:
    """The firmware and the files of an image; *secret* is empty if there is none."""

    firmware: bytes
    core: bytes
    hashes: bytes
    secret: bytes = dataclasses.field(repr=False)
    secret_path: str

    @property
    def key(self) -> str:
        """Return the key in the secret, which no log may have."""
        start = secret_table.place().key
        return self.secret[start : start + secret_table.KEY_BYTES].decode("ascii", "replace")


def read(params: t.Mapping[str, t.Any]) -> Launch:
    """Read the files; refuse those that have another launch digest than the expected one."""
    found = Launch(
        core=kernel_file.read(params["core"]),
        firmware=regular_file.demand(params["firmware"], most=ovmf.LARGEST),
        hashes=regular_file.demand(params["hashes"], most=regular_file.SMALL),
        secret=regular_file.demand(params["secret"], most=regular_file.SMALL),
        secret_path=params["secret"],
    )
    digest = hashlib.sha256(found.firmware + found.hashes).hexdigest()
    if digest != params["digest"]:
        raise SealedRootError(
            f"{params['firmware']} and {params['hashes']} have the launch digest {digest}, not {params['digest']}: give"
            " the firmware and the files that the image was made with"
        )
    if found.hashes != kernel_hashes.table(found.core):
        raise SealedRootError(
            f"{params['hashes']} does not have the hash of {params['core']}: give both as the image has them"
        )
    return found


def options(launch: Launch, start: str, *, name: str, work: str) -> t.List[str]:
    """Return QEMU's options for a *start*; files of that *name* are written to the directory *work*.

    The secret of the image is read where it is, since *work* may be on a disk.
    """
    area = ovmf.parse(launch.firmware, "the firmware")
    files = {"firmware": launch.firmware, "core": launch.core, "hashes": launch.hashes}
    if start == OTHER_KEY:
        key = base64.b64encode(os.urandom(secret_table.KEY_BYTES // 4 * 3))
        files["secret"] = secret_table.build(key, area.secret.size)
    if start == LONGER_CORE:
        files["core"] += b"\0"
    elif start == NO_HASHES:
        del files["hashes"]
    paths = {it: os.path.join(work, f"{it}-{name}") for it in files}
    for it, path in paths.items():
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(files[it])
    if start not in (OTHER_KEY, NO_SECRET):
        paths["secret"] = launch.secret_path
    found = ["-bios", paths["firmware"], "-kernel", paths["core"]]
    for it, place in (("hashes", area.hashes), ("secret", area.secret)):
        if it in paths:
            where = f"loader,addr={place.base:#x},force-raw=on,file={qemu_options.quote(paths[it])}"
            found += ["-device", where]
    return found


__all__ = (
    "LONGER_CORE",
    "NO_HASHES",
    "NO_SECRET",
    "OTHER_KEY",
    "PUBLISHED",
    "STARTS",
    "Launch",
    "options",
    "read",
)
