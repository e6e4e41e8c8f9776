# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What a tar of a root holds, from the listing that tar(1) itself gives: pure."""

from __future__ import annotations

import dataclasses
import re
import struct
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError

BLOCK = 4096
INODE = 256

# e_machine of the ELF header (elf.h), in uname's words.
MACHINES = {0x03: "i686", 0x28: "armv7l", 0x3E: "x86_64", 0xB7: "aarch64", 0xF3: "riscv64"}

# Programs that some root of every kind has as a regular file.
PROGRAMS = (
    *("usr/bin/dash", "bin/dash", "usr/bin/bash", "bin/bash", "usr/bin/busybox", "bin/busybox"),
    *("usr/lib/systemd/systemd", "lib/systemd/systemd", "usr/bin/ls", "bin/ls"),
)
OS_RELEASES = ("usr/lib/os-release", "etc/os-release")

_DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}
_GRUB_PLATFORM = {"x86_64": "x86_64-efi", "aarch64": "arm64-efi"}
_LINE = re.compile(
    r"(?P<type>.)(?P<mode>[rwxsStT-]{9})[.+*]? \d+/\d+ +(?P<size>\d+(?:,\d+)?)"
    r" \d{4}-\d\d-\d\d [\d:.]+ (?P<name>.*)"
)


@dataclasses.dataclass(frozen=True)
class Member:
    """One entry of the tar; its name without a leading ``./`` or ``/``, and as the tar has it."""

    type: str
    name: str
    size: int
    raw: str


def parse_listing(text: str) -> t.List[Member]:
    """Parse ``tar --list --verbose --numeric-owner --full-time --quoting-style=escape``."""
    members = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if not match:
            raise SealedRootError(f"tar printed a line that is not understood: {line}")
        kind, name = match.group("type"), match.group("name")
        if kind == "l":
            name = name.partition(" -> ")[0]
        elif kind == "h":
            name = name.partition(" link to ")[0]
        size = 0 if "," in match.group("size") else int(match.group("size"))
        members.append(Member(kind, re.sub(r"^(\./|/)+", "", name).rstrip("/"), size, name))
    return members


def unpacked_bytes(members: t.Iterable[Member]) -> int:
    """Estimate what the members take on a file system with 4 KiB blocks: data, inodes, directories."""
    total = 0
    for member in members:
        if member.type == "h":
            continue
        total += INODE
        if member.type == "-":
            total += -(-member.size // BLOCK) * BLOCK
        elif member.type == "d":
            total += BLOCK
    return total


def pick(members: t.Sequence[Member], names: t.Sequence[str]) -> t.Optional[Member]:
    """Return the first of *names* that is a regular file with content."""
    files = {member.name: member for member in members if member.type == "-" and member.size}
    return next((files[name] for name in names if name in files), None)


def machine(program: bytes) -> str:
    """Return the architecture of an ELF program, or an empty string."""
    if len(program) < 20 or program[:4] != b"\x7fELF":
        return ""
    order = "<" if program[5] == 1 else ">"
    number = struct.unpack(f"{order}H", program[18:20])[0]
    return MACHINES.get(number, f"ELF machine {number}")


def parse_os_release(text: str) -> t.Dict[str, str]:
    """Parse os-release(5)."""
    pairs = re.findall(r"^([A-Z_0-9]+)=[\"']?(.*?)[\"']?$", text, re.MULTILINE)
    return dict(pairs)


def family(os_release: t.Mapping[str, str]) -> str:
    """Return the group of distributions with the same mechanism; empty when it is not known."""
    ids = {os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()}
    return "debian" if ids & {"debian", "ubuntu"} else ""


def kernels(members: t.Iterable[Member]) -> t.List[str]:
    """Return the versions that have both a kernel and its modules."""
    names = {member.name for member in members}
    modules = {
        match.group(1)
        for match in (re.match(r"(?:usr/)?lib/modules/([^/]+)(?:/|$)", name) for name in names)
        if match
    }
    return sorted(version for version in modules if f"boot/vmlinuz-{version}" in names)


def missing_packages(members: t.Sequence[Member], architecture: str) -> t.List[str]:
    """Name the Debian packages that a root lacks to boot encrypted."""
    names = {member.name for member in members}
    arch = _DEBIAN_ARCH.get(architecture, architecture)
    platform = _GRUB_PLATFORM.get(architecture, "")

    def has(*candidates: str) -> bool:
        return any(name in names for name in candidates)

    missing = []
    if not kernels(members):
        missing.append(f"linux-image-{arch}")
    tools = ("grub-mkimage", "grub-mkconfig")
    if not all(has(f"usr/bin/{tool}", f"usr/sbin/{tool}") for tool in tools):
        missing.append(f"grub-efi-{arch}")
    elif not has(f"usr/lib/grub/{platform}/normal.mod"):
        missing.append(f"grub-efi-{arch}-bin")
    if not has("usr/sbin/update-initramfs", "sbin/update-initramfs"):
        missing.append("initramfs-tools")
    if not has("usr/share/initramfs-tools/hooks/cryptroot"):
        missing.append("cryptsetup-initramfs")
    return missing


__all__ = (
    "OS_RELEASES",
    "PROGRAMS",
    "Member",
    "family",
    "kernels",
    "machine",
    "missing_packages",
    "parse_listing",
    "parse_os_release",
    "pick",
    "unpacked_bytes",
)
