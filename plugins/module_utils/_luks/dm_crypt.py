# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The dm_crypt backend: ``cryptsetup open`` on a loop device for the container's region."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._luks import container
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    loop_devices,
    mounts,
    processes,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    MissingToolError,
    Runner,
    SealedRootError,
)

CONTROL = f"{mounts.MAPPER_DIR}/control"
# How long to wait for another user of a mapping before giving up.
BUSY_SECONDS = 10.0
PAUSE = 0.2
# cryptsetup(8): "device already exists or device is busy".
_BUSY = 5


def unusable(runner: Runner) -> t.Optional[str]:
    """Open and close a small plain mapping, as a real test.

    A listed target or an existing /dev/mapper proves nothing: the module may be missing, or a
    container may not be permitted to use it.
    """
    try:
        cryptsetup = runner.find("cryptsetup")
    except MissingToolError as exc:
        return str(exc)
    if not _has_device_mapper():
        with contextlib.suppress(MissingToolError):
            runner.run([runner.find("modprobe"), "dm_crypt"], check=False, timeout=20)
        if not _has_device_mapper():
            return f"the kernel has no device-mapper ({CONTROL} cannot be opened)"
    with tempfile.NamedTemporaryFile(prefix="sealedroot-probe-") as probe:
        probe.truncate(1 << 20)
        name = os.path.basename(probe.name)
        argv = [cryptsetup, "open", "--type", "plain", "--cipher", "aes-xts-plain64"]
        argv += ["--key-size", "512", "--hash", "sha256", "--key-file", "-", probe.name, name]
        opened = runner.run(argv, stdin=b"probe", check=False, timeout=20)
        if opened.rc != 0:
            # The first line has the cause; the last one is about the name.
            reason = (opened.stderr.strip().splitlines() or ["no output"])[0]
            return f"a test mapping could not be opened ({reason})"
        runner.run([cryptsetup, "close", name], timeout=20)
    return None


def _has_device_mapper() -> bool:
    """Open the control node: libdevmapper creates the node even if the kernel has no driver for it."""
    try:
        os.close(os.open(CONTROL, os.O_RDWR))
    except OSError:
        return False
    return True


def is_open(runner: Runner, *, path: str, offset: int, name: str) -> bool:
    """Say whether *name* is a mapping of this container; raise an error if it maps another one."""
    device = _device(runner, name)
    if not device:
        if os.path.lexists(f"{mounts.MAPPER_DIR}/{name}"):
            raise SealedRootError(
                f"{mounts.MAPPER_DIR}/{name} exists and is no mapping of dm-crypt: use another name"
            )
        return False
    # A module that reads the header can bind the same region a second time for a moment.
    ours = {loop.device for loop in loop_devices.find_all(runner, path=path, offset=offset)}
    if not offset:
        ours.add(os.path.realpath(path))
    if device not in ours:
        raise SealedRootError(
            f"{mounts.MAPPER_DIR}/{name} is open on {device}, not on {path} at offset {offset}: close it,"
            " or use another name"
        )
    return True


def _device(runner: Runner, name: str) -> str:
    """Return the device below the mapping *name*; empty if there is no such mapping."""
    status = runner.run([runner.find("cryptsetup"), "status", name], check=False, timeout=60)
    match = re.search(r"^\s*device:\s*(\S+)", status.stdout, re.MULTILINE)
    return match.group(1) if status.rc == 0 and match else ""


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
    """Open the container with discards allowed, so that trimmed blocks become holes."""
    device = path
    whole_device = loop_devices.is_block_device(path) and not offset and not size
    if not whole_device:
        device = loop_devices.attach(
            runner, path=path, offset=offset, size=size, read_only=read_only
        )
    argv = [runner.find("cryptsetup"), "open", "--type", "luks", "--allow-discards"]
    if read_only:
        argv.append("--readonly")
    argv += ["--key-file", key_file, device, name]
    result = runner.run(argv, check=False, timeout=300)
    if result.rc != 0:
        if not whole_device:
            loop_devices.detach(runner, device)
        if result.rc == 2:
            raise container.wrong_key(key_file, path)
        raise SealedRootError(f"cryptsetup could not open {path}: {result.stderr.strip()}")


def close_mapping(runner: Runner, *, path: str, offset: int, name: str) -> None:
    """Close the mapping and release the loop device below it."""
    device = _device(runner, name)
    close(runner, name)
    for loop in loop_devices.find_all(runner, path=path, offset=offset):
        if loop.device == device:
            loop_devices.detach(runner, device, inode=loop.inode)


def close(runner: Runner, name: str) -> None:
    """Close a mapping; wait for users that are about to end.

    A command of another build, in its own mount namespace, holds a copy of every mount that existed when
    it started, and udev opens devices to probe them.
    """
    argv = [runner.find("cryptsetup"), "close", name]
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        result = runner.run(argv, check=False, timeout=60)
        if result.rc == 0:
            return
        if result.rc != _BUSY:
            raise CommandError(argv, result)
        if time.monotonic() > deadline:
            node = f"{mounts.MAPPER_DIR}/{name}"
            who = processes.holders(os.stat(node).st_rdev)
            raise SealedRootError(
                f"{node} is in use by {who}: unmount what is on it, and end what uses it"
            )
        time.sleep(PAUSE)


__all__ = ("close", "close_mapping", "is_open", "open_mapping", "unusable")
