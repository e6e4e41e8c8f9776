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

from ansible_collections.sealedroot.image.plugins.module_utils import _selinux
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError

BLOCK = 4096
INODE = 256
RECORD = 512

# The first bytes of a file and the program that made them; the last ones are named, not read.
MAGICS = (
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"LZIP", "lzip"),
    (b"\x89LZO", "lzop"),
    (b"\x5d\x00\x00", "lzma"),
    (b"PK\x03\x04", "zip"),
)
SUPPORTED = ("none", "gzip", "xz", "zstd")

# e_machine of the ELF header (elf.h), in uname's words.
MACHINES = {
    0x03: "i686",
    0x15: "ppc64le",
    0x16: "s390x",
    0x28: "armv7l",
    0x3E: "x86_64",
    0xB7: "aarch64",
    0xF3: "riscv64",
}

# Programs that some root of every kind has as a regular file.
PROGRAMS = (
    *("usr/bin/dash", "bin/dash", "usr/bin/bash", "bin/bash", "usr/bin/busybox", "bin/busybox"),
    *("usr/bin/dpkg", "usr/lib/systemd/systemd", "lib/systemd/systemd", "usr/bin/ls", "bin/ls"),
)
SELINUX_CONFIGS = (_selinux.CONFIG.lstrip("/"),)
OS_RELEASES = ("usr/lib/os-release", "etc/os-release")

_DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}
_GRUB_PLATFORM = {"x86_64": "x86_64-efi", "aarch64": "arm64-efi"}
_LINE = re.compile(
    r"block (?P<block>\d+): (?P<type>.)(?P<mode>[rwxsStT-]{9})[.+*]? \d+/\d+ +"
    r"(?P<size>\d+(?:,\d+)?) -?\d+-\d\d-\d\d \d\d:\d\d (?P<name>.*)"
)
_END = re.compile(r"block \d+: \*\* (?P<what>Block of NULs|End of File) \*\*")


@dataclasses.dataclass(frozen=True)
class Member:
    """One entry: its name without a leading ``./`` or ``/`` and as the tar has it; sizes in bytes.

    *stored* is what the tar holds of it, which is less than *size* for a sparse file.
    """

    type: str
    name: str
    size: int
    stored: int
    raw: str


def compression(head: bytes) -> str:
    """Name the compression of a file by its first bytes; ``none`` for what has no known ones."""
    return next((name for magic, name in MAGICS if head.startswith(magic)), "none")


def parse_listing(text: str) -> t.List[Member]:
    """Parse ``tar -tvR --numeric-owner --quoting-style=escape``.

    Not with --full-time: it pads the time with blanks, which a name can begin with, too.

    A tar ends with a block of NULs; without it the file was cut between two members, which tar(1)
    itself does not mind.
    """
    rows: t.List[t.Tuple[int, t.Match[str]]] = []
    end = None
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match:
            rows.append((int(match.group("block")), match))
            continue
        end = _END.fullmatch(line)
        if not end:
            raise SealedRootError(f"tar printed a line that is not understood: {line}")
    if end is None or end.group("what") != "Block of NULs":
        raise SealedRootError("it ends without the mark that ends a tar, so it is truncated")
    last = int(re.findall(r"\d+", end.group())[0])
    following = [block for block, _row in rows[1:]] + [last]
    return [
        _member(match, (after - block - 1) * RECORD)
        for (block, match), after in zip(rows, following)
    ]


def _member(match: t.Match[str], stored: int) -> Member:
    kind, name = match.group("type"), match.group("name")
    if kind == "l":
        name = name.partition(" -> ")[0]
    elif kind == "h":
        name = name.partition(" link to ")[0]
    size = 0 if "," in match.group("size") else int(match.group("size"))
    return Member(kind, re.sub(r"^(\./|/)+", "", name).rstrip("/"), size, stored, name)


def unpacked_bytes(members: t.Iterable[Member]) -> int:
    """Estimate what the members take on ext4 with 4 KiB blocks: inodes, data, directory entries.

    A hard link is an entry and no more, and a sparse file takes what the tar has of it.
    """
    total = 0
    entries: t.Dict[str, int] = {}
    for member in members:
        folder, _slash, leaf = member.name.rpartition("/")
        # ext4: 8 bytes and the name, rounded to 4.
        entries[folder] = entries.get(folder, 0) + (len(leaf) + 11) // 4 * 4
        if member.type == "h":
            continue
        total += INODE
        if member.type == "-":
            total += _blocks(min(member.size, member.stored))
        elif member.type == "d":
            entries.setdefault(member.name, 0)
    # The blocks of a large directory are split when they are full, so they are three quarters full.
    return total + sum(_blocks(used + used // 3 + 24) for used in entries.values())


def _blocks(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def pick(members: t.Iterable[Member], names: t.Sequence[str]) -> t.Optional[Member]:
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
    pairs = re.findall(r"^([A-Za-z_0-9]+)=[\"']?(.*?)[\"']?$", text, re.MULTILINE)
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


def abilities(members: t.Iterable[Member]) -> t.Dict[str, t.Any]:
    """Say which of the programs that matter for an encrypted boot are there."""
    names = {member.name for member in members}

    def program(*tools: str) -> bool:
        folders = ("usr/bin", "usr/sbin", "bin", "sbin")
        return any(f"{folder}/{tool}" in names for folder in folders for tool in tools)

    # Of the modules those that not every GRUB has.
    wanted = r"usr/(?:lib/grub|share/grub2)/([^/]+)/(normal|luks2?|gcry_sha(?:256|512))\.mod"
    modules = [match for match in (re.fullmatch(wanted, name) for name in names) if match]
    platforms = {match.group(1) for match in modules if match.group(2) == "normal"}
    return {
        "grub_mkimage": program("grub-mkimage", "grub2-mkimage"),
        "grub_mkconfig": program("grub-mkconfig", "grub2-mkconfig"),
        "grub_fstest": program("grub-fstest", "grub2-fstest"),
        "grub_platforms": sorted(platforms),
        "grub_modules": {
            platform: sorted(
                match.group(2)
                for match in modules
                if match.group(1) == platform and match.group(2) != "normal"
            )
            for platform in sorted(platforms)
        },
        "initramfs_tools": program("update-initramfs"),
        "cryptsetup_initramfs": "usr/share/initramfs-tools/hooks/cryptroot" in names,
        "dracut": program("dracut"),
        "cryptsetup": program("cryptsetup"),
        "python3": program("python3"),
        "openssh_server": program("sshd"),
        "systemd": bool({"usr/lib/systemd/systemd", "lib/systemd/systemd"} & names),
    }


def selinux(members: t.Iterable[Member], config_text: str) -> t.Dict[str, t.Any]:
    """Say which SELinux policy counts in the root, of which *config_text* is ``/etc/selinux/config``.

    *policy* is empty when there is none of that type with its file contexts.
    """
    names = {member.name for member in members}
    config = _selinux.parse_config(config_text)
    top = config.directory.lstrip("/")
    directory = f"{top}/policy/"
    policy = _selinux.newest_policy(
        name[len(directory) :] for name in names if name.startswith(directory)
    )
    if not config_text or f"{top}/contexts/files/file_contexts" not in names:
        policy = ""
    return {
        "mode": config.mode,
        "type": config.type,
        "policy": f"{directory}{policy}" if policy else "",
        "setfiles": bool({"usr/sbin/setfiles", "sbin/setfiles", "usr/bin/setfiles"} & names),
    }


def missing_packages(
    has: t.Mapping[str, t.Any], versions: t.Sequence[str], architecture: str
) -> t.List[str]:
    """Name the Debian packages that a root lacks to boot encrypted."""
    arch = _DEBIAN_ARCH.get(architecture, architecture)
    missing = []
    if not versions:
        missing.append(f"linux-image-{arch}")
    if not (has["grub_mkimage"] and has["grub_mkconfig"]):
        missing.append(f"grub-efi-{arch}")
    elif _GRUB_PLATFORM.get(architecture, "") not in has["grub_platforms"]:
        missing.append(f"grub-efi-{arch}-bin")
    if not has["initramfs_tools"]:
        missing.append("initramfs-tools")
    if not (has["cryptsetup"] and has["cryptsetup_initramfs"]):
        missing.append("cryptsetup-initramfs")
    return missing


__all__ = (
    "MAGICS",
    "OS_RELEASES",
    "PROGRAMS",
    "SELINUX_CONFIGS",
    "SUPPORTED",
    "Member",
    "abilities",
    "compression",
    "family",
    "kernels",
    "machine",
    "missing_packages",
    "parse_listing",
    "parse_os_release",
    "pick",
    "selinux",
    "unpacked_bytes",
)
