# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""A TPM of a virtual machine: swtpm."""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    processes,
    qemu_options,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

# What tpm2-tools connect to: beside it, they expect the control socket.
SERVER = "tpm"
_SWTPM = "swtpm"
_STOP_SECONDS = 10


@contextlib.contextmanager
def machine(runner: Runner, directory: str, *arguments: str) -> t.Iterator[str]:
    """Run a TPM with its state in a directory; yield the path of its control socket."""
    control, pid = (os.path.join(directory, name) for name in (f"{SERVER}.ctrl", "pid"))
    argv = [runner.find(_SWTPM), "socket", "--tpm2", "--tpmstate", f"dir={directory}"]
    argv += ["--ctrl", f"type=unixio,path={control}"]
    # It returns once its sockets are there.
    runner.run([*argv, *arguments, "--daemon", "--pid", f"file={pid}"], timeout=60)
    try:
        yield control
    finally:
        # It ends with its machine, and removes that file then.
        with contextlib.suppress(FileNotFoundError), open(pid) as file:
            running = processes.Process(int(file.read()), _SWTPM)
            if processes.terminated([running], _STOP_SECONDS):
                raise SealedRootError(
                    f"process {running.pid} ({_SWTPM}) did not end within {_STOP_SECONDS} seconds"
                )


def options(control: str) -> t.List[str]:
    """Return QEMU's options for the TPM with this control socket."""
    return [
        *("-chardev", f"socket,id=tpm,path={qemu_options.quote(control)}"),
        *("-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"),
    ]


__all__ = ("SERVER", "machine", "options")
