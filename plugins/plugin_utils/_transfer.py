# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Transfer files by commands, in pieces, so that a file can be larger than the controller's memory.

*run* takes a line of shell and its standard input, returns standard output, and raises an exception on failure.
"""

from __future__ import annotations

import shlex
import typing as t

Run = t.Callable[[str, bytes], bytes]
CHUNK = 8 << 20


def fetch(run: Run, path: str, target: t.BinaryIO) -> None:
    """Write the content of the file *path* to *target*."""
    index = 0
    while True:
        data = run(_piece(path, index), b"")
        target.write(data)
        index += 1
        if len(data) < CHUNK:
            break


def fetch_sparse(run: Run, path: str, target: t.BinaryIO) -> None:
    """Write the content of the file *path* to the empty *target*; pieces with only zeros become holes."""
    name = shlex.quote(path)
    size = int(run(f"stat --dereference --format=%s {name}", b""))
    last = size // CHUNK
    # One command finds all non-zero pieces, because each command takes 0.1 s by ssh. Without cmp(1) all are sent.
    filled = run(
        f"i=0; while [ $i -le {last} ]; do"
        f" cmp -s -n $((i < {last} ? {CHUNK} : {size % CHUNK})) -i $((i * {CHUNK})):0 {name} /dev/zero || echo $i;"
        " i=$((i + 1)); done",
        b"",
    )
    for index in map(int, filled.split()):
        target.seek(index * CHUNK)
        target.write(run(_piece(path, index), b""))
    target.truncate(size)


def _piece(path: str, index: int) -> str:
    return f"dd if={shlex.quote(path)} bs={CHUNK} skip={index} count=1 status=none"


__all__ = ("CHUNK", "fetch", "fetch_sparse")
