# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a LUKS header consists of, read as its two specifications say and with none of the collection's code."""

from __future__ import annotations

import json
import pathlib
import struct
import typing as t

LUKS1_SLOT = struct.Struct(">II32sII")
LUKS1_ACTIVE = 0x00AC71F3


def is_luks1(start: bytes) -> bool:
    """Say whether it is of the first version, and not of the second."""
    return start[6:8] == b"\0\1"


def length(start: bytes) -> int:
    """Return how long a header is, of which *start* is the beginning."""
    if is_luks1(start):
        return int.from_bytes(start[104:108], "big") * 512
    segments = _luks2(start)["segments"].values()
    return min(int(segment["offset"]) for segment in segments)


def slots(start: bytes) -> dict[int, tuple[int, int]]:
    """Return where each active key slot has its key material: offset and size."""
    if is_luks1(start):
        key_bytes = int.from_bytes(start[108:112], "big")
        found = {n: LUKS1_SLOT.unpack_from(start, 208 + 48 * n) for n in range(8)}
        return {
            n: (at * 512, stripes * key_bytes)
            for n, (active, _iterations, _salt, at, stripes) in found.items()
            if active == LUKS1_ACTIVE
        }
    areas = {int(n): slot["area"] for n, slot in _luks2(start)["keyslots"].items()}
    return {n: (int(area["offset"]), int(area["size"])) for n, area in areas.items()}


def used(start: bytes) -> list[tuple[int, int]]:
    """Return the parts of a header that say something, in order: offset and size."""
    metadata = 592 if is_luks1(start) else 2 * int.from_bytes(start[8:16], "big")
    return [(0, metadata), *sorted(slots(start).values())]


def unused(header: bytes) -> bytes:
    """Return what a whole header has where no key slot is."""
    rest, at = b"", 0
    for start, count in [*used(header), (len(header), 0)]:
        rest += header[at:start]
        at = start + count
    return rest


def empty_unused(path: pathlib.Path) -> bytes:
    """Empty what no key slot uses in a container's header; return the header."""
    with path.open("r+b") as file:
        start = file.read(64 << 10)
        file.seek(0)
        header = file.read(length(start))
        empty = bytearray(len(header))
        for at, count in used(start):
            empty[at : at + count] = header[at : at + count]
        file.seek(0)
        file.write(empty)
    return bytes(empty)


def _luks2(start: bytes) -> dict[str, t.Any]:
    copy = start[: int.from_bytes(start[8:16], "big")]
    found: dict[str, t.Any] = json.loads(copy[4096:].split(b"\0", 1)[0])
    return found
