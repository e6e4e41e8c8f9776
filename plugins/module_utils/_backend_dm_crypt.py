# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The dm_crypt backend: ``cryptsetup open`` on a loop device of the container's region."""

from __future__ import annotations

import os
import re
import tempfile
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils import _loop
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    MissingToolError,
    Runner,
    SealedRootError,
)


def unusable(runner: Runner) -> t.Optional[str]:
    """Open and close a small plain mapping for real.

    A listed target or an existing /dev/mapper proves nothing: the module may be missing, or a
    container may have no right to use it.
    """
    try:
        cryptsetup = runner.find("cryptsetup")
    except MissingToolError as exc:
        return str(exc)
    if not os.path.exists("/dev/mapper/control"):
        # Only a missing control node is conclusive without a probe; loading dm_mod makes it.
        runner.run(["modprobe", "dm_crypt"], check=False, timeout=20)
        if not os.path.exists("/dev/mapper/control"):
            return "the kernel has no device-mapper (/dev/mapper/control is missing)"
    with tempfile.NamedTemporaryFile(prefix="sealedroot-probe-") as probe:
        probe.truncate(1 << 20)
        name = os.path.basename(probe.name)
        argv = [cryptsetup, "open", "--type", "plain", "--cipher", "aes-xts-plain64"]
        argv += ["--key-size", "512", "--hash", "sha256", "--key-file", "-", probe.name, name]
        opened = runner.run(argv, stdin=b"probe", check=False, timeout=20)
        if opened.rc != 0:
            said = (opened.stderr.strip().splitlines() or ["no output"])[-1]
            return f"a test mapping could not be opened ({said})"
        runner.run([cryptsetup, "close", name], timeout=20)
    return None


def is_open(runner: Runner, *, path: str, offset: int, name: str) -> bool:
    """Say whether *name* is a mapping of this container; of another one is an error."""
    status = runner.run([runner.find("cryptsetup"), "status", name], check=False)
    if status.rc != 0:
        return False
    match = re.search(r"^\s*device:\s*(\S+)", status.stdout, re.MULTILINE)
    device = match.group(1) if match else "an unknown device"
    loop = None if _loop.is_block_device(path) else _loop.find(runner, path=path, offset=offset)
    ours = loop.device if loop else os.path.realpath(path)
    if device != ours:
        raise SealedRootError(
            f"/dev/mapper/{name} is open on {device}, not on {path}: close it, or use another name"
        )
    return True


def open_mapping(
    runner: Runner,
    *,
    path: str,
    offset: int,
    size: int,
    name: str,
    key_file: str,
    read_only: bool,
) -> None:
    """Open the container; discards pass through, so that trimmed blocks become holes again."""
    device = path
    whole_device = _loop.is_block_device(path) and not offset and not size
    if not whole_device:
        device = _loop.attach(runner, path=path, offset=offset, size=size, read_only=read_only)
    argv = [runner.find("cryptsetup"), "open", "--type", "luks", "--allow-discards"]
    if read_only:
        argv.append("--readonly")
    argv += ["--key-file", key_file, device, name]
    result = runner.run(argv, check=False, timeout=300)
    if result.rc != 0:
        if not whole_device:
            _loop.detach(runner, device)
        if result.rc == 2:
            raise SealedRootError(f"the key in {key_file} does not open the container in {path}")
        raise SealedRootError(f"cryptsetup could not open {path}: {result.stderr.strip()}")


def close_mapping(runner: Runner, *, path: str, offset: int, name: str) -> None:
    """Close the mapping and release the loop device under it."""
    runner.run([runner.find("cryptsetup"), "close", name], timeout=60)
    if _loop.is_block_device(path) and not offset:
        return
    loop = _loop.find(runner, path=path, offset=offset)
    if loop:
        _loop.detach(runner, loop.device)


__all__ = ("close_mapping", "is_open", "open_mapping", "unusable")
