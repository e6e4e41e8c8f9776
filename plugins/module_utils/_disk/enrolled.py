# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""A machine with a TPM that has the key of an image, sealed before its first boot for what will be measured.

What is changed of the disk is in an overlay, so the image stays as it is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import (
    esp,
    layout,
)
from ansible_collections.sealedroot.image.plugins.module_utils._grub import tpm_program
from ansible_collections.sealedroot.image.plugins.module_utils._machine import (
    machines,
    pty_console,
    tpm as machine_tpm,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    printable,
    qemu_options,
    storage_daemon,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

SEALED, OTHER_CORE, OTHER_FIRMWARE, NO_BLOB = "sealed", "other_core", "other_firmware", "no_blob"
STARTS = (SEALED, OTHER_CORE, OTHER_FIRMWARE, NO_BLOB)
_CORE = architectures.X86_64.boot_file
# A sentence that every core image has, and that nobody reads here.
_WORDS, _OTHER_WORDS = b"No key opens the disk.", b"No key opens the disc."


def seal(runner: Runner, directory: str, key: bytes, values: t.Mapping[int, str]) -> None:
    """Seal a key in the TPM of a directory for these values of registers, by the program of the image."""
    server = os.path.join(directory, machine_tpm.SERVER)
    # QEMU and the firmware would start it.
    alone = ("--server", f"type=unixio,path={server}", "--flags", "not-need-init,startup-clear")
    with machine_tpm.machine(runner, directory, *alone):
        registers = ",".join(map(str, values))
        script = f'set -eu; cd "$1"; {tpm_program.SEAL}\nprimary; policy "$2" "$3"; seal "$3"; room; store'
        words = ["sh", "-c", script, "sh", directory, "".join(values.values()), registers]
        env = {"TPM2TOOLS_TCTI": f"swtpm:path={server}", "LC_ALL": "C"}
        done = runner.run(words, stdin=key, env=env, check=False, timeout=120)
    if done.rc != 0:
        said = printable.text(" ".join(done.stderr.split()[-60:]))
        raise SealedRootError(f"swtpm did not seal the key: {said}")


def overlay_of(
    runner: Runner, directory: str, disk: str, *, disk_format: str, start: str, key: bytes
) -> str:
    """Enrol a machine, as *start* has it, and return an overlay of the image for it."""
    overlay = os.path.join(directory, "disk.qcow2")
    make = [runner.find("qemu-img"), "create", "-q", "-f", "qcow2", "-F", disk_format]
    runner.run([*make, "-b", os.path.abspath(disk), overlay], timeout=60)
    with _writable(runner, directory, overlay) as raw:
        core = esp.read(runner, raw, layout.ESP_OFFSET, _CORE)
        if start != NO_BLOB:
            values = tpm_program.registers(core)
            if start == OTHER_FIRMWARE:
                values[7] = "11" * 32
            seal(runner, directory, key, values)
        if start == OTHER_CORE:
            there = set(esp.entries(runner, raw, layout.ESP_OFFSET))
            esp.remove(runner, raw, layout.ESP_OFFSET, _CORE)
            esp.write(runner, raw, layout.ESP_OFFSET, _CORE, changed(core), known=there)
    return overlay


def changed(core: bytes) -> bytes:
    """Return the core image with one letter changed."""
    if _WORDS not in core:
        raise SealedRootError(f"{_CORE} on the EFI system partition is not this collection's")
    return core.replace(_WORDS, _OTHER_WORDS)


@contextlib.contextmanager
def _writable(runner: Runner, directory: str, overlay: str) -> t.Iterator[str]:
    """Show a disk as a raw file that can be written, while the context lasts."""
    raw = os.path.join(directory, "raw")
    os.close(os.open(raw, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    node = (
        f"driver=qcow2,node-name=disk,file.driver=file,file.filename={qemu_options.quote(overlay)}"
    )
    daemon = runner.find(storage_daemon.DAEMON)
    argv = storage_daemon.argv(daemon, [node], node="disk", mountpoint=raw, writable=True)
    runner.run(argv, timeout=60)
    try:
        yield raw
    finally:
        for pid in storage_daemon.daemons(raw):
            storage_daemon.stop(pid)
        os.unlink(raw)


@contextlib.contextmanager
def started(
    machine: machines.Machine,
    case: t.Mapping[str, t.Any],
    key: str,
    *,
    disk: str,
    disk_format: str,
    accelerator: str,
) -> t.Iterator[pty_console.PtyConsole]:
    """Start a machine from the image in *disk* as an enrolled one, or what a host made of that, as *case* says."""
    runner, directory = machine.runner, os.path.join(machine.work, f"tpm-{case['name']}")
    os.mkdir(directory, 0o700)
    try:
        overlay = overlay_of(
            *(runner, directory, disk),
            disk_format=disk_format,
            start=case["tpm"],
            key=key.encode("ascii"),
        )
        with machine_tpm.machine(runner, directory) as control, machine.start(
            case["name"],
            accelerator=accelerator,
            disk=overlay,
            disk_format="qcow2",
            more=machine_tpm.options(control),
        ) as console:
            yield console
    finally:
        shutil.rmtree(directory)


__all__ = (
    "NO_BLOB",
    "OTHER_CORE",
    "OTHER_FIRMWARE",
    "SEALED",
    "STARTS",
    "changed",
    "overlay_of",
    "seal",
    "started",
)
