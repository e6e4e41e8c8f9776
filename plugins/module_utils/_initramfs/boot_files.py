# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Names of kernels and their initramfs in /boot. Pure."""

from __future__ import annotations

import re
import typing as t

# As a shell finds the kernels in /boot.
KERNEL_GLOBS = ("vmlinuz-*", "vmlinux-*")
# As a shell finds the initramfs there.
INITRAMFS_GLOBS = ("initrd[.-]*", "initramfs-*")
# SUSE has vmlinux-VERSION.gz in addition to the kernel that boots, for crash(8).
NOT_LOADED_GLOBS = ("vmlinux-*.[gx]z",)
_KERNEL = re.compile(r"vmlinu[xz]-(.+)(?<!\.[gx]z)")
# GRUB offers no file with such a name (grub-mkconfig_lib: grub_file_is_not_garbage).
_GARBAGE = re.compile(r".*\.(?:dpkg-.*|rpmsave|rpmnew|sig)")
# A kernel that "make install" replaced: GRUB gives it the initramfs of its version, and the modules are of that, too.
_REPLACED = ".old"
# Accepted kernel versions, which become parts of file names and arguments of commands.
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}")
# Kernel modules for each kind of virtual disk; those closest to the boot test's own disk come first.
DISKS = {
    "virtio_blk": ("virtio_blk", "virtio_pci"),
    "virtio_scsi": ("virtio_scsi", "virtio_pci", "sd_mod"),
    "nvme": ("nvme",),
    "hv_storvsc": ("hv_storvsc", "sd_mod"),
    "xen_blkfront": ("xen_blkfront",),
    "vmw_pvscsi": ("vmw_pvscsi", "sd_mod"),
    "ahci": ("ahci", "sd_mod"),
}
DEBIAN, FEDORA, SUSE = "initrd.img-{}", "initramfs-{}.img", "initrd-{}"
# Arch's default initramfs is named like Fedora's.
ARCH_FALLBACK = "initramfs-{}-fallback.img"
FORMS = (DEBIAN, FEDORA, SUSE, ARCH_FALLBACK)
# Whatever may be an initramfs, also that of a generator without a role; and whatever a boot loader may load.
INITRAMFS = re.compile(r"(?:initrd|initramfs)[.-].+")
LOADED = re.compile(rf"{INITRAMFS.pattern}|vmlinu[xz][.-].+")
# The version of Fedora's rescue kernel begins so. It has no modules in the root, only in its initramfs.
RESCUE = "0-rescue-"
# Files of one machine, without the boot key: the rescue kernel (51-dracut-rescue.install), and the initramfs of
# kdump, whose service makes a missing one again (mkdumprd(8); the last name is SUSE's).
MACHINE_SPECIFIC = (
    *(f"vmlinuz-{RESCUE}*", f"initramfs-{RESCUE}*.img"),
    *("initramfs-*kdump.img", "initrd-*-kdump"),
)
# Where an EFI system partition is mounted, so what is below is not encrypted on a machine.
ESP = ("/boot/efi", "/efi")
# Names of kernels, initramfs and unified kernel images there (systemd-boot: linux, initrd).
_PAYLOAD = re.compile(r"(?:bzimage|initr|kernel|linux|vmlinu).*", re.IGNORECASE)


def kernel_files(names: t.Iterable[str]) -> t.List[str]:
    """Return the kernels among the file *names* of a directory."""
    return sorted(it for it in names if _KERNEL.fullmatch(it) and not _GARBAGE.fullmatch(it))


def kernels(names: t.Iterable[str]) -> t.List[str]:
    """Return the versions of the kernels among the file *names* of a directory."""
    versions = (it.partition("-")[2] for it in kernel_files(names))
    return sorted({it[: -len(_REPLACED)] if it.endswith(_REPLACED) else it for it in versions})


def initramfs(names: t.Container[str], version: str) -> t.List[str]:
    """Return the names of the initramfs of a kernel version."""
    return [form.format(version) for form in FORMS if form.format(version) in names]


def versions(name: str) -> t.List[str]:
    """Return the versions of kernels whose initramfs can have this name: two for a name such as Arch's fallback."""
    parts = [form.split("{}") for form in FORMS]
    return [
        name[len(start) : len(name) - len(end)]
        for start, end in parts
        if name.startswith(start) and name.endswith(end) and len(name) > len(start) + len(end)
    ]


def is_esp_payload(path: str) -> bool:
    """Say whether a path is by its name a kernel, an initramfs, or both in one, of an EFI system partition."""
    if not path.startswith(tuple(f"{top}/" for top in ESP)):
        return False
    return "/efi/linux/" in path.lower() or bool(_PAYLOAD.fullmatch(path.rpartition("/")[2]))


__all__ = (
    *(
        "ARCH_FALLBACK",
        "DEBIAN",
        "DISKS",
        "ESP",
        "FEDORA",
        "FORMS",
        "INITRAMFS",
        "KERNEL_GLOBS",
        "LOADED",
    ),
    *("MACHINE_SPECIFIC", "RESCUE", "SUSE", "VERSION", "initramfs", "is_esp_payload"),
    *("kernel_files", "kernels", "versions"),
)
