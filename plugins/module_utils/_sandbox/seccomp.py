# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The system calls that no program of an image may make: a filter that libseccomp(3) makes and bwrap loads.

libseccomp comes with every systemd, and knows the numbers of each architecture. Calls that only harm with a privilege
which the sandbox does not have are not here.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import socket
import tempfile
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

LIBRARY = "libseccomp.so.2"

# Keyrings, which belong to the user and not to the namespace; new namespaces and mounts; and calls that reach deep into
# the kernel and that no package manager needs.
REFUSED = (
    *("add_key", "keyctl", "request_key"),
    *("setns", "unshare"),
    *("fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount"),
    *("open_tree", "pivot_root", "umount", "umount2"),
    *("bpf", "fanotify_init", "io_uring_enter", "io_uring_register", "io_uring_setup"),
    *("kexec_file_load", "kexec_load", "lookup_dcookie", "open_by_handle_at"),
    *(
        "perf_event_open",
        "pidfd_getfd",
        "process_vm_readv",
        "process_vm_writev",
        "ptrace",
        "userfaultfd",
    ),
    *("acct", "delete_module", "finit_module", "init_module", "quotactl", "quotactl_fd"),
    *("reboot", "swapoff", "swapon", "syslog", "vhangup"),
    *("adjtimex", "clock_adjtime", "clock_settime", "settimeofday", "stime"),
    *("ioperm", "iopl", "modify_ldt", "nfsservctl", "uselib", "vm86", "vm86old"),
)
WATCHES = ("inotify_init", "inotify_init1")
# Programs then use the older calls: clone3 hides its flags from a filter, and io_setup uses up a limit of the whole
# builder.
UNKNOWN = ("clone3", "io_setup")
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME (clone(2)).
NAMESPACES = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80)
# TIOCSTI and TIOCLINUX type into a terminal; the others control loop devices (loop(4)).
IOCTLS = (0x5412, 0x541C, *range(0x4C00, 0x4C0B), 0x4C80, 0x4C81, 0x4C82)
# The others are in no network namespace, above all AF_VSOCK, or are of no use.
FAMILIES = (socket.AF_UNSPEC, socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
LAST_FAMILY = 64
# NETLINK_AUDIT and NETLINK_KOBJECT_UEVENT reach the builder from any network namespace. To programs the error means
# that the kernel does not have them.
AUDIT = 9
NETLINK = (AUDIT, 15)

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NOT_EQUAL, _NOT_LESS, _MASKED_EQUAL = 1, 5, 7
_RLIMIT_CORE = 4
_INT = 0xFFFFFFFF
# A second architecture of the same kernel, for which a root can have programs: its number in libseccomp.
_OTHERS = {"x86_64": (0x40000003,), "aarch64": (0x40000028,)}


class _Compare(ctypes.Structure):
    """``struct scmp_arg_cmp``."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def is_there() -> bool:
    """Say whether the library can be loaded."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def load() -> t.Any:
    """Load libseccomp, or say what to install."""
    try:
        library = ctypes.CDLL(LIBRARY, use_errno=True)
    except OSError:
        raise SealedRootError(
            f"{LIBRARY} is not on the builder: install libseccomp (libseccomp2 on Debian)"
        ) from None
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_init.argtypes = [ctypes.c_uint32]
    library.seccomp_rule_add_array.argtypes = [
        *(ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint),
        ctypes.POINTER(_Compare),
    ]
    library.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    library.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.seccomp_release.argtypes = [ctypes.c_void_p]
    return library


def number(library: t.Any, name: str) -> int:
    """Return the number of a system call; negative if the library does not know it."""
    return int(library.seccomp_syscall_resolve_name(name.encode()))


def export(
    library: t.Any,
    handle: int,
    machine: str,
    *,
    allowed: t.Sequence[int] = (),
    refused: t.Sequence[str] = (),
) -> None:
    """Write the filter to the open file *handle*, in the kernel's format (seccomp(2)).

    *machine* is the name that uname(2) gives, *allowed* are netlink protocols that are not refused, *refused* are
    additional system calls.
    """
    context = library.seccomp_init(_ALLOW)
    try:
        for other in _OTHERS.get(machine, ()):
            _check(library.seccomp_arch_add(context, other), "seccomp_arch_add")
        for name, refusal, *comparisons in _rules(allowed, refused):
            call = number(library, name)
            # A library that is older than the kernel does not know the newest calls, and takes no number
            # instead of a name. Those calls only harm with a capability that the sandbox does not have.
            if call == -1:
                continue
            count = len(comparisons)
            arguments = (_Compare * count)(*comparisons)
            _check(
                library.seccomp_rule_add_array(context, _ERRNO | refusal, call, count, arguments),
                name,
            )
        _check(library.seccomp_export_bpf(context, handle), "seccomp_export_bpf")
    finally:
        library.seccomp_release(context)


@contextlib.contextmanager
def exported(*, allowed: t.Sequence[int] = (), refused: t.Sequence[str] = ()) -> t.Iterator[str]:
    """Give the path of a file with the filter for this machine; *refused* are additional system calls."""
    with tempfile.NamedTemporaryFile(prefix="sealedroot-") as file:
        file.write(_program(os.uname().machine, tuple(allowed), tuple(refused)))
        file.flush()
        yield file.name


@functools.lru_cache(maxsize=None)
def _program(machine: str, allowed: t.Tuple[int, ...], refused: t.Tuple[str, ...]) -> bytes:
    """Return the filter. To make it takes some milliseconds, and an audit calls tools many times."""
    with tempfile.TemporaryFile() as file:
        export(load(), file.fileno(), machine, allowed=allowed, refused=refused)
        file.seek(0)
        return file.read()


def _rules(allowed: t.Sequence[int], refused: t.Sequence[str]) -> t.Iterator[t.Tuple[t.Any, ...]]:
    """Yield each call with its error and the conditions on its arguments.

    The kernel reads flags and requests as 32 bits, whatever the upper half of the register holds.
    """
    for name in (*REFUSED, *refused):
        yield name, errno.EPERM
    for name in UNKNOWN:
        yield name, errno.ENOSYS
    for flag in NAMESPACES:
        # In the flags of clone, the lowest byte is a signal, so CLONE_NEWTIME is not one of them.
        if flag > 0xFF:
            yield "clone", errno.EPERM, _Compare(0, _MASKED_EQUAL, flag, flag)
    for request in IOCTLS:
        yield "ioctl", errno.EPERM, _Compare(1, _MASKED_EQUAL, _INT, request)
    # Pretend success: with a lower limit than the one byte that the launcher left, the kernel would start the builder's
    # handler of crashes (core(5)).
    yield "setrlimit", 0, _Compare(0, _MASKED_EQUAL, _INT, _RLIMIT_CORE)
    yield (
        "prlimit64",
        0,
        _Compare(1, _MASKED_EQUAL, _INT, _RLIMIT_CORE),
        _Compare(2, _NOT_EQUAL, 0, 0),
    )
    for name in ("socket", "socketpair"):
        for family in range(LAST_FAMILY):
            if family not in FAMILIES:
                yield name, errno.EAFNOSUPPORT, _Compare(0, _MASKED_EQUAL, _INT, family)
        yield name, errno.EAFNOSUPPORT, _Compare(0, _NOT_LESS, LAST_FAMILY, 0)
    for protocol in set(NETLINK) - set(allowed):
        netlink = _Compare(0, _MASKED_EQUAL, _INT, socket.AF_NETLINK)
        yield "socket", errno.EPROTONOSUPPORT, netlink, _Compare(2, _MASKED_EQUAL, _INT, protocol)


def _check(result: int, what: str) -> None:
    if result < 0:
        raise SealedRootError(f"libseccomp refuses {what}: {os.strerror(-result)}")


__all__ = (
    "AUDIT",
    "IOCTLS",
    "LIBRARY",
    "REFUSED",
    "WATCHES",
    "export",
    "exported",
    "is_there",
    "load",
    "number",
)
