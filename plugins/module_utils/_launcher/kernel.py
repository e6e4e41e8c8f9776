# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""System calls for which the standard library has no function, in the oldest Python of a builder; and settings."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

NEW_MOUNTS, NEW_USERS = 0x00020000, 0x10000000
NEW_PROCESSES, NEW_NETWORK = 0x20000000, 0x40000000
READ_ONLY, NO_SETUID, REMOUNT = 1, 2, 0x20
BIND, RECURSIVE = 0x1000, 0x4000
SIGKILL = 9

_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH, _MOUNT_ATTR_IDMAP = 1, 4, 0x00100000
# These numbers are the same on every architecture.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_KEYCTL_JOIN_SESSION_KEYRING = 1
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, what: str) -> int:
    """Return the result of a system call, or raise the kernel's error."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Move this process into new namespaces (unshare(2))."""
    _check(_libc.unshare(flags), "unshare")


def enter_user_namespace(namespace: int) -> None:
    """Move this process into the user namespace with the descriptor *namespace* (setns(2))."""
    _check(_libc.setns(namespace, NEW_USERS), "setns")


def mount(source: str, target: str, *, kind: str = "", flags: int = 0, options: str = "") -> None:
    """Mount *source* at *target* (mount(2))."""
    names = (os.fsencode(source), os.fsencode(target), kind.encode() or None)
    result = _libc.mount(*names, ctypes.c_ulong(flags), options.encode() or None)
    _check(result, f"mount {target}")


def make_mounts_private() -> None:
    """Keep the mounts of this process's namespace from reaching the builder's."""
    mount("none", "/", flags=RECURSIVE | _MS_PRIVATE)


def detach(path: str) -> None:
    """Unmount *path*, in use or not. An error is ignored: what was mounted below an earlier path is already gone."""
    _libc.umount2(os.fsencode(path), _MNT_DETACH)


def clone_mount(path: str, namespace: int = -1) -> int:
    """Return a descriptor of a new mount of *path*, with the ids of *namespace* (mount_setattr(2))."""
    flags = ctypes.c_uint(_OPEN_TREE_CLONE | os.O_CLOEXEC)
    tree = _check(
        _libc.syscall(_OPEN_TREE, _AT_FDCWD, path.encode(), flags),
        f"mount {path}",
    )
    if namespace >= 0:
        attributes = struct.pack("QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, namespace)
        size = ctypes.c_size_t(len(attributes))
        call = (_MOUNT_SETATTR, tree, b"", ctypes.c_uint(_AT_EMPTY_PATH), attributes, size)
        _check(_libc.syscall(*call), f"map the ids of {path}")
    return tree


def attach_mount(tree: int, target: str) -> None:
    """Mount what :func:`clone_mount` returned at *target*."""
    empty = ctypes.c_uint(_MOVE_MOUNT_F_EMPTY_PATH)
    call = (_MOVE_MOUNT, tree, b"", _AT_FDCWD, target.encode(), empty)
    _check(_libc.syscall(*call), f"mount {target}")
    os.close(tree)


def join_session_keyring(number: int) -> None:
    """Leave the keyring of the session that started us; *number* is keyctl(2)'s on this architecture."""
    try:
        _check(_libc.syscall(number, _KEYCTL_JOIN_SESSION_KEYRING, None), "keyctl")
    except OSError as exc:
        # The kernel has no keyrings, or a container's filter forbids them.
        if exc.errno not in (errno.ENOSYS, errno.EPERM):
            raise


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, SIGKILL)


def set_command_line(title: str) -> None:
    """Show *title* as this process's command line (proc_pid_cmdline(5)), cut to the room that is there."""
    with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
        fields = file.read().rpartition(")")[2].split()
    # arg_start and arg_end (proc_pid_stat(5)), counted from the state on.
    start, end = int(fields[45]), int(fields[46])
    shown = title.encode()[: end - start - 1]
    ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


def write(path: str, text: str) -> None:
    """Write a setting of the kernel."""
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
