# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Read an initramfs: a sequence of cpio archives ("newc"), all but the last uncompressed."""

from __future__ import annotations

import dataclasses
import mmap
import os
import shutil
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import regular_file
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

# Magic number, program, and the file name extension that the program needs.
COMPRESSIONS: t.Tuple[t.Tuple[bytes, str, str], ...] = (
    (b"\x28\xb5\x2f\xfd", "zstd", ".zst"),
    (b"\x1f\x8b", "gzip", ".gz"),
    (b"\xfd7zXZ\x00", "xz", ".xz"),
    (b"\x02\x21\x4c\x18", "lz4", ".lz4"),
    (b"\x04\x22\x4d\x18", "lz4", ".lz4"),
    (b"BZh", "bzip2", ".bz2"),
    (b"\x5d\x00\x00", "xz", ".lzma"),
    (b"\x89LZO\x00", "lzop", ".lzo"),
)
# Largest initramfs, compressed or not: a guest unpacks it into its memory.
MOST_BYTES = 1 << 30
# Most files in it: more than a whole distribution has.
MOST_ENTRIES = 500_000
_HEADER = 110
# Longest name in a message.
_LONGEST_NAME = 200
# How much padding between archives to skip at a time.
_STEP = 1 << 20
# Memory limit of decompression: the compressed data decides how large the window is.
_MEMORY = 2 << 30
# Exit status of a command that exceeded its file size limit (SIGXFSZ).
_TOO_LARGE = -25
_MAGICS = (b"070701", b"070702")


@dataclasses.dataclass(frozen=True)
class Entry:
    """One member of an archive; *offset* and *size* give the place of its content."""

    name: str
    mode: int
    uid: int
    offset: int
    size: int


@dataclasses.dataclass(frozen=True)
class Archive:
    """The members of archives, and the offset of the first data that is not cpio."""

    entries: t.Tuple[Entry, ...]
    rest: t.Optional[int]


@dataclasses.dataclass(frozen=True)
class Part:
    """A file, the members of the archives in it, and the end of these archives; compressed data follows."""

    path: str
    entries: t.Tuple[Entry, ...]
    end: int


Data = t.Union[bytes, mmap.mmap]


def read_archives(data: Data) -> Archive:
    """Read cpio archives up to the end of *data*, or to data of another kind, which is compressed."""
    entries: t.List[Entry] = []
    position, end = 0, len(data)
    while position < end:
        piece = bytes(data[position : position + _STEP])
        rest = piece.lstrip(b"\0")
        position += len(piece) - len(rest)
        if not rest:
            continue
        if data[position : position + 6] not in _MAGICS:
            return Archive(tuple(entries), position)
        position = _read_archive(data, position, entries)
    return Archive(tuple(entries), None)


def _read_archive(data: Data, start: int, entries: t.List[Entry]) -> int:
    """Append the members of the archive at *start* to *entries*; return the end of the archive."""
    position = start
    while True:
        header = bytes(data[position : position + _HEADER])
        if len(header) < _HEADER or header[:6] not in _MAGICS:
            raise SealedRootError(f"the cpio archive breaks off at byte {position}")
        try:
            fields = [int(header[at : at + 8], 16) for at in range(6, _HEADER, 8)]
        except ValueError:
            raise SealedRootError(f"the cpio header at byte {position} is damaged") from None
        mode, uid, size, name_size = fields[1], fields[2], fields[6], fields[11]
        name_at = position + _HEADER
        name = bytes(data[name_at : name_at + max(name_size - 1, 0)]).decode("utf-8", "replace")
        content = start + _align(name_at + name_size - start)
        position = start + _align(content + size - start)
        if content + size > len(data):
            raise SealedRootError(f"the cpio archive breaks off in {name[:_LONGEST_NAME]}")
        if name == "TRAILER!!!":
            return min(position, len(data))
        if len(entries) == MOST_ENTRIES:
            raise SealedRootError(f"the cpio archive has more than {MOST_ENTRIES} files")
        entries.append(Entry(name, mode, uid, content, size))


def _align(length: int) -> int:
    return -(-length // 4) * 4


def compression(magic: bytes) -> t.Tuple[str, str]:
    """Return the program that decompresses data beginning with *magic*, and its file name extension."""
    for prefix, tool, ending in COMPRESSIONS:
        if magic.startswith(prefix):
            return tool, ending
    raise SealedRootError(
        f"the initramfs is compressed in an unknown way (it begins {magic.hex()})"
    )


def _check_size(path: str) -> None:
    # The path can name something other than a regular file.
    handle = regular_file.opened(path)
    try:
        size = os.fstat(handle).st_size
    finally:
        os.close(handle)
    if size == 0:
        raise SealedRootError("the initramfs is empty")
    if size > MOST_BYTES:
        raise SealedRootError(
            f"the initramfs is larger than {regular_file.size(MOST_BYTES)}: no machine would unpack it"
        )


def _read(path: str) -> Archive:
    handle = regular_file.opened(path)
    try:
        with mmap.mmap(handle, 0, access=mmap.ACCESS_READ) as data:
            return read_archives(data)
    finally:
        os.close(handle)


def unpack(runner: Runner, path: str) -> t.List[Part]:
    """Return files that together hold the whole initramfs *path*, decompressed.

    They are in its directory, which the caller must remove.
    """
    _check_size(path)
    early = _read(path)
    if early.rest is None:
        return [Part(path, early.entries, os.path.getsize(path))]
    with open(regular_file.opened(path), "rb") as source:
        source.seek(early.rest)
        tool, ending = compression(source.read(6))
        source.seek(early.rest)
        packed = f"{path}.main{ending}"
        with open(packed, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    # Each of these programs writes FILE for FILE.ending; lz4 only if FILE is given.
    main = f"{path}.main"
    # Small compressed data can unpack to any size, and can ask for any amount of memory.
    bounds = [f"--fsize={MOST_BYTES}", f"--as={_MEMORY}"]
    argv = [runner.find("prlimit"), *bounds, runner.find(tool), "-d", "-f", "-q", packed]
    argv += [main] if tool == "lz4" else []
    result = runner.run(argv, check=False, timeout=300)
    if (os.path.exists(main) and os.path.getsize(main) >= MOST_BYTES) or result.rc == _TOO_LARGE:
        raise SealedRootError(
            f"the initramfs is larger than {regular_file.size(MOST_BYTES)} when it is unpacked: no machine would"
            " unpack it"
        )
    # gzip warns (status 2) about padding after the data, after writing all of it.
    if result.rc not in (0, 2) or not os.path.exists(main) or os.path.getsize(main) == 0:
        raise SealedRootError(f"{tool} cannot unpack the initramfs: {result.stderr.strip()}")
    if os.path.exists(packed):
        os.unlink(packed)
    late = _read(main)
    if late.rest is not None:
        raise SealedRootError(f"the unpacked initramfs is no cpio archive from byte {late.rest}")
    return [Part(path, early.entries, early.rest), Part(main, late.entries, os.path.getsize(main))]


def holder(part: Part, offset: int) -> t.Optional[Entry]:
    """Return the member of *part* that contains the byte at *offset*, if any."""
    inside = (entry for entry in part.entries if entry.offset <= offset < entry.offset + entry.size)
    return next(inside, None)


__all__ = (
    "COMPRESSIONS",
    "Archive",
    "Entry",
    "Part",
    "compression",
    "holder",
    "read_archives",
    "unpack",
)
