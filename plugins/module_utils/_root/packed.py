# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Look into the root in a tar."""

from __future__ import annotations

import concurrent.futures
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._root import look, tar
from ansible_collections.sealedroot.image.plugins.module_utils._system import file_kind
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.digest import (
    check_digest,
    sha256,
)


def describe(
    runner: Runner,
    path: str,
    params: t.Mapping[str, t.Any],
    *,
    digest: t.Optional[str],
) -> t.Dict[str, t.Any]:
    """Describe the root in a tar and the tar itself; the notes about the root are warnings, too.

    *params* has what look.describe() asks for, and ``get_checksum``. With *digest*, the tar must have that SHA-256.
    """
    problem = file_kind.problem(path, file_kind.FILE)
    if problem:
        raise SealedRootError(f"the root tar {path} {problem}")
    # Hash while tar runs, but check a given digest before tar reads the file.
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        is_hashed = digest is not None or params["get_checksum"]
        hashing = pool.submit(sha256, path) if is_hashed else None
        if hashing and digest is not None:
            check_digest(path, hashing.result(), digest)
        compression = tar.compression_of(runner, path)
        members = tar.listing(runner, path, compression)
        wanted = look.wanted(members, params["families"], signed=bool(params["secure_boot"]))
        data = tar.contents(runner, path, members, wanted, most=look.MOST)
        root = look.describe(path, members, data, **look.asked(params))
        found = hashing.result() if hashing else ""
    return {
        "root": root,
        "tar": {"path": path, "sha256": found, "compression": compression},
        "warnings": [f"{path}: {it}" for it in root["notes"]],
    }


__all__ = ("describe",)
