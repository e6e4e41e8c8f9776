# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Say what is wrong with a compressed file that cannot be used, as text to follow its name."""

from __future__ import annotations

import shlex

from ansible_collections.sealedroot.image.plugins.module_utils._disk import formats
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    MissingToolError,
    Runner,
)

TEST_SECONDS = 1800


def unpack(path: str, compression: str) -> str:
    """Say how to unpack a file in which a disk is."""
    command = f"{formats.UNPACKED_BY[compression]} {shlex.quote(path)}"
    return f"unpack it ({command}), and give the result with the type disk"


def broken(runner: Runner, path: str, compression: str) -> str:
    """Say that a file was cut off or is damaged, as its own program finds; empty if it is whole or that is missing.

    tar(1) does not say so where what is compressed is no tar: it stops reading before the end.
    """
    if compression == "none":
        return ""
    # The option is the same in all of them.
    program = formats.UNPACKED_BY[compression].split()[0]
    try:
        argv = [runner.find(program), "-t", path]
    except MissingToolError:
        return ""
    result = runner.run(argv, check=False, timeout=TEST_SECONDS)
    if result.rc == 0:
        return ""
    said = (result.stderr.strip() or result.stdout.strip() or "no reason given").splitlines()[-1]
    return (
        f"is compressed with {compression}, and was cut off or is damaged ({said.strip()}): get the file again. If a"
        f" disk is in it, then {unpack(path, compression)}"
    )


def no_tar(runner: Runner, path: str, compression: str, reason: str) -> str:
    """Say what a compressed file is in which tar(1) found no archive, for the *reason* that it gave."""
    return broken(runner, path, compression) or (
        f"is compressed with {compression}, and what is in it is not a tar that tar(1) on the builder can read"
        f" ({reason}). If it is a disk, {unpack(path, compression)}"
    )


__all__ = ("broken", "no_tar", "unpack")
