# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Asks tar(1) what is in a tar of a root."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._root import (
    contents as root_contents,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    OutputLimitError,
    Runner,
    SealedRootError,
)

TAR_SECONDS = 1800
# What tar may print of a root's names, in bytes: some two million of them.
MOST_LISTED = 256 << 20
# What it may say beside the files that it was asked for.
MESSAGES = 1 << 20
_TRUNCATED = re.compile(
    r"unexpected (eof|end)|truncated|premature end|unexpected end of (file|input)", re.IGNORECASE
)


def listing(runner: Runner, path: str) -> t.List[root_contents.Member]:
    """List the tar; tar's own exit status tells a truncated or foreign file."""
    argv = [runner.find("tar"), "--list", "--verbose", "--block-number", "--numeric-owner"]
    argv += ["--quoting-style=escape", "--file", path]
    try:
        result = runner.run(argv, check=False, timeout=TAR_SECONDS, most=MOST_LISTED)
    except OutputLimitError:
        raise SealedRootError(
            f"the names in {path} take more than {regular_file.size(MOST_LISTED)}, so it is no tar of a root: pack"
            " it again"
        ) from None
    if _TRUNCATED.search(result.stderr):
        raise SealedRootError(f"{path} is truncated: get the file again")
    if result.rc != 0:
        said = (result.stderr.strip() or "no reason given").splitlines()[0]
        raise SealedRootError(
            f"{path} is not a tar that tar(1) on the builder can read ({said}): pack it again"
        )
    try:
        members = root_contents.parse_listing(result.stdout)
    except SealedRootError as exc:
        raise SealedRootError(f"{path} cannot be used: {exc}. Get the file again") from exc
    if not members:
        raise SealedRootError(f"{path} is a tar with nothing in it: pack it again")
    return members


def contents(
    runner: Runner,
    path: str,
    members: t.Sequence[root_contents.Member],
    wanted: t.Iterable[t.Sequence[str]],
    *,
    most: int,
) -> t.Dict[str, bytes]:
    """Extract files in one pass: of each of *wanted* the first name that is there, of *most* bytes at the most.

    tar writes them in the order of the archive.
    """
    picked = [root_contents.pick(members, names) for names in wanted]
    raws = {member.raw for member in picked if member}
    if not raws:
        return {}
    expected = 0
    for member in members:
        if member.type == "-" and member.raw in raws:
            # A sparse member takes nothing in the tar, and all of its size when it is read.
            if member.size > most:
                raise SealedRootError(
                    f"{path} cannot be used: its {member.name} has {member.size} bytes, and more than"
                    f" {regular_file.size(most)} are no file of that name. Pack the root again"
                )
            expected += member.size
    if expected > MOST_LISTED:
        raise SealedRootError(f"{path} has one file too many times: pack the root again")
    argv = [runner.find("tar"), "--extract", "--to-stdout", "--file", path, *sorted(raws)]
    result = runner.run(argv, timeout=TAR_SECONDS, most=expected + MESSAGES)
    data = result.stdout.encode("utf-8", "surrogateescape")
    found, start = {}, 0
    # A member can be there twice: the last one counts, as it does for who unpacks it.
    for member in members:
        if member.type == "-" and member.raw in raws:
            found[member.name] = data[start : start + member.size]
            start += member.size
    return found


__all__ = ("contents", "listing")
