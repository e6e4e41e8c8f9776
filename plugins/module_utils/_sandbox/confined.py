# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Tools and programs that read what an image wrote, confined by bubblewrap.

A tool of this machine that reads a foreign file system interprets data that an attacker may have written. It sees the
programs of this machine, the device, and one directory if it has to write: no other file, no network, no other
process. A program of the image that reads the image sees that and nothing else. Neither has a capability that it does
not need, and both get the filter of system calls that the programs of an image get during a build.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._launcher import bwrap, limits
from ansible_collections.sealedroot.image.plugins.module_utils._sandbox import seccomp
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    CommandError,
    Result,
    Runner,
    SealedRootError,
)

DEVICE = "/image"
OUTPUT = "/output"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/ld.so.conf")
_TABLES = ("/proc/mounts", "/proc/self/mounts")
# To give a file its owner and mode in the image, and still write below it.
_WRITER = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER")
# Enters the control groups, and opens the filter for bwrap. The environment is empty, also for bwrap.
_ENTER = (
    'while [ "$1" != -- ]; do echo $$ >"$1" || exit; shift; done; shift; exec env -i "$@" 9<"$0"'
)
# Numbers of this process's control groups.
_numbers = itertools.count()
# The filter and the control group of all tools that run now, inside together().
_shared: t.List[t.Tuple[str, t.List[str]]] = []
_CONFINED = (
    "--die-with-parent",
    "--new-session",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
)


def run_tool(
    runner: Runner,
    device: str,
    command: t.Sequence[str],
    *,
    output: t.Optional[str] = None,
    stdin: t.Optional[bytes] = None,
    check: bool = True,
    timeout: int,
) -> Result:
    """Run a tool of this machine, which sees *device* as DEVICE, and the directory *output* as OUTPUT."""
    around = contextlib.nullcontext(_shared[-1]) if _shared else _around()
    with around as (filter_path, lists):
        argv = tool_argv(runner, filter_path, lists, device, command, output=output)
        result = runner.run(argv, stdin=stdin, check=False, timeout=timeout)
    if check and result.rc != 0:
        raise CommandError(command, result)
    return result


def run_program(runner: Runner, root: str, command: t.Sequence[str], *, timeout: int) -> Result:
    """Run a program of the image that only reads the image at *root*."""
    # setfiles ends if it cannot open the audit log; to write there it would need a capability, which it does not get.
    with _around(allowed=[seccomp.AUDIT]) as (filter_path, lists):
        argv = program_argv(runner, filter_path, lists, root, command)
        return runner.run(argv, check=False, timeout=timeout)


@contextlib.contextmanager
def together() -> t.Iterator[None]:
    """Run every tool meanwhile in the same control group: making one costs nearly as much as reading a directory."""
    with _around() as around:
        _shared.append(around)
        try:
            yield
        finally:
            _shared.remove(around)


@contextlib.contextmanager
def _around(*, allowed: t.Sequence[int] = ()) -> t.Iterator[t.Tuple[str, t.List[str]]]:
    """Give the path of the system call filter, and the files by which to enter the control groups, if there are any."""
    group = limits.ControlGroup(f"{os.getpid()}.{next(_numbers)}")
    group.remove_later()
    try:
        group.make()
        # The limit on root's watches is shared with the builder, and these programs need none.
        with seccomp.exported(allowed=allowed, refused=seccomp.WATCHES) as filter_path:
            yield filter_path, group.lists
    finally:
        group.close()


def _bwrap(runner: Runner, filter_path: str, lists: t.Sequence[str]) -> t.List[str]:
    """Return the beginning of the command; its limit on core files is the one that starts no handler (core(5))."""
    core = limits.core_limit_here()
    if core < 0:
        raise SealedRootError(limits.CORE_PROBLEM)
    argv = ["sh", "-c", _ENTER, filter_path, *lists, "--"]
    argv += [
        runner.find("prlimit"),
        f"--core={core}:{core}",
        runner.find("bwrap"),
        "--seccomp",
        "9",
    ]
    return [*argv, *_CONFINED, "--unshare-cgroup-try", "--unshare-net", "--cap-drop", "ALL"]


def tool_argv(
    runner: Runner,
    filter_path: str,
    lists: t.Sequence[str],
    device: str,
    command: t.Sequence[str],
    *,
    output: t.Optional[str] = None,
) -> t.List[str]:
    """Return the command of :func:`run_tool`.

    A file is read-only. A block device is not, so nobody may need its content afterwards.
    """
    # No user namespace: FUSE lets only root use the device.
    argv = _bwrap(runner, filter_path, lists)
    for path in _SYSTEM:
        argv += ["--ro-bind-try", path, path]
    argv += ["--dev", "/dev", "--dev-bind" if _is_block(device) else "--ro-bind", device, DEVICE]
    # btrfs reads these tables, and refuses a device that is a mount point, as it is here. So show them empty.
    for table in _TABLES:
        argv += ["--dev-bind", "/dev/null", table]
    if output is not None:
        argv += ["--bind", output, OUTPUT]
        for capability in _WRITER:
            argv += ["--cap-add", capability]
    # Every byte is a character in this locale, so a pattern matches any name.
    return [*argv, "--setenv", "LC_ALL", "C", runner.find(command[0]), *command[1:]]


def _is_block(path: str) -> bool:
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:  # what opens it will say so
        return False


def program_argv(
    runner: Runner, filter_path: str, lists: t.Sequence[str], root: str, command: t.Sequence[str]
) -> t.List[str]:
    """Return the command of :func:`run_program`.

    The image does not see bwrap, because it could change the mode of its file: so its own program is process 1. Over
    the root, only /proc is mounted (libselinux before 3.6 needs it), so that the program also sees what other mounts
    would hide. It has one capability, to read files of every owner.
    """
    argv = [*_bwrap(runner, filter_path, lists), "--as-pid-1", "--ro-bind", root, "/"]
    argv += [*bwrap.proc_options("/dev/null", "/proc"), "--cap-add", "CAP_DAC_OVERRIDE"]
    argv += ["--setenv", "PATH", "/usr/sbin:/usr/bin:/sbin:/bin", "--setenv", "LC_ALL", "C.UTF-8"]
    return [*argv, "--chdir", "/", "--", *command]


__all__ = (
    "DEVICE",
    "OUTPUT",
    "program_argv",
    "run_program",
    "run_tool",
    "together",
    "tool_argv",
)
