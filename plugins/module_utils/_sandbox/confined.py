# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""A tool that reads a foreign file system, confined by bubblewrap.

Such a tool interprets what another may have written on purpose. It sees the programs of this machine, the device,
and one directory if it is to write: no other file, no network, no other process. It has no capability that it does not
need.
"""

from __future__ import annotations

import os
import stat
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import Runner

DEVICE = "/image"
OUTPUT = "/output"
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/ld.so.conf")
_TABLES = ("/proc/mounts", "/proc/self/mounts")
# To give a file the owner and the mode that it has in the image, and to go on writing below it.
_WRITER = ("CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER")


def _is_block(path: str) -> bool:
    try:
        return stat.S_ISBLK(os.stat(path).st_mode)
    except OSError:  # what opens it will say so
        return False


def argv(
    runner: Runner, device: str, command: t.Sequence[str], *, output: t.Optional[str] = None
) -> t.List[str]:
    """Return *command* confined; it finds *device* as DEVICE, and the directory *output* as OUTPUT.

    A file is read-only. A block device is not, so it must be one whose content nobody misses.
    """
    found = [runner.find("bwrap"), "--die-with-parent", "--new-session", "--clearenv"]
    # Root keeps every capability otherwise.
    found += ["--cap-drop", "ALL"]
    # Not a user namespace: FUSE shows the device to root alone.
    found += [f"--unshare-{space}" for space in ("ipc", "net", "pid", "uts")]
    for path in _SYSTEM:
        found += ["--ro-bind-try", path, path]
    found += ["--dev", "/dev", "--dev-bind" if _is_block(device) else "--ro-bind", device, DEVICE]
    # Of /proc only the tables that btrfs wants, empty: it refuses a device that is a mount point, as it is here.
    for table in _TABLES:
        found += ["--dev-bind", "/dev/null", table]
    if output is not None:
        found += ["--bind", output, OUTPUT]
        for capability in _WRITER:
            found += ["--cap-add", capability]
    # Bytes are bytes: a pattern matches any name.
    return [*found, "--setenv", "LC_ALL", "C", runner.find(command[0]), *command[1:]]


__all__ = ("DEVICE", "OUTPUT", "argv")
