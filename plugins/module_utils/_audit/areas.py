# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Search what a host can read of an image without a key for anything that must not be there."""

from __future__ import annotations

import hashlib
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._disk import partitions
from ansible_collections.sealedroot.image.plugins.module_utils._system import secret_search
from ansible_collections.sealedroot.image.plugins.module_utils._system.secret_search import Range

GPT_HEAD = 34 * 512  # protective MBR, header and 128 entries
GPT_TAIL = 33 * 512
_BOOT_CODE = 440
# 512 random bytes have on average 221 different values, with a standard deviation of 4.5; text has about 50.
_RANDOM_SHARE = 0.77
# In few random bytes the number of different values varies more.
_FEW, _SHARE_OF_FEW = 64, 0.5
# The block size of the cipher: data that was never written is zero in whole blocks.
_CIPHER_BLOCK = 16
# With fewer bytes, a value occurs twice by chance too often for this test.
_LEAST = 32
_XFS_BLOCKS = [512 << shift for shift in range(8)]


def gaps(table: partitions.Table, size: int) -> t.List[Range]:
    """Return the ranges outside the partitions and the partition table."""
    ranges = [(0, _BOOT_CODE)]
    position = GPT_HEAD
    for part in sorted(table.partitions, key=lambda part: part.offset):
        ranges.append((position, part.offset))
        position = part.offset + part.size
    ranges.append((position, size - GPT_TAIL))
    return [(start, end) for start, end in ranges if start < end]


def first_nonzero(handle: int, ranges: t.Iterable[Range]) -> t.List[int]:
    """Return the position of the first byte in *ranges* that is not zero, if any."""
    for start, end in ranges:
        for position in range(start, end, secret_search.CHUNK):
            data = os.pread(handle, min(secret_search.CHUNK, end - position), position)
            rest = data.lstrip(b"\0")
            if rest:
                return [position + len(data) - len(rest)]
    return []


def digest(handle: int, start: int, end: int) -> str:
    """Return the SHA-256 of a range."""
    sha256 = hashlib.sha256()
    for position in range(start, end, secret_search.CHUNK):
        sha256.update(os.pread(handle, min(secret_search.CHUNK, end - position), position))
    return sha256.hexdigest()


def copy(source: int, target: str, ranges: t.Iterable[Range], *, start: int, size: int) -> None:
    """Copy *ranges* of an open file into a new sparse file, whose beginning is *start* in the source."""
    with open(target, "xb") as handle:
        os.chmod(target, 0o600)
        handle.truncate(size)
        for begin, end in ranges:
            for position in range(begin, end, secret_search.CHUNK):
                data = os.pread(source, min(secret_search.CHUNK, end - position), position)
                os.pwrite(handle.fileno(), data, position - start)


def clear_secrets(
    handle: int, ranges: t.Sequence[Range], secrets: t.Mapping[str, bytes]
) -> t.List[str]:
    """Search unencrypted ranges for *secrets* in every encoding."""
    needles = {
        f"{name} ({form})": needle
        for name, secret in secrets.items()
        for form, needle in secret_search.forms(secret).items()
    }
    found = secret_search.offsets(handle, needles, ranges)
    return [f"the {name} is at byte {places[0]}, in the clear" for name, places in found.items()]


def anywhere(path: str, secrets: t.Mapping[str, bytes], *, cluster: int = 0) -> t.List[str]:
    """Search a whole file for *secrets*.

    A format that stores clusters of *cluster* bytes in any order can split a secret at a cluster border.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        ranges = secret_search.extents(handle)
        found = {
            name: where[0] for name, where in secret_search.offsets(handle, secrets, ranges).items()
        }
        if cluster:
            found = {**secret_search.split_over_clusters(handle, secrets, ranges, cluster), **found}
    finally:
        os.close(handle)
    return [f"the {name} is in the image, at byte {at} of the file" for name, at in found.items()]


def signature(block: bytes, later: bytes) -> t.Optional[str]:
    """Name the file system or volume that begins with *block*; *later* are the bytes at 64 KiB after its beginning."""
    if block[:4] == b"XFSB" and int.from_bytes(block[4:8], "big") in _XFS_BLOCKS:
        return "XFS"
    # Ciphertext would often contain the two bytes of magic, so revision and state must be valid, too.
    superblock = block[1024:]
    if (
        superblock[0x38:0x3A] == b"\x53\xef"
        and int.from_bytes(superblock[0x3A:0x3C], "little") < 8
        and int.from_bytes(superblock[0x4C:0x50], "little") < 2
    ):
        return "ext4"
    if later == b"_BHRfS_M":
        return "Btrfs"
    if any(block[at : at + 8] == b"LABELONE" for at in range(0, 2048, 512)):
        return "LVM"
    return None


def payload(
    handle: int, ranges: t.Sequence[Range], *, encrypted: Range, outside: Range
) -> t.List[str]:
    """Check every MiB that is not a hole: no file system may begin there, and its data must look random.

    *encrypted* must look random where it is not zero; *outside*, the ESP, is skipped.
    """
    problems = []
    for start, end in ranges:
        for step in range(-(-start // partitions.MIB) * partitions.MIB, end, partitions.MIB):
            if outside[0] <= step < outside[1]:
                continue
            block = os.pread(handle, 4096, step)
            kind = signature(block, os.pread(handle, 8, step + 0x10040))
            if kind:
                problems.append(f"a file system ({kind}) begins at byte {step}, in the clear")
            if encrypted[0] <= step < encrypted[1] and not looks_random(block):
                problems.append(f"the data at byte {step} is not encrypted")
    if len(problems) > 3:
        problems[3:] = [f"and so on, {len(problems)} places in all"]
    return problems


def looks_random(block: bytes) -> bool:
    """Say whether the written data of each sector is distributed like ciphertext.

    Blocks that were never written are zero, and stay so when another part of their sector is written: a file system
    reads them (as noise, once decrypted) and writes the same back.
    """
    return all(_is_even(block[at : at + 512]) for at in range(0, len(block), 512))


def _is_even(sector: bytes) -> bool:
    pieces = (sector[at : at + _CIPHER_BLOCK] for at in range(0, len(sector), _CIPHER_BLOCK))
    written = b"".join(piece for piece in pieces if piece.strip(b"\0"))
    if len(written) < _LEAST:
        return written.count(0) <= len(written) // 4
    by_chance = 256 * (1 - (255 / 256) ** len(written))
    share = _SHARE_OF_FEW if len(written) < _FEW else _RANDOM_SHARE
    return len(set(written)) >= share * by_chance


__all__ = (
    "anywhere",
    "clear_secrets",
    "copy",
    "digest",
    "first_nonzero",
    "gaps",
    "looks_random",
    "payload",
    "signature",
)
