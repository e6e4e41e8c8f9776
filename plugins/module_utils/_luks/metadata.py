# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Read a LUKS header: parse ``cryptsetup luksDump`` into dataclasses.

LUKS1 has only the text form. LUKS2 has ``--dump-json-metadata``, where the order of objects matters, because
GRUB tries the key slots in that order (docs/facts.md: slot-order).
"""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import untrusted_json
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

Json = t.Mapping[str, t.Any]
Part = t.TypeVar("Part")

# Size of the binary header before the JSON in each of the two copies of a LUKS2 header; only its first sector is used.
LUKS2_BINARY = 4096
# Upper limit for the end of a header with its key slots (LUKS2's default data offset).
MOST_BYTES = 32 << 20
# Number of stripes into which cryptsetup splits a volume key, in LUKS1 and LUKS2 (LUKS1 on-disk format, AF splitter).
STRIPES = 4000
# PBKDF2 iterations: cryptsetup makes no slot and no digest with fewer, which are enough for a key of random bits; and
# those that a passphrase needs (docs/facts.md: iterations).
FEWEST_ITERATIONS = 1000
PASSPHRASE_ITERATIONS = 600_000
# Size of a LUKS1 header before its key slots, and their alignment; each slot has 4000 stripes of the volume key.
_LUKS1_ALIGNMENT = 4096
_LUKS1_STRIPES = STRIPES
_LUKS1_SLOTS = 8
_LUKS1_SLOT = re.compile(
    r"^Key Slot ([0-7]): ENABLED\n[ \t]*Iterations:[ \t]*([0-9]{1,10})\n(?:[ \t].*\n)*?"
    r"[ \t]*Key material offset:[ \t]*([0-9]{1,10})\n[ \t]*AF stripes:[ \t]*([0-9]{1,10})$",
    re.MULTILINE,
)
# Largest output of luksDump for a LUKS1 header, in characters: far more than eight key slots take.
_LUKS1_TEXT = 8 << 10
_NUMBER = re.compile("0|[1-9][0-9]{0,18}")


@dataclasses.dataclass(frozen=True)
class Keyslot:
    """One active key slot."""

    iterations: int
    kdf: str
    # LUKS1 has one cipher and one hash for key slots and data; LUKS2 can have different ones.
    cipher: str = ""
    hashes: t.Tuple[str, ...] = ()
    # LUKS2 only: priority 0, "ignore". GRUB skips such a slot.
    ignored: bool = False
    # Offset and size of its key material, in bytes from the beginning of the header.
    area: t.Tuple[int, int] = (0, 0)
    # LUKS2 only: the size of the stored key, and of the key that encrypts its key material.
    key_bits: t.Optional[int] = None
    area_key_bits: t.Optional[int] = None
    stripes: int = STRIPES

    @property
    def offset(self) -> int:
        """Return where its key material begins, in bytes."""
        return self.area[0]


@dataclasses.dataclass(frozen=True)
class Segment:
    """One part of the data. LUKS1 has exactly one, up to the end of the device."""

    number: int
    type: str
    offset: int
    size: str = "dynamic"
    cipher: str = "none"
    sector_size: int = 512
    iv_tweak: int = 0
    integrity: str = ""
    flags: t.Tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Digest:
    """A digest that identifies a volume key, and the key slots and segments bound to it."""

    number: int
    type: str
    hash: str
    iterations: int
    slots: t.FrozenSet[int]
    segments: t.FrozenSet[int]


@dataclasses.dataclass(frozen=True)
class Header:
    """A LUKS header; sizes in bits or bytes as their names say, offsets in bytes."""

    type: str
    uuid: str
    cipher: str
    hash: str
    key_bits: int
    payload_offset: int
    digest_iterations: int
    slots: t.Mapping[int, Keyslot]
    # The order in which GRUB tries the slots.
    slot_order: t.Tuple[int, ...]
    tokens: int = 0
    requirements: t.Tuple[str, ...] = ()
    sector_size: int = 512
    # Size of what precedes the key slots, in bytes.
    binary_size: int = _LUKS1_ALIGNMENT
    # End of the header and of the area of its key slots.
    metadata_end: int = 0
    # LUKS2 only, like tokens and requirements.
    segments: t.Tuple[Segment, ...] = ()
    digests: t.Tuple[Digest, ...] = ()
    # Key slots of another type than "luks2", number to type.
    other_slots: t.Mapping[int, str] = dataclasses.field(default_factory=dict)
    flags: t.Tuple[str, ...] = ()


def parse_luks1(text: str) -> Header:
    """Parse the text that ``cryptsetup luksDump`` prints for a LUKS1 header."""
    if len(text) > _LUKS1_TEXT:
        raise SealedRootError("the LUKS1 header is damaged: restore it from a backup")

    def field(name: str, pattern: str = "(.*?)", flags: int = re.MULTILINE) -> t.Any:
        values = re.findall(rf"^{name}:[ \t]*{pattern}[ \t]*$", text, flags)
        if len(values) != 1:
            raise SealedRootError(
                f"luksDump printed {len(values)} lines '{name}', not one: the header is damaged,"
                " restore it from a backup"
            )
        return values[0]

    def number(name: str) -> int:
        return int(field(name, "([0-9]{1,10})"))

    hash_ = field("Hash spec")
    # A forged header can have newlines in the names, so match each up to the next mandatory line.
    mode = r"(.*?)[ \t]*\nCipher mode:[ \t]*(.*?)[ \t]*\nHash spec:[^\n]*"
    cipher = field("Cipher name", mode, re.MULTILINE | re.DOTALL)
    key_bits = number("MK bits")
    slots = {
        int(slot): Keyslot(
            iterations=int(iterations),
            kdf="pbkdf2",
            area=(int(start) * 512, int(stripes) * key_bits // 8),
            stripes=int(stripes),
        )
        for slot, iterations, start, stripes in _LUKS1_SLOT.findall(text)
    }
    area = -(-key_bits // 8 * _LUKS1_STRIPES // _LUKS1_ALIGNMENT) * _LUKS1_ALIGNMENT
    return Header(
        type="luks1",
        uuid=field("UUID"),
        cipher="-".join(cipher),
        hash=hash_,
        key_bits=key_bits,
        payload_offset=number("Payload offset") * 512,
        digest_iterations=number("MK iterations"),
        slots=slots,
        slot_order=tuple(sorted(slots)),
        metadata_end=_LUKS1_ALIGNMENT + _LUKS1_SLOTS * area,
    )


def parse_luks2(text: str, *, uuid: str) -> Header:
    """Parse ``cryptsetup luksDump --dump-json-metadata``; the UUID is only in the binary header.

    An attacker with access to the disk can have written the metadata: any part can be missing or of a wrong type.
    """
    try:
        data = _part({"metadata": untrusted_json.loads(text)}, "metadata", dict)
    except ValueError:
        raise _damaged("metadata") from None
    config = _part(data, "config", dict)
    segments = [_segment(*item) for item in _objects(data, "segments")]
    digests = [_digest(*item) for item in _objects(data, "digests")]
    types = {number: _part(slot, "type", str) for number, slot in _objects(data, "keyslots")}
    slots = {
        number: _keyslot(slot)
        for number, slot in _objects(data, "keyslots")
        if types[number] == "luks2"
    }
    if not segments or not digests:
        raise SealedRootError("the LUKS2 header has no data segment or no digest of the volume key")
    return Header(
        type="luks2",
        uuid=uuid,
        cipher=segments[0].cipher,
        hash=digests[0].hash,
        key_bits=max((slot.key_bits or 0 for slot in slots.values()), default=0),
        payload_offset=segments[0].offset,
        digest_iterations=digests[0].iterations,
        slots=slots,
        slot_order=tuple(slots),
        tokens=len(_part(data, "tokens", dict)),
        requirements=_words(_part(config, "requirements", dict, {}), "mandatory"),
        sector_size=segments[0].sector_size,
        binary_size=2 * (LUKS2_BINARY + _number(config, "json_size")),
        metadata_end=2 * (LUKS2_BINARY + _number(config, "json_size"))
        + _number(config, "keyslots_size"),
        segments=tuple(segments),
        digests=tuple(digests),
        other_slots={number: type_ for number, type_ in types.items() if type_ != "luks2"},
        flags=_words(config, "flags"),
    )


def _keyslot(slot: Json) -> Keyslot:
    kdf, area, af = (_part(slot, name, dict) for name in ("kdf", "area", "af"))
    return Keyslot(
        # argon2 has "time" instead.
        iterations=_number(kdf, "iterations" if "iterations" in kdf else "time", 0),
        kdf=_part(kdf, "type", str),
        cipher=_part(area, "encryption", str),
        hashes=tuple(sorted({_part(it, "hash", str, "") for it in (kdf, af)} - {""})),
        ignored=slot.get("priority") == 0,
        area=(_number(area, "offset", 0), _number(area, "size", 0)),
        key_bits=8 * _number(slot, "key_size"),
        area_key_bits=8 * _number(area, "key_size", 0),
        stripes=_number(af, "stripes", 0),
    )


def _segment(number: int, segment: Json) -> Segment:
    integrity = _part(segment, "integrity", dict, {})
    return Segment(
        number=number,
        type=_part(segment, "type", str),
        offset=_number(segment, "offset"),
        size=_part(segment, "size", str, "dynamic"),
        cipher=_part(segment, "encryption", str, "none"),
        sector_size=_number(segment, "sector_size", 512),
        iv_tweak=_number(segment, "iv_tweak", 0),
        integrity=str(integrity.get("type", integrity)) if integrity else "",
        flags=_words(segment, "flags"),
    )


def _digest(number: int, digest: Json) -> Digest:
    return Digest(
        number=number,
        type=_part(digest, "type", str),
        hash=_part(digest, "hash", str, ""),
        iterations=_number(digest, "iterations", 0),
        slots=frozenset(map(_id, _words(digest, "keyslots"))),
        segments=frozenset(map(_id, _words(digest, "segments"))),
    )


def _damaged(name: str) -> SealedRootError:
    return SealedRootError(
        f"the LUKS2 header is damaged: '{name}' is missing or is not what it must be; restore the"
        " header from a backup"
    )


def _part(of: Json, name: str, kind: t.Type[Part], default: t.Optional[Part] = None) -> Part:
    value = of.get(name, default)
    if not isinstance(value, kind):
        raise _damaged(name)
    return value


def _number(of: Json, name: str, default: t.Optional[int] = None) -> int:
    """Return a number; LUKS2 stores numbers that may not fit a double as strings."""
    value = of.get(name, default)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise _damaged(name)
    return value


def _id(name: str) -> int:
    return _number({"number of an object": name}, "number of an object")


def _words(of: Json, name: str) -> t.Tuple[str, ...]:
    words = _part(of, name, list, [])
    if not all(isinstance(word, str) for word in words):
        raise _damaged(name)
    return tuple(words)


def _objects(data: Json, name: str) -> t.List[t.Tuple[int, Json]]:
    objects = _part(data, name, dict)
    return [(_id(number), _part(objects, number, dict)) for number in objects]


def read(runner: Runner, device: str) -> t.Optional[Header]:
    """Read the header on *device* (a block device, or a file that begins with one); None if it has none."""
    cryptsetup = runner.find("cryptsetup")
    found = runner.run([cryptsetup, "luksDump", device], check=False, timeout=60)
    if found.rc != 0:
        return None
    if _line(found.stdout, "Version") == "1":
        return parse_luks1(found.stdout)
    dump = runner.run([cryptsetup, "luksDump", "--dump-json-metadata", device], timeout=60).stdout
    return parse_luks2(dump, uuid=_line(found.stdout, "UUID"))


def _line(text: str, name: str) -> str:
    """Return what luksDump says of *name*: the first such line is its own, and a label or token can contain more.

    Whoever wrote the header chose the UUID, too, so that line can say anything.
    """
    line = re.search(rf"^{name}:(.*)$", text, re.MULTILINE)
    return line.group(1).strip() if line else ""


__all__ = (
    "FEWEST_ITERATIONS",
    "LUKS2_BINARY",
    "MOST_BYTES",
    "PASSPHRASE_ITERATIONS",
    "STRIPES",
    "Digest",
    "Header",
    "Keyslot",
    "Segment",
    "parse_luks1",
    "parse_luks2",
    "read",
)
