# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The userspace backend: no device-mapper, only FUSE and loop.

``qemu-storage-daemon`` opens the region with its LUKS driver and exports the payload as a file, a loop
device makes that a block device, and a node of the mapping's name points to the loop device. Measured in
TECH 3.4: direct I/O on the loop device doubles the throughput, and the raw file as base is three times as
fast as a loop device as base.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils import _loop
from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    MissingToolError,
    Runner,
    SealedRootError,
)

STOP_SECONDS = 60
DAEMON = "qemu-storage-daemon"


def unusable(runner: Runner) -> t.Optional[str]:
    """Say what of FUSE, loop and the daemon is missing."""
    try:
        runner.find(DAEMON)
    except MissingToolError as exc:
        return str(exc)
    for node in ("/dev/fuse", "/dev/loop-control"):
        try:
            # Opening is the probe: the node can be there and its driver or the right to it not.
            os.close(os.open(node, os.O_RDWR))
        except OSError as exc:
            return f"{node} cannot be opened ({exc.strerror})"
    return None


def daemon_argv(
    *, daemon: str, path: str, offset: int, size: int, payload: str, key_file: str, read_only: bool
) -> t.List[str]:
    """The chain file -> region -> LUKS -> FUSE export, discards passing all the way."""
    mode = ",read-only=on" if read_only else ""
    region = f"driver=raw,node-name=region,file=file,offset={offset}{mode}"
    if size:
        region += f",size={size}"
    return [
        daemon,
        *("--object", f"secret,id=key,file={_quote(key_file)}"),
        *(
            "--blockdev",
            f"driver=file,node-name=file,filename={_quote(path)},discard=unmap{mode}",
        ),
        *("--blockdev", f"{region},discard=unmap"),
        *(
            "--blockdev",
            f"driver=luks,node-name=luks,file=region,key-secret=key,discard=unmap{mode}",
        ),
        *(
            "--export",
            f"type=fuse,id=export,node-name=luks,mountpoint={_quote(payload)}"
            f",writable={'off' if read_only else 'on'},growable=off,allow-other=off",
        ),
        "--daemonize",
    ]


def _quote(value: str) -> str:
    """QEMU's option syntax doubles a comma inside a value."""
    return value.replace(",", ",,")


def is_open(runner: Runner, *, payload: str, node: str) -> bool:
    """Say whether *node* is the loop device on *payload*; anything else there is an error."""
    try:
        info = os.stat(node)
    except FileNotFoundError:
        return False
    loop = _loop.find(runner, path=payload) if os.path.exists(payload) else None
    if loop and stat.S_ISBLK(info.st_mode) and os.stat(loop.device).st_rdev == info.st_rdev:
        return True
    raise SealedRootError(f"{node} exists and is not open on this container: use another name")


def open_mapping(
    runner: Runner,
    *,
    path: str,
    offset: int,
    size: int,
    payload: str,
    node: str,
    key_file: str,
    read_only: bool,
) -> None:
    """Start the daemon, bind a loop device to its export and make the node."""
    os.close(os.open(payload, os.O_CREAT | os.O_WRONLY, 0o600))
    argv = daemon_argv(
        daemon=runner.find(DAEMON),
        path=path,
        offset=offset,
        size=size,
        payload=payload,
        key_file=key_file,
        read_only=read_only,
    )
    # --daemonize returns once the export is there.
    started = runner.run(argv, check=False, timeout=60)
    if started.rc != 0:
        os.unlink(payload)
        said = started.stderr.strip()
        if "Invalid password" in said:
            raise SealedRootError(f"the key in {key_file} does not open the container in {path}")
        raise SealedRootError(f"qemu-storage-daemon could not open {path}: {said}")
    try:
        device = _loop.attach(runner, path=payload, read_only=read_only, direct_io=True)
        os.makedirs(os.path.dirname(node), exist_ok=True)
        os.mknod(node, 0o600 | stat.S_IFBLK, os.stat(device).st_rdev)
    except (SealedRootError, OSError) as exc:
        close_mapping(runner, payload=payload, node=node)
        raise SealedRootError(f"{node} could not be made: {exc}") from exc


def close_mapping(runner: Runner, *, payload: str, node: str) -> None:
    """Undo open_mapping, from whatever point it reached."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(node)
    if not os.path.exists(payload):
        return
    loop = _loop.find(runner, path=payload)
    if loop:
        _loop.detach(runner, loop.device)
    for pid in daemons(payload):
        stop(pid)
    os.unlink(payload)


def daemons(path: str) -> t.List[int]:
    """The storage daemons whose command line names *path* or something below it."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as handle:
                argv = handle.read().decode("utf-8", "surrogateescape").split("\0")
        except OSError:
            continue  # ended meanwhile
        if os.path.basename(argv[0]) != DAEMON:
            continue
        values = [
            value.split("=", 1)[-1]
            for word in argv
            for value in word.replace(",,", "\0").split(",")
        ]
        names = [value.replace("\0", ",") for value in values]
        if any(name == path or name.startswith(f"{path}/") for name in names):
            found.append(int(entry))
    return found


def stop(pid: int) -> None:
    """End a daemon: it flushes on SIGTERM, so it gets the time that it needs and no SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while os.path.exists(f"/proc/{pid}") and not _is_zombie(pid):
        if time.monotonic() > deadline:
            raise SealedRootError(
                f"process {pid} (qemu-storage-daemon) did not end within {STOP_SECONDS} seconds"
            )
        time.sleep(0.02)


def _is_zombie(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as handle:
            return handle.read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


__all__ = (
    "DAEMON",
    "STOP_SECONDS",
    "close_mapping",
    "daemon_argv",
    "daemons",
    "is_open",
    "open_mapping",
    "stop",
    "unusable",
)
