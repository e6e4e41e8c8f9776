# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Table of the packages that provide a tool on a builder, by family of its distribution."""

from __future__ import annotations

import typing as t

FAMILIES = ("debian", "fedora", "suse", "arch")
# Tool to package, per builder family; '' = not packaged.
_PACKAGES = {
    "blkid": ("util-linux", "util-linux", "util-linux", "util-linux"),
    "btrfs": ("btrfs-progs", "btrfs-progs", "btrfsprogs", "btrfs-progs"),
    "bwrap": ("bubblewrap", "bubblewrap", "bubblewrap", "bubblewrap"),
    "cryptsetup": ("cryptsetup-bin", "cryptsetup", "cryptsetup", "cryptsetup"),
    "curl": ("curl", "curl", "curl", "curl"),
    "debugfs": ("e2fsprogs", "e2fsprogs", "e2fsprogs", "e2fsprogs"),
    "dumpe2fs": ("e2fsprogs", "e2fsprogs", "e2fsprogs", "e2fsprogs"),
    "e2fsck": ("e2fsprogs", "e2fsprogs", "e2fsprogs", "e2fsprogs"),
    "emulation-aarch64": (
        *("qemu-user-static", "qemu-user-static-aarch64", "qemu-linux-user"),
        "qemu-user-static-binfmt",
    ),
    "emulation-x86_64": (
        *("qemu-user-static", "qemu-user-static-x86", "qemu-linux-user"),
        "qemu-user-static-binfmt",
    ),
    "firmware-aarch64": (
        *("qemu-efi-aarch64", "edk2-aarch64", "qemu-uefi-aarch64", "edk2-aarch64"),
    ),
    "firmware-x86_64": ("ovmf", "edk2-ovmf", "qemu-ovmf-x86_64", "edk2-ovmf"),
    "firmware-x86_64 with Secure Boot": ("ovmf", "edk2-ovmf", "qemu-ovmf-x86_64", ""),
    "fstrim": ("util-linux", "util-linux-core", "util-linux", "util-linux"),
    "gpgv": ("gpgv", "gnupg2", "gpg2", "gnupg"),
    "grub-fstest": ("grub-common", "grub2-tools-extra", "grub2", "grub"),
    "gzip": ("gzip", "gzip", "gzip", "gzip"),
    "libseccomp": ("libseccomp2", "libseccomp", "libseccomp2", "libseccomp"),
    "losetup": ("mount", "util-linux-core", "util-linux", "util-linux"),
    "mcopy": ("mtools", "mtools", "mtools", "mtools"),
    "mkfs.btrfs": ("btrfs-progs", "btrfs-progs", "btrfsprogs", "btrfs-progs"),
    "mkfs.ext4": ("e2fsprogs", "e2fsprogs", "e2fsprogs", "e2fsprogs"),
    "mkfs.vfat": ("dosfstools", "dosfstools", "dosfstools", "dosfstools"),
    "mkfs.xfs": ("xfsprogs", "xfsprogs", "xfsprogs", "xfsprogs"),
    "mmdebstrap": ("mmdebstrap", "mmdebstrap", "", ""),
    "prlimit": ("util-linux", "util-linux-core", "util-linux", "util-linux"),
    "qemu-img": ("qemu-utils", "qemu-img", "qemu-img", "qemu-img"),
    "qemu-storage-daemon": ("qemu-system-common", "qemu-img", "qemu-img", "qemu-storage-daemon"),
    "qemu-system-aarch64": (
        *("qemu-system-arm", "qemu-system-aarch64-core", "qemu-arm", "qemu-system-aarch64"),
    ),
    "qemu-system-x86_64": (
        *("qemu-system-x86", "qemu-system-x86-core", "qemu-x86", "qemu-system-x86"),
    ),
    "sfdisk": ("fdisk", "util-linux", "util-linux", "util-linux"),
    "skopeo": ("skopeo", "skopeo", "skopeo", "skopeo"),
    "slirp4netns": ("slirp4netns", "slirp4netns", "slirp4netns", "slirp4netns"),
    "swtpm": ("swtpm", "swtpm", "swtpm", "swtpm"),
    "tar": ("tar", "tar", "tar", "tar"),
    "tpm2_create": ("tpm2-tools", "tpm2-tools", "tpm2.0-tools", "tpm2-tools"),
    "umoci": ("umoci", "", "umoci", ""),
    "umount": ("mount", "util-linux-core", "util-linux", "util-linux"),
    "xfs_db": ("xfsprogs", "xfsprogs", "xfsprogs", "xfsprogs"),
    "xfs_repair": ("xfsprogs", "xfsprogs", "xfsprogs", "xfsprogs"),
    "xz": ("xz-utils", "xz", "xz", "xz"),
    "zstd": ("zstd", "zstd", "zstd", "zstd"),
}


def builder_family(os_release: t.Mapping[str, str]) -> str:
    """Return the family of a builder; empty if its package names are not known."""
    ids = {os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()}
    for family, members in (
        ("debian", {"debian", "ubuntu"}),
        ("fedora", {"fedora", "rhel", "centos"}),
        ("suse", {"suse", "opensuse", "sles"}),
        ("arch", {"arch"}),
    ):
        if ids & members:
            return family
    return ""


def package(family: str, tool: str) -> str:
    """Return the package that provides *tool* (or ``firmware-x86_64``); empty if not known."""
    names = _PACKAGES.get(tool)
    return names[FAMILIES.index(family)] if names and family in FAMILIES else ""


__all__ = ("FAMILIES", "builder_family", "package")
