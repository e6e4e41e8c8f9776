# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Find the logical volumes of LVM2 on an untrusted disk. Pure, except for reading.

lvm itself is not used: it reads only block devices, and on a builder where udev sees a physical volume on a loop
device, it would activate the volume group, even a malicious one. The format (lvm2, lib/format_text/layout.h
and vgcfgbackup(8)) is that of 2003; tests compare the result with lvm's.
"""

from __future__ import annotations

import dataclasses
import re
import struct
import typing as t
import zlib

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

SECTOR = 512
# Limits for a malicious disk: far more than any real machine has, and far less than would do harm.
METADATA_BYTES = 4 << 20
# Limit for the metadata of all physical volumes together.
_ALL_METADATA_BYTES = 16 << 20
MAX_DEPTH = 8
MAX_PIECES = 256

_LABEL_SECTORS = 4
_LABEL = struct.Struct("<8sQII8s")
_AREA = struct.Struct("<QQ")
_HEADER = struct.Struct("<I16sIQQQQII")
_MAGIC = b" LVM2 x[5A%r0N*>"
_NAME = re.compile(r"[a-zA-Z0-9+_.-]+")
_CRC_BEGIN = 0xF597A6CF
_TOKEN = re.compile(
    r'\s*(?:#[^\n]*(?:\n\s*|\Z))*(?:(?P<text>"(?:[^"\\]|\\.)*")|(?P<mark>[{}\[\]=,])|(?P<word>[^\s{}\[\]=,"#]+))'
)

Region = t.Tuple[int, int]
Read = t.Callable[[int, int], bytes]
Section = t.Dict[str, t.Any]


class DamagedError(Exception):
    """The data is not what lvm writes; the text says what is wrong."""


@dataclasses.dataclass(frozen=True)
class LogicalVolume:
    """A logical volume, named GROUP/NAME: its regions of the disk in order, or the *problem* that prevents reading."""

    name: str
    pieces: t.Tuple[Region, ...] = ()
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class _PhysicalVolume:
    """A partition or whole disk with the label of a physical volume, and the metadata in it, if any."""

    uuid: str
    offset: int
    size: int
    text: str


def logical_volumes(read: Read, members: t.Iterable[Region]) -> t.List[LogicalVolume]:
    """Return the logical volumes on these regions of a disk; *read* takes offset and size."""
    try:
        physical = [it for it in (_physical_volume(read, *region) for region in members) if it]
        if sum(len(it.text) for it in physical) > _ALL_METADATA_BYTES:
            raise DamagedError("there is more metadata than any machine has")
        groups: t.Dict[str, t.Tuple[str, Section]] = {}
        for name, group in (_group(it.text) for it in physical if it.text):
            # Each physical volume has a copy; the one with the highest number is the newest.
            held = groups.get(_text(group, "id"))
            if held is None or _number(held[1], "seqno") < _number(group, "seqno"):
                groups[_text(group, "id")] = (name, group)
        return [it for name, group in groups.values() for it in _volumes(name, group, physical)]
    except DamagedError as exc:
        raise SealedRootError(
            f"the LVM of the disk cannot be read: {exc}. Repair it (vgck, vgcfgrestore) in its machine"
        ) from exc


def _crc(data: bytes) -> int:
    return zlib.crc32(data, _CRC_BEGIN ^ 0xFFFFFFFF) ^ 0xFFFFFFFF


def _physical_volume(read: Read, offset: int, size: int) -> t.Optional[_PhysicalVolume]:
    head = read(offset, min(size, _LABEL_SECTORS * SECTOR)).ljust(_LABEL_SECTORS * SECTOR, b"\0")
    for number in range(_LABEL_SECTORS):
        sector = head[number * SECTOR : (number + 1) * SECTOR]
        magic, where, crc, begins, kind = _LABEL.unpack_from(sector)
        # The same conditions as lvm's; the label holds its own sector number.
        if (magic, where, kind) == (b"LABELONE", number, b"LVM2 001") and crc == _crc(sector[20:]):
            break
    else:
        return None
    uuid = sector[begins : begins + 32]
    areas = _areas(sector, begins + 40)  # after the UUID and the size of the device
    copies = _areas(sector, begins + 40 + (len(areas) + 1) * _AREA.size)
    texts = (_metadata(read, offset, size, area) for area in copies)
    return _PhysicalVolume(
        uuid.decode("ascii", "replace"), offset, size, next(filter(None, texts), "")
    )


def _areas(sector: bytes, position: int) -> t.List[Region]:
    """Return a list of areas; an area that begins at 0 ends the list."""
    areas: t.List[Region] = []
    while position + _AREA.size <= len(sector):
        begin, size = _AREA.unpack_from(sector, position)
        if not begin:
            return areas
        areas.append((begin, size))
        position += _AREA.size
    raise DamagedError("a list in a label does not end")


def _metadata(read: Read, offset: int, size: int, area: Region) -> str:
    """Return the text in a metadata area, a ring buffer; empty if it holds none."""
    begin, length = area
    if begin + length > size or length <= SECTOR:
        raise DamagedError("a metadata area is not on its physical volume")
    header = read(offset + begin, SECTOR)
    if len(header) < SECTOR:
        raise DamagedError("a metadata area is cut off")
    crc, magic, version, start, area_size, where, text_size, text_crc, ignored = (
        _HEADER.unpack_from(header)
    )
    if magic != _MAGIC or version != 1 or crc != _crc(header[4:]) or (start, area_size) != area:
        raise DamagedError("the header of a metadata area is damaged")
    if not where or ignored & 1:
        return ""
    if not SECTOR <= where < length or text_size > min(length - SECTOR, METADATA_BYTES):
        raise DamagedError("the metadata is not in its area")
    first = min(text_size, length - where)
    text = read(offset + begin + where, first)
    text += read(offset + begin + SECTOR, text_size - first)
    if len(text) != text_size or _crc(text) != text_crc:
        raise DamagedError("the metadata is damaged")
    return text.rstrip(b"\0").decode("utf-8", "replace")


def _tokens(text: str) -> t.Iterator[str]:
    position = 0
    while True:
        match = _TOKEN.match(text, position)
        if match is None:
            break
        position = match.end()
        yield match["text"] or match["mark"] or match["word"]
    if re.sub(r"#[^\n]*", "", text[position:]).strip():
        raise DamagedError("the metadata has an unknown sign")


def parse(text: str) -> Section:
    """Parse metadata in the format of vgcfgbackup(8): sections, strings, numbers and arrays of these."""
    top: Section = {}
    stack = [top]
    tokens = _tokens(text)
    for name in tokens:
        if name == "}" and len(stack) > 1:
            stack.pop()
            continue
        sign = next(tokens, "")
        if sign == "{" and len(stack) < MAX_DEPTH:
            section: Section = {}
            stack[-1][name] = section
            stack.append(section)
        elif sign == "=":
            stack[-1][name] = _value(tokens)
        else:
            raise DamagedError(f"the metadata has no value for {name[:40]!r}")
    if len(stack) > 1:
        raise DamagedError("the metadata ends in the middle")
    return top


def _value(tokens: t.Iterator[str]) -> t.Any:
    token = next(tokens, "")
    if token != "[":
        return _scalar(token)
    items: t.List[t.Union[str, int]] = []
    for token in tokens:
        if token == "]":
            return items
        if token != ",":
            items.append(_scalar(token))
    raise DamagedError("the metadata ends in the middle")


def _scalar(token: str) -> t.Union[str, int]:
    if token.startswith('"'):
        return re.sub(r"\\(.)", r"\1", token[1:-1])
    # No field used here has a number with a fraction.
    return int(token) if re.fullmatch(r"-?[0-9]{1,18}", token) else token


def _section(section: Section, name: str) -> Section:
    value = section.get(name, {})
    if not isinstance(value, dict):
        raise DamagedError(f"{name} in the metadata is no section")
    return value


def _number(section: Section, name: str) -> int:
    value = section.get(name)
    if not isinstance(value, int) or value < 0:
        raise DamagedError(f"{name} in the metadata is no number")
    return value


def _text(section: Section, name: str) -> str:
    value = section.get(name)
    if not isinstance(value, str):
        raise DamagedError(f"{name} in the metadata is no text")
    return value


def _group(text: str) -> t.Tuple[str, Section]:
    """Return the volume group of a metadata text, its only section, and the group's name."""
    sections = [(name, it) for name, it in parse(text).items() if isinstance(it, dict)]
    if len(sections) != 1:
        raise DamagedError("the metadata is not that of one volume group")
    return sections[0]


def _volumes(
    group_name: str, group: Section, found: t.Sequence[_PhysicalVolume]
) -> t.List[LogicalVolume]:
    volumes = _section(group, "logical_volumes")
    # A snapshot's volume holds only the differences; while a snapshot is merged, the origin consists of both.
    special, links = {}, set()
    for name in volumes:
        for segment in _segments(_section(volumes, name)):
            for store in ("cow_store", "merging_store"):
                if store in segment:
                    links.add(name)
                    special[_text(segment, store)] = "a snapshot"
            if "merging_store" in segment:
                special[_text(segment, "origin")] = "a volume that a snapshot is merged into"
    places = _places(group, found)
    result = []
    for name in volumes:
        volume = _section(volumes, name)
        status = volume.get("status")
        visible = isinstance(status, list) and "VISIBLE" in status
        if name in links or not (visible or name in special):
            continue  # a part of another volume
        # The names go into messages that contain commands.
        if not _NAME.fullmatch(group_name) or not _NAME.fullmatch(name):
            raise DamagedError("a name in the metadata has other signs than lvm allows")
        full = f"{group_name}/{name}"
        try:
            if name in special:
                raise _UnreadableError(special[name])
            pieces = _pieces(group, volume, places)
            result.append(LogicalVolume(full, tuple(pieces)))
        except _UnreadableError as exc:
            result.append(LogicalVolume(full, problem=str(exc)))
    return result


class _UnreadableError(Exception):
    """A logical volume that is more than regions of this disk; the text says why."""


def _places(
    group: Section, found: t.Sequence[_PhysicalVolume]
) -> t.Dict[str, t.Tuple[int, int, int]]:
    """Return, by name in the group, where the extents of each physical volume begin, their number, and its end."""
    by_uuid = {it.uuid: it for it in found}
    volumes = _section(group, "physical_volumes")
    places = {}
    for name in volumes:
        volume = _section(volumes, name)
        held = by_uuid.get(_text(volume, "id").replace("-", ""))
        if held is not None:
            begin = held.offset + _number(volume, "pe_start") * SECTOR
            places[name] = (begin, _number(volume, "pe_count"), held.offset + held.size)
    return places


def _segments(volume: Section) -> t.List[Section]:
    found = [_section(volume, it) for it in volume if re.fullmatch(r"segment[0-9]+", it)]
    if len(found) != _number(volume, "segment_count"):
        raise DamagedError("a logical volume has not the segments that it should")
    return sorted(found, key=lambda it: _number(it, "start_extent"))


def _pieces(
    group: Section, volume: Section, places: t.Mapping[str, t.Tuple[int, int, int]]
) -> t.List[Region]:
    """Return the regions of a linear logical volume, with adjacent ones joined."""
    extent = _number(group, "extent_size") * SECTOR
    pieces: t.List[Region] = []
    reached = 0
    for segment in _segments(volume):
        kind = _text(segment, "type")
        stripes = segment.get("stripes")
        # A linear volume is stored as striped over one device.
        if kind != "striped" or not isinstance(stripes, list) or len(stripes) != 2:
            raise _UnreadableError(f"of the type {kind}" if kind != "striped" else "striped")
        name, first = stripes
        count = _number(segment, "extent_count")
        if name not in places:
            other = name in _section(group, "physical_volumes")
            raise _UnreadableError("partly on another disk" if other else "being moved (pvmove)")
        begin, extents, end = places[name]
        if not isinstance(first, int) or first < 0 or first + count > extents:
            raise DamagedError("a logical volume has extents that its physical volume has not")
        offset, size = begin + first * extent, count * extent
        if _number(segment, "start_extent") != reached or not size or offset + size > end:
            raise DamagedError("a logical volume is not on its physical volume")
        reached += count
        if pieces and sum(pieces[-1]) == offset:
            pieces[-1] = (pieces[-1][0], pieces[-1][1] + size)
        else:
            pieces.append((offset, size))
    if not pieces:
        raise DamagedError("a logical volume has no segment")
    if len(pieces) > MAX_PIECES:
        raise _UnreadableError(f"in {len(pieces)} pieces")
    return pieces


__all__ = ("MAX_PIECES", "DamagedError", "LogicalVolume", "logical_volumes", "parse")
