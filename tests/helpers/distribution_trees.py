# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Roots of distributions that cannot be had here: their file names, formats and defaults, written by us.

Nothing in them is a distribution's own text. A comment names the source of each fact. They say whether the
collection finds, reads and writes the right files; that such a distribution boots, they do not say.
"""

from __future__ import annotations

import dataclasses
import pathlib
import struct
import typing as t

# A machine that the root was taken from, and its disks.
OLD_ID = "0123456789abcdef0123456789abcdef"
OLD_ROOT = "11111111-2222-3333-4444-555555555555"
ENV_HEAD = (
    "# GRUB Environment Block\n"  # GRUB: include/grub/lib/envblk.h, padded to 1024 bytes with '#'
)


@dataclasses.dataclass(frozen=True)
class Distribution:
    """What differs between distributions."""

    name: str
    family: str
    os_release: str
    kernels: tuple[str, ...]
    # One of "literal", "kernelopts" (RHEL 8), "" (no boot loader entries).
    entries: str
    grub: str  # "grub" or "grub2"
    modules: str  # where GRUB's modules are
    defaults: str
    initramfs: str
    files: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    links: t.Mapping[str, str] = dataclasses.field(default_factory=dict)


# os-release(5); the values are those that the distributions' release packages have: fedora-release,
# redhat-release, rocky-release, almalinux-release, openSUSE-release, sles-release, filesystem of Arch.
def _release(**fields: str) -> str:
    return "".join(f'{name}="{value}"\n' for name, value in fields.items())


# What anaconda writes on an LVM or plain layout (pyanaconda/modules/storage/bootloader/grub2.py): GRUB_DEFAULT=saved,
# and GRUB_ENABLE_BLSCFG=true since RHEL 8 and Fedora 30 (Fedora: Changes/BootLoaderSpecByDefault).
RELEASE = "/etc/system-release"
_ANACONDA = f"""\
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR="$(sed 's, release .*$,,g' {RELEASE})"
GRUB_DEFAULT=saved
GRUB_DISABLE_SUBMENU=true
GRUB_TERMINAL_OUTPUT="console"
GRUB_CMDLINE_LINUX="crashkernel=auto resume=/dev/mapper/old-swap rd.lvm.lv=old/root rd.lvm.lv=old/swap rhgb quiet"
GRUB_DISABLE_RECOVERY="true"
GRUB_ENABLE_BLSCFG=true
"""
# SUSE's package grub2 and YaST (SLES 15 administration guide, "The Boot Loader GRUB 2", /etc/default/grub).
_YAST = """\
GRUB_DISTRIBUTOR=
GRUB_DEFAULT=saved
GRUB_TIMEOUT=8
GRUB_CMDLINE_LINUX_DEFAULT="splash=silent resume=/dev/disk/by-uuid/aaaa quiet mitigations=auto"
GRUB_CMDLINE_LINUX=""
GRUB_TERMINAL="gfxterm"
SUSE_BTRFS_SNAPSHOT_BOOTING="true"
"""
# ArchWiki, "GRUB", "Configuration"; Arch's package grub, /etc/default/grub.
_ARCH = """\
GRUB_DEFAULT=0
GRUB_TIMEOUT=5
GRUB_DISTRIBUTOR="Arch"
GRUB_CMDLINE_LINUX_DEFAULT="loglevel=3 quiet"
GRUB_CMDLINE_LINUX="cryptdevice=UUID=9999:old cryptkey=rootfs:/old.key"
GRUB_PRELOAD_MODULES="part_gpt part_msdos"
"""
# dracut: dracut.conf.d/fedora.conf.example and suse.conf.example.
_FEDORA_DRACUT = 'hostonly="yes"\nhostonly_cmdline="no"\n'
_SUSE_DRACUT = 'hostonly="yes"\nhostonly_cmdline="yes"\ncompress="zstd"\n'
_SYSCONFIG_KERNEL = (
    "UPDATEDEFAULT=yes\nDEFAULTKERNEL=kernel-core\n"  # anaconda; grub-get-kernel-settings
)

_REDHAT_FILES = {
    "usr/lib/dracut/dracut.conf.d/01-dist.conf": _FEDORA_DRACUT,  # dracut.spec
    "etc/sysconfig/kernel": _SYSCONFIG_KERNEL,
    "etc/machine-id": f"{OLD_ID}\n",
}
_SUSE_FILES = {
    "usr/lib/dracut/dracut.conf.d/01-dist.conf": _SUSE_DRACUT,
    # perl-Bootloader: boot.readme, pbl.sh
    "etc/sysconfig/bootloader": 'LOADER_TYPE="grub2"\nSECURE_BOOT="yes"\nTRUSTED_BOOT="no"\nUPDATE_NVRAM="yes"\n',
    "etc/machine-id": f"{OLD_ID}\n",
}
# mkinitcpio: mkinitcpio.conf, mkinitcpio.d/hook.preset.
_MKINITCPIO = """\
MODULES=()
BINARIES=()
FILES=()
HOOKS=({hooks})
"""
_PRESET = """\
ALL_kver="/boot/vmlinuz-linux"
PRESETS=('default' 'fallback')
default_image="/boot/initramfs-linux.img"
fallback_image="/boot/initramfs-linux-fallback.img"
fallback_options="-S autodetect"
"""
BUSYBOX = (
    "base udev autodetect microcode modconf kms keyboard keymap consolefont block filesystems fsck"
)
SYSTEMD = (
    "base systemd autodetect microcode modconf kms keyboard sd-vconsole block filesystems fsck"
)

FEDORA = Distribution(
    name="fedora",
    family="redhat",
    os_release=_release(
        NAME="Fedora Linux", ID="fedora", VERSION="43 (Cloud Edition)", VERSION_ID="43"
    ),
    kernels=("6.17.1-300.fc43.x86_64", "6.17.9-300.fc43.x86_64"),
    entries="literal",
    grub="grub2",
    modules="usr/lib/grub/x86_64-efi",  # grub.macros: define_efi_variant_files
    defaults=_ANACONDA,
    initramfs="dracut",
    files={**_REDHAT_FILES, "etc/kernel/cmdline": f"root=UUID={OLD_ROOT} ro rhgb quiet mem=1G\n"},
)


def _rhel(name: str, release: str, kernels: tuple[str, ...], **changes: t.Any) -> Distribution:
    return dataclasses.replace(
        FEDORA, name=name, os_release=release, kernels=kernels, files=_REDHAT_FILES, **changes
    )


RHEL8 = _rhel(
    "rhel8",
    _release(
        NAME="Red Hat Enterprise Linux",
        ID="rhel",
        ID_LIKE="fedora",
        VERSION="8.10 (Ootpa)",
        VERSION_ID="8.10",
    ),
    ("4.18.0-553.el8_10.x86_64", "4.18.0-544.el8.x86_64"),
    entries="kernelopts",  # 20-grub.install of grub2-2.02-*.el8: options $kernelopts
    # grub2.spec of el8, "Make grubenv work right on UEFI machines".
    links={"boot/grub2/grubenv": "../efi/EFI/redhat/grubenv"},
)
RHEL9 = _rhel(
    "rhel9",
    _release(
        NAME="Red Hat Enterprise Linux",
        ID="rhel",
        ID_LIKE="fedora",
        VERSION="9.6 (Plow)",
        VERSION_ID="9.6",
    ),
    ("5.14.0-570.el9.x86_64",),
)
RHEL10 = _rhel(
    "rhel10",
    _release(
        NAME="Red Hat Enterprise Linux",
        ID="rhel",
        ID_LIKE="centos fedora",
        VERSION="10.0 (Coughlan)",
        VERSION_ID="10.0",
    ),
    ("6.12.0-55.el10.x86_64",),
)
ROCKY9 = dataclasses.replace(
    RHEL9,
    name="rocky9",
    os_release=_release(
        NAME="Rocky Linux", ID="rocky", ID_LIKE="rhel centos fedora", VERSION="9.6 (Blue Onyx)"
    ),
)
ALMA10 = dataclasses.replace(
    RHEL10,
    name="alma10",
    os_release=_release(
        NAME="AlmaLinux", ID="almalinux", ID_LIKE="rhel centos fedora", VERSION="10.0"
    ),
)
LEAP15 = Distribution(
    name="leap15.6",
    family="suse",
    os_release=_release(
        NAME="openSUSE Leap", ID="opensuse-leap", ID_LIKE="suse opensuse", VERSION_ID="15.6"
    ),
    kernels=("6.4.0-150600.23.60-default",),
    entries="",
    grub="grub2",
    modules="usr/share/grub2/x86_64-efi",  # grub2.spec of SUSE: grubdatadir
    defaults=_YAST,
    initramfs="dracut",
    files=_SUSE_FILES,
)
LEAP16 = dataclasses.replace(
    LEAP15,
    name="leap16",
    os_release=_release(
        NAME="openSUSE Leap", ID="opensuse-leap", ID_LIKE="suse opensuse", VERSION_ID="16.0"
    ),
    kernels=("6.12.0-160000.5-default",),
)
TUMBLEWEED = dataclasses.replace(
    LEAP16,
    name="tumbleweed",
    os_release=_release(
        NAME="openSUSE Tumbleweed",
        ID="opensuse-tumbleweed",
        ID_LIKE="opensuse suse",
        VERSION_ID="20251120",
    ),
    kernels=("6.17.8-1-default",),
    # perl-Bootloader 1.18: pbl.sh, loaders grub2-bls and systemd-boot.
    files={
        **_SUSE_FILES,
        "etc/sysconfig/bootloader": 'LOADER_TYPE="grub2-bls"\nSECURE_BOOT="yes"\n',
    },
)
SLES15 = dataclasses.replace(
    LEAP15,
    name="sles15",
    os_release=_release(NAME="SLES", ID="sles", ID_LIKE="suse", VERSION_ID="15.6"),
)
ARCH = Distribution(
    name="arch",
    family="arch",
    os_release=_release(NAME="Arch Linux", ID="arch", BUILD_ID="rolling"),
    kernels=("6.17.8-arch1-1",),
    entries="",
    grub="grub",
    modules="usr/lib/grub/x86_64-efi",
    defaults=_ARCH,
    initramfs="mkinitcpio",
    files={
        "etc/mkinitcpio.conf": _MKINITCPIO.format(hooks=SYSTEMD),
        "etc/mkinitcpio.d/linux.preset": _PRESET,
        "usr/lib/initcpio/install/encrypt": "",
        "usr/lib/initcpio/install/sd-encrypt": "",
        "etc/machine-id": f"{OLD_ID}\n",
    },
    links={"etc/mtab": "../proc/self/mounts"},  # filesystem of Arch: PKGBUILD
)
ARCH_BUSYBOX = dataclasses.replace(
    ARCH,
    name="arch-busybox",
    files={**ARCH.files, "etc/mkinitcpio.conf": _MKINITCPIO.format(hooks=BUSYBOX)},
)
ALL = (
    *(FEDORA, RHEL8, RHEL9, RHEL10, ROCKY9, ALMA10),
    *(LEAP15, LEAP16, TUMBLEWEED, SLES15),
    *(ARCH, ARCH_BUSYBOX),
)

MODULES = (
    *("part_gpt", "cryptodisk", "pbkdf2", "gcry_rijndael", "normal", "configfile", "linux"),
    *("luks", "luks2", "gcry_sha256", "ext2", "xfs", "loadenv", "echo"),
    *("halt", "reboot", "sleep", "memdisk", "tar"),
)
# Where Linux has what every image needs; distributions compress modules differently.
DRIVERS = (
    *("fs/ext4/ext4", "drivers/md/dm-crypt", "drivers/block/virtio_blk"),
    "drivers/virtio/virtio_pci",
)
TOOLS = {
    "redhat": ("dracut", "cryptsetup", "grubby", "kernel-install", "rpm"),
    "suse": ("dracut", "cryptsetup", "update-bootloader", "rpm"),
    "arch": ("mkinitcpio", "cryptsetup", "pacman"),
}


def _elf(machine: int) -> bytes:
    """Return the start of a program: class, byte order and e_machine are what is read (elf.h)."""
    return b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HH", 3, machine)


def entry(it: Distribution, version: str) -> str:
    """A boot loader entry of a machine with /boot on a partition of its own (20-grub.install)."""
    options = f"root=/dev/mapper/old-root ro {old_words(it)} mem=2G"
    tuned = ""
    if it.entries == "kernelopts":
        options, tuned = "$kernelopts $tuned_params", " $tuned_initrd"
    return (
        f"title {it.name} ({version})\nversion {version}\nlinux /vmlinuz-{version}\n"
        f"initrd /initramfs-{version}.img{tuned}\noptions {options}\n"
        "grub_users $grub_users\ngrub_arg --unrestricted\ngrub_class kernel\n"
    )


def old_words(it: Distribution) -> str:
    """The words of the old machine's GRUB_CMDLINE_LINUX."""
    line = next(line for line in it.defaults.splitlines() if line.startswith("GRUB_CMDLINE_LINUX="))
    return line.partition("=")[2].strip('"')


def grubenv(**variables: str) -> bytes:
    """An environment block, made as GRUB describes it and not by the code under test."""
    text = ENV_HEAD + "".join(f"{name}={value}\n" for name, value in variables.items())
    return text.encode().ljust(1024, b"#")


def make(it: Distribution, root: pathlib.Path) -> pathlib.Path:
    """Write the root of a distribution into the directory *root*."""

    def put(name: str, data: t.Union[str, bytes], mode: int = 0o644) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        path.chmod(mode)

    put("usr/lib/os-release", it.os_release)
    put("etc/os-release", it.os_release)
    put(RELEASE.lstrip("/"), "A Distribution release 1\n")
    put("usr/bin/bash", _elf(0x3E), 0o755)
    for program in ("systemd", "systemd-cryptsetup"):
        put(f"usr/lib/systemd/{program}", _elf(0x3E), 0o755)
    for name in ("lib", "bin", "sbin"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "usr/sbin").mkdir()
    (root / "usr/sbin/init").symlink_to("../lib/systemd/systemd")
    (root / "usr/bin/sh").symlink_to("bash")
    put("etc/default/grub", it.defaults)
    put("etc/fstab", f"UUID={OLD_ROOT} / xfs defaults 0 0\nUUID=6666 /boot xfs defaults 0 0\n")
    for name in MODULES + (("blscfg",) if it.family == "redhat" else ()):
        put(f"{it.modules}/{name}.mod", name)
    prefix = "grub2" if it.grub == "grub2" else "grub"
    for tool in ("mkimage", "mkconfig", "probe", "fstest", "mkrelpath", "editenv"):
        put(f"usr/bin/{prefix}-{tool}", _elf(0x3E), 0o755)
    for tool in TOOLS[it.family]:
        put(f"usr/bin/{tool}", _elf(0x3E), 0o755)
    for version in it.kernels:
        put(f"usr/lib/modules/{version}/vmlinuz", version)
        put(f"usr/lib/modules/{version}/modules.dep", "")
        for driver in DRIVERS:
            put(f"usr/lib/modules/{version}/kernel/{driver}.ko.xz", "")
        if it.family == "arch":
            put(f"usr/lib/modules/{version}/pkgbase", "linux\n")
            put("boot/vmlinuz-linux", version)
            put("boot/initramfs-linux.img", "", 0o600)
        elif it.family == "suse":
            # Leap 15 and later: kernel packages of suse-module-tools link into /boot.
            (root / "boot").mkdir(exist_ok=True)
            link = root / f"boot/vmlinuz-{version}"
            link.symlink_to(f"../usr/lib/modules/{version}/vmlinuz")
            put(f"boot/initrd-{version}", "", 0o600)
        else:
            put(f"boot/vmlinuz-{version}", version)
            put(f"boot/initramfs-{version}.img", "", 0o600)
    if it.family == "suse":
        (root / "boot/vmlinuz").symlink_to(f"vmlinuz-{it.kernels[-1]}")
        (root / "boot/initrd").symlink_to(f"initrd-{it.kernels[-1]}")
    if it.entries:
        for version in it.kernels:
            put(f"boot/loader/entries/{OLD_ID}-{version}.conf", entry(it, version))
        # A kernel that is gone, and dracut's rescue kernel (51-dracut-rescue.install).
        put(f"boot/loader/entries/{OLD_ID}-1.0-gone.conf", entry(it, "1.0-gone"))
        rescue = f"0-rescue-{OLD_ID}"
        put(f"boot/loader/entries/{OLD_ID}-0-rescue.conf", entry(it, rescue))
        put(f"boot/vmlinuz-{rescue}", "rescue")
        put(f"boot/initramfs-{rescue}.img", "rescue", 0o600)
        variables = {"saved_entry": f"{OLD_ID}-{it.kernels[0]}", "boot_success": "0"}
        if it.entries == "kernelopts":
            variables["kernelopts"] = f"root=/dev/mapper/old-root ro {old_words(it)}"
        linked = "boot/grub2/grubenv" in it.links
        where = "boot/efi/EFI/redhat/grubenv" if linked else "boot/grub2/grubenv"
        put(where, grubenv(**variables))
    for name, target in it.links.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    for name, text in it.files.items():
        put(name, text)
    return root
