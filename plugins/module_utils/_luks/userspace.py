# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The userspace backend: FUSE and loop devices, no device-mapper.

``qemu-storage-daemon`` opens the region with its LUKS driver and exports the payload as a file. A loop
device makes that file a block device, and a node with the mapping's name points to the loop device. The driver
knows only LUKS1; a LUKS2 container is shown to it as LUKS1 (``luks1_view.py``), which is as fast. Direct I/O
and a plain file as base make it fast (docs/facts.md: qemu-luks).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    container,
    luks1_view,
    metadata,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    loop_devices,
    mounts,
    processes,
    qemu_options,
    storage_daemon,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    MissingToolError,
    Runner,
    SealedRootError,
)

# A command that another build has just started, in its own mount namespace, holds a copy of every mount.
BUSY_SECONDS = 10.0


def unusable(runner: Runner) -> t.Optional[str]:
    """Say which of FUSE, loop devices and the daemon is missing."""
    try:
        runner.find(storage_daemon.DAEMON)
    except MissingToolError as exc:
        return str(exc)
    for node in ("/dev/fuse", "/dev/loop-control"):
        try:
            # Open it: the node can exist without its driver, or without the permission to use it.
            os.close(os.open(node, os.O_RDWR))
        except OSError as exc:
            return f"{node} cannot be opened ({exc.strerror})"
    return None


def daemon_argv(
    *,
    daemon: str,
    path: str,
    offset: int,
    size: int,
    payload: str,
    key_file: str,
    read_only: bool,
    descriptor: str = "",
) -> t.List[str]:
    """Return the command for the chain file -> region -> LUKS -> FUSE export, with discards passed through.

    *descriptor*, if given, defines the region.
    """
    mode = ",read-only=on" if read_only else ""
    driver = "host_device" if loop_devices.is_block_device(path) else "file"
    file = f"driver={driver},node-name=file,filename={qemu_options.quote(path)}"
    region = f"driver=raw,offset={offset}" + (f",size={size}" if size else "")
    if descriptor:
        file, region = f"driver=file,node-name=file,filename={descriptor}", "driver=vmdk"
    name = _region(offset)
    blockdevs = (
        f"{file},discard=unmap{mode}",
        f"{region},node-name={name},file=file,discard=unmap{mode}",
        f"driver=luks,node-name=luks,file={name},key-secret=key,discard=unmap{mode}",
    )
    return storage_daemon.argv(
        daemon,
        blockdevs,
        node="luks",
        mountpoint=payload,
        writable=not read_only,
        key_file=key_file,
    )


def _region(offset: int) -> str:
    """Return the node name, which tells this region's daemon from daemons for other regions of the file."""
    return f"region-{offset}"


def takes_key(key_file: str) -> bool:
    """Say whether QEMU's LUKS driver can use the key: it accepts only UTF-8 text without NUL."""
    with open(key_file, "rb") as handle:
        key = handle.read()
    try:
        return "\0" not in key.decode("utf-8")
    except UnicodeDecodeError:
        return False


def state(runner: Runner, *, path: str, offset: int, payload: str, node: str) -> str:
    """Return open, closed or broken; raise an error if *node* is anything else, or another container."""
    loops, pids = _loops(runner, payload), storage_daemon.daemons(payload)
    if os.path.lexists(node):
        info = os.stat(node) if os.path.exists(node) else os.lstat(node)
        if not stat.S_ISBLK(info.st_mode) or info.st_rdev not in _numbers(loops):
            raise SealedRootError(f"{node} exists and is not open on {path}: use another name")
        if not pids:
            return "broken"
        if not all(_serves(pid, path, offset) for pid in pids):
            raise SealedRootError(
                f"{node} is open, but not on {path} at offset {offset}: close it, or use another name"
            )
        return "open"
    if _nodes(_numbers(loops), node):
        return "closed"  # the work directory belongs to another open container
    return "broken" if loops or pids or _is_mounted(payload) else "closed"


def _loops(runner: Runner, payload: str) -> t.List[loop_devices.Loop]:
    """Return the loop devices on the export, found by path: the inode cannot be read once the daemon is dead."""
    return [loop for loop in loop_devices.list_all(runner) if loop.backing_file == payload]


def _numbers(loops: t.Sequence[loop_devices.Loop]) -> t.List[int]:
    return [os.stat(loop.device).st_rdev for loop in loops]


def _nodes(numbers: t.Sequence[int], node: str) -> t.List[str]:
    """Return the nodes other than *node* of the block devices with these *numbers*."""
    directory = os.path.dirname(node)
    nodes = []
    for name in sorted(os.listdir(directory)) if numbers else []:
        with contextlib.suppress(FileNotFoundError):
            info = os.lstat(os.path.join(directory, name))
            if stat.S_ISBLK(info.st_mode) and info.st_rdev in numbers:
                nodes.append(os.path.join(directory, name))
    return nodes


def _is_mounted(payload: str) -> bool:
    return any(mount.path == payload for mount in mounts.read())


def _serves(pid: int, path: str, offset: int) -> bool:
    """Say whether a daemon has this region open. Check its file descriptors, because files can be renamed."""
    wanted = os.stat(path)
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as handle:
            words = handle.read().split(b"\0")
        files = [os.stat(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return False  # the daemon has ended
    begins = any(f"node-name={_region(offset)}".encode() in word.split(b",") for word in words)
    return begins and any(
        os.path.samestat(it, wanted)
        or (stat.S_ISBLK(wanted.st_mode) and it.st_rdev == wanted.st_rdev)
        for it in files
    )


def open_mapping(
    runner: Runner,
    *,
    path: str,
    offset: int,
    size: int,
    header: metadata.Header,
    payload: str,
    node: str,
    key_file: str,
    read_only: bool,
) -> None:
    """Start the daemon, bind a loop device to its export and create the node."""
    with contextlib.ExitStack() as stack:
        descriptor = ""
        if header.type == "luks2":
            view = luks1_view.descriptor(
                runner, path=path, offset=offset, size=size, payload_offset=header.payload_offset
            )
            descriptor = stack.enter_context(view)
        _claim(runner, payload, node)
        argv = daemon_argv(
            daemon=runner.find(storage_daemon.DAEMON),
            path=path,
            offset=offset,
            size=size,
            payload=payload,
            key_file=key_file,
            read_only=read_only,
            descriptor=descriptor,
        )
        # With --daemonize it returns once the export is there.
        started = runner.run(argv, check=False, timeout=60)
    if started.rc != 0:
        _release(runner, payload)
        reason = started.stderr.strip()
        if "Invalid password" in reason:
            raise container.wrong_key(key_file, path)
        raise SealedRootError(f"qemu-storage-daemon could not open {path}: {reason}")
    try:
        device = loop_devices.attach(runner, path=payload, read_only=read_only, direct_io=True)
        os.makedirs(os.path.dirname(node), exist_ok=True)
        number = os.stat(device).st_rdev
        # The device was free, so any other node for it belongs to a container that is gone.
        for stale in _nodes([number], node):
            os.unlink(stale)
        os.mknod(node, 0o600 | stat.S_IFBLK, number)
    except (SealedRootError, OSError) as exc:
        # Do not remove the node: another process has just made it.
        _release(runner, payload)
        raise SealedRootError(f"{node} could not be made: {exc}") from exc


def _claim(runner: Runner, payload: str, node: str) -> None:
    """Create the mount point of the export; refuse one that another container uses, or a file of the user."""
    if _is_mounted(payload):
        users = ", ".join(_nodes(_numbers(_loops(runner, payload)), node)) or "an open container"
        raise SealedRootError(
            f"the work_dir {os.path.dirname(payload)} is in use by {users}: give each container its own"
        )
    with contextlib.suppress(FileNotFoundError):
        info = os.lstat(payload)
        if not stat.S_ISREG(info.st_mode) or info.st_size:
            raise SealedRootError(
                f"{payload} is a file of yours: move it away, or use another work_dir"
            )
    os.close(os.open(payload, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600))


def close_mapping(runner: Runner, *, path: str, payload: str, node: str) -> None:
    """Undo open_mapping, also a partial one; raise an error if a write was lost."""
    lost = [error for error in map(_flush, _loops(runner, payload)) if error]
    with contextlib.suppress(FileNotFoundError):
        os.unlink(node)
    _release(runner, payload)
    if lost:
        raise SealedRootError(
            f"{path} is closed, but not all of it could be written ({lost[0]}), so what is in it is"
            " damaged: see to the space and health of its disk, and make it anew"
        )


def _flush(loop: loop_devices.Loop) -> str:
    """Write out the device's cache; return an error message if that fails. Raise an error if the device is in use."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            # O_EXCL fails if a file system on the device is mounted.
            handle = os.open(loop.device, os.O_RDONLY | os.O_EXCL)
            break
        except OSError as exc:
            if exc.errno != errno.EBUSY:
                return str(exc.strerror)
            if time.monotonic() > deadline:
                who = processes.holders(os.stat(loop.device).st_rdev)
                raise SealedRootError(
                    f"{loop.device} on {loop.backing_file} is in use by {who}: unmount what is on"
                    " it, and end what uses it"
                ) from exc
        time.sleep(0.02)
    try:
        os.fsync(handle)
    except OSError as exc:
        return str(exc.strerror)
    finally:
        os.close(handle)
    return ""


def _release(runner: Runner, payload: str) -> None:
    """Detach the loop devices, stop the daemon, and remove the mount point."""
    for loop in _loops(runner, payload):
        loop_devices.detach(runner, loop.device, inode=loop.inode)
    for pid in storage_daemon.daemons(payload):
        storage_daemon.stop(pid)
    while _is_mounted(payload):  # a killed daemon leaves its mount
        runner.run([runner.find("umount"), payload], timeout=60)
    with contextlib.suppress(FileNotFoundError):
        if not os.lstat(payload).st_size:
            os.unlink(payload)


__all__ = (
    "BUSY_SECONDS",
    "close_mapping",
    "daemon_argv",
    "open_mapping",
    "state",
    "takes_key",
    "unusable",
)
