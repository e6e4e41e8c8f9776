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

from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import generators
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    printable,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

BLOCK = 4096
INODE = 256
RECORD = 512
# Of members, and of a name's bytes as tar lists them, four for one: what Linux takes as a path (path_resolution(7)).
MOST_MEMBERS = 2_000_000
LONGEST = 4 * 4096

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

# What a kernel can be called, since that becomes the name of files and a word of commands.
KERNEL_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]{0,127}")

# Programs that some root of every kind has as a regular file.
PROGRAMS = (
    *("usr/bin/dash", "bin/dash", "usr/bin/bash", "bin/bash", "usr/bin/busybox", "bin/busybox"),
    *("usr/bin/dpkg", "usr/lib/systemd/systemd", "lib/systemd/systemd", "usr/bin/ls", "bin/ls"),
)
# A root of a container has none.
INITS = {"sbin/init", "usr/sbin/init", "usr/bin/init", "bin/init", "init"}
OS_RELEASES = ("usr/lib/os-release", "etc/os-release")

_LINE = re.compile(
    r"block (?P<block>\d+): (?P<type>.)(?P<mode>[rwxsStT-]{9})[.+*]? \d+/\d+ +"
    r"(?P<size>\d+(?:,\d+)?) -?\d+-\d\d-\d\d \d\d:\d\d (?P<name>.*)"
)
# Of GRUB's modules those that not every GRUB has.
_GRUB_MODULE = re.compile(
    r"usr/(?:lib/grub|share/grub2)/([^/]+)/"
    r"(normal|luks2?|gcry_sha(?:256|512)|btrfs|ext2|xfs)\.mod"
)
_END = re.compile(r"block \d+: \*\* (?P<what>Block of NULs|End of File) \*\*")


@dataclasses.dataclass(frozen=True)
class Member:
    """One entry: its name without a leading ``./`` or ``/`` and as the tar has it; sizes in bytes.

    *stored* is what the tar holds of it, which is less than *size* for a sparse file; *mode* is as ls(1) has it.
    *target* is the member that a hard link is one to, as the tar has it.
    """

    type: str
    name: str
    size: int
    stored: int
    raw: str
    mode: str = "rw-r--r--"
    target: str = ""


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
        if len(line) > 2 * LONGEST:
            raise SealedRootError("it has a name that is longer than a path can be")
        if match:
            if len(rows) == MOST_MEMBERS:
                raise SealedRootError(f"it has more than {MOST_MEMBERS} members")
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
    kind, name, target = match.group("type"), match.group("name"), ""
    if kind == "l":
        name = name.partition(" -> ")[0]
    elif kind == "h":
        name, _words, target = name.partition(" link to ")
    size = 0 if "," in match.group("size") else int(match.group("size"))
    plain_name = re.sub(r"^(\./|/)+", "", name).rstrip("/")
    return Member(kind, plain_name, size, stored, name, match.group("mode"), target)


_ESCAPE = re.compile(rb"\\([0-7]{3}|.)")
_LETTERS = dict(zip(b"abfnrtv", b"\a\b\f\n\r\t\v"))


def plain(name: str) -> str:
    """Return a name without the escapes that tar(1) listed it with."""
    if "\\" not in name:
        return name

    def byte(match: t.Match[bytes]) -> bytes:
        word = match.group(1)
        return bytes([int(word, 8) if len(word) == 3 else _LETTERS.get(word[0], word[0])])

    decoded = _ESCAPE.sub(byte, name.encode("utf-8", "surrogateescape"))
    return decoded.decode("utf-8", "surrogateescape")


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
    return architectures.of_elf(number)


def parse_os_release(text: str) -> t.Dict[str, str]:
    """Parse os-release(5)."""
    pairs = re.findall(r"^([A-Za-z_0-9]+)=[\"']?(.*?)[\"']?$", text, re.MULTILINE)
    return {name: printable.text(value) for name, value in pairs}


def family(
    os_release: t.Mapping[str, str], families: t.Sequence[t.Mapping[str, t.Any]]
) -> t.Mapping[str, t.Any]:
    """Return the group of distributions with the same mechanism; empty when it is none of *families*.

    ID counts before the words of ID_LIKE, which go from the nearest relative to the farthest (os-release(5)).
    """
    for name in (os_release.get("ID", ""), *os_release.get("ID_LIKE", "").split()):
        for it in families:
            if name in it["ids"]:
                return it
    return {}


def kernels(members: t.Iterable[Member]) -> t.List[str]:
    """Return the versions that have both a kernel in /boot and its modules.

    Arch names the one in /boot after its package, which ``pkgbase`` beside the modules says (mkinitcpio(8)).
    """
    names = {member.name for member in members}
    modules = {
        match.group(1)
        for match in (re.match(r"(?:usr/)?lib/modules/([^/]+)(?:/|$)", name) for name in names)
        if match
    }
    named_by_package = {
        version for version in modules if f"usr/lib/modules/{version}/pkgbase" in names
    }
    if not any(re.match(r"boot/vmlinuz-", name) for name in names):
        named_by_package = set()
    return sorted(
        version
        for version in modules
        if version in named_by_package or f"boot/vmlinuz-{version}" in names
    )


def abilities(members: t.Iterable[Member]) -> t.Dict[str, t.Any]:
    """Say which of the programs that matter for an encrypted boot are there."""
    names = {member.name for member in members}

    def program(*tools: str) -> bool:
        return generators.has_program(names.__contains__, *tools)

    def part_of_systemd(name: str) -> bool:
        return bool({f"usr/lib/systemd/{name}", f"lib/systemd/{name}"} & names)

    modules = [match for match in map(_GRUB_MODULE.fullmatch, names) if match]
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
        **{name: generators.has(names.__contains__, name) for name in generators.PROGRAMS},
        "cryptsetup_initramfs": program("cryptsetup")
        and "usr/share/initramfs-tools/hooks/cryptroot" in names,
        "init": bool(INITS & names),
        "btrfs": program("btrfs"),
        "xfs": program("xfs_repair"),
        "resize2fs": program("resize2fs"),
        "sfdisk": program("sfdisk"),
        "partx": program("partx"),
        "cryptsetup": program("cryptsetup"),
        "systemd_cryptsetup": part_of_systemd("systemd-cryptsetup"),
        "python3": program("python3"),
        "openssh_server": program("sshd"),
        "systemd": part_of_systemd("systemd"),
    }


def initramfs(members: t.Iterable[Member]) -> str:
    """Name what builds the initramfs: ``initramfs_tools``, ``dracut``, ``mkinitcpio``, or empty for none."""
    return generators.active({member.name for member in members}.__contains__)


__all__ = (
    "KERNEL_VERSION",
    "MAGICS",
    "OS_RELEASES",
    "PROGRAMS",
    "SUPPORTED",
    "Member",
    "abilities",
    "compression",
    "family",
    "initramfs",
    "kernels",
    "machine",
    "parse_listing",
    "parse_os_release",
    "pick",
    "plain",
    "unpacked_bytes",
)
