# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Test whether this machine can run programs of another architecture in a root, by running one.

Linux starts them with QEMU if that is registered with binfmt_misc (Linux:
Documentation/admin-guide/binfmt-misc.rst). A root has no QEMU, so the registration needs the flag F, with which
the kernel keeps QEMU open.
"""

from __future__ import annotations

import os
import struct
import tempfile

from ansible_collections.sealedroot.image.plugins.module_utils._system.architectures import (
    Architecture,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    MissingToolError,
    Runner,
)

_ADDRESS = 0x400000
_HEADER, _SEGMENT = 64, 56


def program(arch: Architecture) -> bytes:
    """Return an ELF program that has no dependencies and exits with 0 (elf(5))."""
    size = _HEADER + _SEGMENT + len(arch.exit_code)
    identity = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # 64 bits, little-endian
    start = _ADDRESS + _HEADER + _SEGMENT
    # ET_EXEC; the only segment follows the header, and there are no sections.
    header = struct.pack("<HHIQQQI", 2, arch.elf, 1, start, _HEADER, 0, 0)
    header += struct.pack("<HHHHHH", _HEADER, _SEGMENT, 1, 0, 0, 0)
    # PT_LOAD, readable and executable, aligned for pages of up to 64 KiB.
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _ADDRESS, _ADDRESS, size, size, 0x10000)
    return identity + header + segment + arch.exit_code


def runs(runner: Runner, arch: Architecture) -> bool:
    """Run a program of *arch* in an otherwise empty root; needs root privileges for another architecture.

    The flag F in binfmt_misc would not do. It does not tell whether that QEMU runs, and its registration can have any
    name. In many containers binfmt_misc is not mounted, and still the kernel uses what its host registered.
    """
    if arch.machine == os.uname().machine:
        return True
    with tempfile.TemporaryDirectory(prefix="sealedroot-") as root:
        path = os.path.join(root, "exit")
        with open(path, "wb") as file:
            file.write(program(arch))
        os.chmod(path, 0o755)  # noqa: S103 - a program
        command = [runner.find("chroot"), root, "/exit"]
        return runner.run(command, check=False, timeout=20).rc == 0


def problem(runner: Runner, arch: Architecture) -> str:
    """Return what to do if QEMU is installed but the kernel does not use it; empty if it is not installed."""
    try:
        qemu = runner.find(*arch.qemu_user)
    except MissingToolError:
        return ""
    return (
        f"The builder's kernel starts no program of {arch.machine} in another root, though {qemu} is there: mount"
        " binfmt_misc on /proc/sys/fs/binfmt_misc and register QEMU with the flag F, as"
        f" '/usr/lib/systemd/systemd-binfmt' or 'update-binfmts --enable qemu-{arch.machine}' does."
    )


__all__ = ("problem", "program", "runs")
