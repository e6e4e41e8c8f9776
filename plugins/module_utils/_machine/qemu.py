# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Virtual machines: QEMU's arguments, and the installed UEFI firmware."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import qemu_options
from ansible_collections.sealedroot.image.plugins.module_utils._system.architectures import (
    Architecture,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


@dataclasses.dataclass(frozen=True)
class Firmware:
    """A firmware's read-only code and the template of its variables."""

    code: str
    variables: str


DISKS = {
    "virtio-blk": ("-device", "virtio-blk-pci,drive=disk,bootindex=0"),
    "virtio-scsi": (
        *("-device", "virtio-scsi-pci,id=scsi"),
        *("-device", "scsi-hd,bus=scsi.0,drive=disk,bootindex=0"),
    ),
    "nvme": ("-device", "nvme,drive=disk,serial=sealedroot,bootindex=0"),
    # With its own controller, because not every machine type has one.
    "sata": (
        *("-device", "ich9-ahci,id=ahci"),
        *("-device", "ide-hd,bus=ahci.0,drive=disk,bootindex=0"),
    ),
}


def find_firmware(
    arch: Architecture,
    *,
    code: t.Optional[str] = None,
    variables: t.Optional[str] = None,
    secure_boot: bool = False,
) -> Firmware:
    """Return the requested firmware, or the first one that is installed."""
    known = arch.secure_boot_firmware if secure_boot else arch.firmware
    pairs = ((code, variables),) if code and variables else known
    for pair in pairs:
        if all(os.path.isfile(path) for path in pair):
            return Firmware(*pair)
    kind = "UEFI firmware with Secure Boot and Microsoft's keys" if secure_boot else "UEFI firmware"
    raise SealedRootError(
        f"no {kind} in {' or '.join(' with '.join(pair) for pair in pairs)}: install"
        f" {arch.firmware_packages}, or set firmware"
    )


def flash(arch: Architecture, source: str, target: str) -> None:
    """Copy a firmware file and pad it to the size that the machine requires: not every distribution pads it."""
    with open(source, "rb") as file:
        data = file.read()
    size = len(data) if source.endswith(".qcow2") else max(len(data), arch.flash_bytes)
    with open(target, "wb") as file:
        # Leave most of the padding as a hole.
        file.write(data.rstrip(b"\0"))
        file.truncate(size)


def _flash(path: str, unit: int, *, read_only: bool) -> str:
    image_format = "qcow2" if path.endswith(".qcow2") else "raw"
    mode = "on" if read_only else "off"
    return f"if=pflash,unit={unit},format={image_format},readonly={mode},file={qemu_options.quote(path)}"


def bare(qemu: str, arch: Architecture, *, accelerator: str, cpus: int, memory: int) -> t.List[str]:
    """Return the first part of a machine's command: processors and memory, no devices."""
    tcg = accelerator == "tcg"
    return [
        qemu,
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"),
        *("-machine", arch.qemu_machine, "-accel", "tcg,thread=multi" if tcg else accelerator),
        *("-cpu", arch.tcg_cpu if tcg else "host", "-smp", str(cpus), "-m", str(memory)),
    ]


def argv(
    qemu: str,
    arch: Architecture,
    *,
    accelerator: str,
    cpus: int,
    memory: int,
    code: str,
    variables: str,
    disk: t.Optional[str] = None,
    disk_format: str = "raw",
    disk_interface: str = "virtio-blk",
    secure_boot: bool = False,
    launch: t.Sequence[str] = (),
    more: t.Sequence[str] = (),
) -> t.List[str]:
    """Return the command for a machine with only a serial console and, if given, a disk.

    Writes to the disk go to an overlay that QEMU removes (snapshot=on), so the image is not changed. With the options
    *launch*, it starts from a kernel with a firmware of its own; *more* are options for another device.
    """
    flash = (
        *("-drive", _flash(code, 0, read_only=True)),
        *("-drive", _flash(variables, 1, read_only=False)),
    )
    command = [
        *bare(qemu, arch, accelerator=accelerator, cpus=cpus, memory=memory),
        *(arch.secure_boot_options if secure_boot else ()),
        *("-nic", "none", "-serial", "stdio"),
        *(launch or flash),
        *more,
    ]
    if disk:
        drive = f"if=none,id=disk,snapshot=on,format={disk_format},file={qemu_options.quote(disk)}"
        device = DISKS[disk_interface]
        if launch:
            # QEMU gives the kernel this index.
            device = tuple(word.replace(",bootindex=0", "") for word in device)
        command += ["-drive", drive, *device]
    return command


__all__ = (
    "DISKS",
    "Firmware",
    "argv",
    "bare",
    "find_firmware",
    "flash",
)
