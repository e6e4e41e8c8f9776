# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Table of processor architectures: everything that differs between them. Pure."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The names of an architecture, and the virtual machine that boots it.

    *machine* is its name in uname(1), *elf* the e_machine of its programs (elf.h), *exit_code* the instructions of
    exit(0), *efi* the suffix of EFI programs (UEFI 3.5.1.1). *qemu_user* lists the names of the emulator that runs
    its programs on another architecture. *firmware* lists pairs of code and variables, preferred first, without
    Secure Boot and its keys. *flash_bytes* is the size that QEMU's machine requires of both, 0 for any.
    *secure_boot_firmware* lists pairs with Microsoft's keys enrolled and Secure Boot on. *secure_boot_options* make
    QEMU prevent the guest from writing the variables past the firmware (OvmfPkg/README, "SMM support").
    """

    machine: str
    elf: int
    exit_code: bytes
    debian: str
    grub_platform: str
    efi: str
    console: str
    qemu: str
    qemu_user: t.Tuple[str, ...]
    qemu_machine: str
    tcg_cpu: str
    flash_bytes: int
    firmware: t.Tuple[t.Tuple[str, str], ...]
    firmware_packages: str
    secure_boot_firmware: t.Tuple[t.Tuple[str, str], ...]
    secure_boot_options: t.Tuple[str, ...]

    @property
    def boot_file(self) -> str:
        """Return the path where firmware looks on a removable medium, and so on a cloud's disk."""
        return f"EFI/BOOT/BOOT{self.efi.upper()}.EFI"

    @property
    def kernel_cmdline(self) -> str:
        """Return the default command line of an image's kernel: consoles on the screen and the serial line."""
        return f"console=tty0 console={self.console},115200"

    def words(self) -> t.Dict[str, str]:
        """Return its names, for the names of a family's packages and files."""
        return {
            "machine": self.machine,
            "debian": self.debian,
            "grub_platform": self.grub_platform,
            "efi": self.efi,
            "boot_file": self.boot_file,
            "console": self.console,
            "kernel_cmdline": self.kernel_cmdline,
            "qemu": self.qemu,
            "qemu_machine": self.qemu_machine,
            "firmware": self.firmware[0][0],
            "secure_boot_firmware": self.secure_boot_firmware[0][0],
            "secure_boot_variables": self.secure_boot_firmware[0][1],
            "secure_boot_options": " ".join(self.secure_boot_options),
        }


X86_64 = Architecture(
    machine="x86_64",
    elf=0x3E,
    # mov eax, 60; xor edi, edi; syscall
    exit_code=bytes.fromhex("b83c000000 31ff 0f05"),
    debian="amd64",
    grub_platform="x86_64-efi",
    efi="x64",
    console="ttyS0",
    qemu="qemu-system-x86_64",
    qemu_user=("qemu-x86_64-static", "qemu-x86_64"),
    qemu_machine="q35",
    # The oldest CPU with x86-64-v2, which newer distributions require; "max" takes 40 % more time.
    # AMD is not vulnerable to Meltdown, so Linux does not switch page tables at each system call,
    # which would flush QEMU's TLB: Debian boots in 50 s instead of 60.
    tcg_cpu="Nehalem,vendor=AuthenticAMD",
    flash_bytes=0,
    firmware=(
        # Debian, Ubuntu
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
        # Fedora, RHEL
        ("/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2", "/usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2"),
        ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
        # openSUSE
        ("/usr/share/qemu/ovmf-x86_64-4m-code.bin", "/usr/share/qemu/ovmf-x86_64-4m-vars.bin"),
        ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
        # Arch
        ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ),
    firmware_packages="ovmf (Debian), edk2-ovmf (Fedora, Arch) or qemu-ovmf-x86_64 (openSUSE)",
    secure_boot_firmware=(
        # Debian, Ubuntu
        ("/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
        ("/usr/share/OVMF/OVMF_CODE.secboot.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd"),
        # Fedora, RHEL
        (
            "/usr/share/edk2/ovmf/OVMF_CODE_4M.secboot.qcow2",
            "/usr/share/edk2/ovmf/OVMF_VARS_4M.secboot.qcow2",
        ),
        (
            "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd",
            "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd",
        ),
        # openSUSE
        (
            "/usr/share/qemu/ovmf-x86_64-smm-ms-code.bin",
            "/usr/share/qemu/ovmf-x86_64-smm-ms-vars.bin",
        ),
        # Arch packages none with keys enrolled.
    ),
    secure_boot_options=(
        *("-machine", "smm=on"),
        *("-global", "driver=cfi.pflash01,property=secure,value=on"),
    ),
)
AARCH64 = Architecture(
    machine="aarch64",
    elf=0xB7,
    # mov x8, #93; mov x0, #0; svc #0
    exit_code=bytes.fromhex("a80b80d2 000080d2 010000d4"),
    debian="arm64",
    grub_platform="arm64-efi",
    efi="aa64",
    console="ttyAMA0",
    qemu="qemu-system-aarch64",
    qemu_user=("qemu-aarch64-static", "qemu-aarch64"),
    # The newest interrupt controller: KVM offers only its host's, and on many hosts that is not GICv2, the default.
    qemu_machine="virt,gic-version=max",
    tcg_cpu="cortex-a57",
    flash_bytes=64 << 20,
    firmware=(
        # Debian, Ubuntu
        ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
        # Fedora, RHEL
        (
            "/usr/share/edk2/aarch64/QEMU_EFI-pflash.qcow2",
            "/usr/share/edk2/aarch64/vars-template-pflash.qcow2",
        ),
        (
            "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw",
            "/usr/share/edk2/aarch64/vars-template-pflash.raw",
        ),
        # openSUSE
        ("/usr/share/qemu/aavmf-aarch64-code.bin", "/usr/share/qemu/aavmf-aarch64-vars.bin"),
        # Arch
        ("/usr/share/edk2/aarch64/QEMU_CODE.fd", "/usr/share/edk2/aarch64/QEMU_VARS.fd"),
    ),
    firmware_packages="qemu-efi-aarch64 (Debian), edk2-aarch64 (Fedora, Arch) or qemu-uefi-aarch64 (openSUSE)",
    secure_boot_firmware=(
        # Debian, Ubuntu
        ("/usr/share/AAVMF/AAVMF_CODE.ms.fd", "/usr/share/AAVMF/AAVMF_VARS.ms.fd"),
    ),
    secure_boot_options=(),
)
ARCHITECTURES = {it.machine: it for it in (X86_64, AARCH64)}
# Names for error messages: architectures that no image can be built for yet.
_OTHERS = {
    0x03: "i686",
    0x15: "ppc64le",
    0x16: "s390x",
    0x28: "armv7l",
    0xF3: "riscv64",
}


def find(machine: str) -> Architecture:
    """Return the architecture that uname(1) calls *machine*; raise an error if the table has none."""
    if machine not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise SealedRootError(f"images for {machine} cannot be made yet: choose one of {known}")
    return ARCHITECTURES[machine]


def of_elf(number: int) -> str:
    """Return the name of a program's architecture, given e_machine of its header."""
    names = {it.elf: it.machine for it in ARCHITECTURES.values()}
    return names.get(number) or _OTHERS.get(number, f"ELF machine {number}")


__all__ = ("ARCHITECTURES", "Architecture", "find", "of_elf")
