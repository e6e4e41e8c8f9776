# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Files through commands, in pieces, so that one may be larger than the memory of the controller.

*run* takes a line of shell and its standard input and returns standard output; a failure is its exception.
"""

from __future__ import annotations

import shlex
import typing as t

Run = t.Callable[[str, bytes], bytes]
CHUNK = 8 << 20


def fetch(run: Run, path: str, target: t.BinaryIO) -> None:
    """Write what the file *path* holds into *target*."""
    index = 0
    while True:
        data = run(_piece(path, index), b"")
        target.write(data)
        index += 1
        if len(data) < CHUNK:
            break


def fetch_sparse(run: Run, path: str, target: t.BinaryIO) -> None:
    """Write what the file *path* holds into *target*, which is new; pieces of nothing but zeros become holes."""
    name = shlex.quote(path)
    size = int(run(f"stat --dereference --format=%s {name}", b""))
    last = size // CHUNK
    # One command looks at all of them: by ssh each one takes 0.1 s. Where there is no cmp(1), all of them are sent.
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
