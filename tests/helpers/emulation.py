# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of another architecture on this machine."""

from __future__ import annotations

import pathlib
import subprocess

import pytest

BINFMT = pathlib.Path("/proc/sys/fs/binfmt_misc")


def register(machine: str) -> None:
    """Let the kernel start programs of *machine*, as systemd does where it is running; fail where it cannot."""
    commands = []
    if not (BINFMT / "register").exists():
        commands.append(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)])
    if not (BINFMT / f"qemu-{machine}").exists():
        commands.append(["/usr/lib/systemd/systemd-binfmt", f"qemu-{machine}.conf"])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.fail(
                f"this kernel cannot be made to start programs of {machine}: {' '.join(command)}: "
                + done.stderr.strip()
            )
