# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""GRUB's names, early configuration and grub.cfg: pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils import _boot_entries
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError

# The module that reads each root file system, and the ciphers and hashes of the LUKS header. Before the
# volume is open nothing can be loaded, so all that it takes is in the core image (TECH 1.1).
FILESYSTEM_MODULES = {"ext4": "ext2", "xfs": "xfs", "btrfs": "btrfs"}
LUKS_MODULES = {"luks1": "luks", "luks2": "luks2"}
REQUIRED = ("part_gpt", "cryptodisk", "pbkdf2", "gcry_rijndael", "normal", "configfile", "linux")
WANTED = (
    *(
        "all_video",
        "boot",
        "cat",
        "echo",
        "efi_gop",
        "fat",
        "gzio",
        "halt",
        "loadenv",
        "ls",
        "minicmd",
    ),
    *("reboot", "search", "search_fs_uuid", "sleep", "terminal", "test"),
    # The menu of Fedora and its relatives; the second name is GRUB 2.14's.
    *("blscfg", "blsuki"),
)
# Where distributions keep the modules of every platform; the second is SUSE's.
LIBRARIES = ("/usr/lib/grub", "/usr/share/grub2")
# The disks of the machine that the root is from. grub-mkconfig writes root= itself, and the initramfs has its
# own crypttab, which cryptopts= would replace (TECH 4.1).
OLD_DISKS = (
    *("root=", "rootflags=", "rootfstype=", "resume=", "resume_offset="),
    *("cryptdevice=", "cryptkey=", "cryptopts=", "luks=", "luks.", "rd.luks=", "rd.luks."),
    *("rd.lvm", "rd.md", "rd.dm", "rd.multipath"),
)
# What a signed GRUB has to have beyond these: Secure Boot lets it load none (TECH 1.8). The stub says "echo", "if" and
# "[", and loads grub.cfg from the ESP.
SIGNED = ("echo", "fat", "search", "test")
# GRUB before 2.14 asks once and gives up; a volume that is open already is not asked for again.
TRIES = 3


def needed(*, luks_type: str, hash_name: str, filesystem: str) -> t.List[str]:
    """Return the modules without which GRUB cannot read its own disk."""
    if filesystem not in FILESYSTEM_MODULES:
        known = ", ".join(FILESYSTEM_MODULES)
        raise SealedRootError(f"GRUB's module for {filesystem} is not known; use one of {known}")
    return [
        *REQUIRED,
        LUKS_MODULES[luks_type],
        f"gcry_{hash_name}",
        FILESYSTEM_MODULES[filesystem],
    ]


def modules(
    available: t.Container[str], *, luks_type: str, hash_name: str, filesystem: str
) -> t.List[str]:
    """Return the modules of the core image; a missing one that the boot needs is an error."""
    names = needed(luks_type=luks_type, hash_name=hash_name, filesystem=filesystem)
    missing = [name for name in names if name not in available]
    if missing:
        raise SealedRootError(
            f"the image's GRUB has no {', '.join(missing)}: install a grub-efi package that has, or"
            " choose another LUKS type, hash or file system"
        )
    return [*names, *(name for name in WANTED if name in available)]


def early_config(*, luks_uuid: str, directory: str) -> str:
    """Return the configuration that is built into the core image.

    It is generated from the UUID, never probed: a build's devices are not the machine's. The UUID is
    without dashes, since GRUB up to 2.06 compares it so (TECH 1.1).
    """
    uuid = luks_uuid.replace("-", "")
    ask = [f"cryptomount -u {uuid}"] * TRIES
    return "\n".join(
        [*ask, f"set root=cryptouuid/{uuid}", f"set prefix={prefix(uuid, directory)}", ""]
    )


def stub(*, luks_uuid: str, directory: str) -> str:
    """Return the grub.cfg that a signed GRUB reads from the ESP; like every file there, it is no secret.

    It says what the kernel does not say when it is quiet: GRUB is locked down where Secure Boot is on, and nowhere
    else (GRUB: kern/lockdown.c, kern/efi/init.c).
    """
    return (
        'if [ "$lockdown" = y ]; then echo "Secure Boot is enabled."; fi\n'
        f"{early_config(luks_uuid=luks_uuid, directory=directory)}"
        "configfile $prefix/grub.cfg\n"
    )


def prefix(luks_uuid: str, directory: str) -> str:
    """Return where GRUB's directory is."""
    return f"(cryptouuid/{luks_uuid.replace('-', '')}){directory}"


def check_config(text: str, *, root_uuid: str, words: t.Sequence[str]) -> t.List[str]:
    """Say what is wrong with a grub.cfg: it must boot by UUID and know nothing of the builder.

    Where the menu is made of boot loader entries, grub.cfg has but the words for those that name none; the
    entries themselves are judged by who writes them (module boot_entries).
    """
    problems = []
    # Of what GRUB starts this way, a memory test alone (memtest86+x64.efi) is no kernel.
    starts = re.findall(r"^\s*linux(?:efi)?\s+(\S+)(.*)$", text, re.MULTILINE)
    kernels = [start for start in starts if "/memtest" not in start[0]]
    if _boot_entries.used(text):
        fallback = _boot_entries.fallback(text)
        kernels += [("kernelopts", fallback)] if fallback is not None else []
    elif not kernels:
        problems.append("it boots no kernel")
    for kernel, options in kernels:
        given = options.split()
        # The last one counts, so another one beside ours would be the one.
        roots = {word for word in given if word.startswith("root=")}
        if roots != {f"root=UUID={root_uuid}"}:
            got = " and ".join(sorted(roots)) or "no root="
            problems.append(f"{kernel} gets {got} instead of root=UUID={root_uuid}")
        lost = [word for word in words if word not in given]
        if lost and "single" not in given and "recovery" not in given:
            problems.append(f"{kernel} does not get {' '.join(lost)}")
    builder = re.search(r"/dev/loop\d|/dev/mapper/sealedroot|/var/tmp/|\.raw\b", text)
    if builder:
        problems.append(f"it names {builder.group(0)} of the builder")
    return sorted(set(problems))


__all__ = (
    "FILESYSTEM_MODULES",
    "LIBRARIES",
    "LUKS_MODULES",
    "OLD_DISKS",
    "TRIES",
    "check_config",
    "early_config",
    "modules",
    "needed",
    "prefix",
    "stub",
)
