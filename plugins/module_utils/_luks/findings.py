# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What is unusual about a LUKS header, by the rows of finding_table.py: pure."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._luks.finding_table import (
    GRUB_CIPHER,
    HASHES,
    KEY_BITS,
    SECTOR,
    TABLE,
    Finding,
)
from ansible_collections.sealedroot.image.plugins.module_utils._luks.metadata import (
    FEWEST_ITERATIONS,
    PASSPHRASE_ITERATIONS,
    STRIPES,
    Digest,
    Header,
    Keyslot,
    Segment,
)

# cryptsetup's defaults.
PAYLOAD_OFFSETS = {"luks1": 2 << 20, "luks2": 16 << 20}
# GRUB's C code makes 100 000 to 240 000 iterations a second (docs/facts.md: iterations), for each slot that it tries
# also those of the digest.
SLOW_SLOT = 1_000_000
SLOW_DIGEST = 10_000
# The alignment of key material in both versions of LUKS.
_ALIGNMENT = 4096
# Limit for a text: a name in a header can be as long as the header.
_LONGEST = 300
_ROWS = {row.id: row for row in TABLE}


def findings(header: t.Optional[Header]) -> t.List[Finding]:
    """Return what is unusual about *header*; None means that there is none."""
    if header is None:
        return [_ROWS["no-header"]]
    # LUKS1 has exactly one of each, but does not list them.
    segments = header.segments or (
        Segment(
            number=0,
            type="crypt",
            offset=header.payload_offset,
            cipher=header.cipher,
            sector_size=header.sector_size,
        ),
    )
    digests = header.digests or (
        Digest(
            number=0,
            type="pbkdf2",
            hash=header.hash,
            iterations=header.digest_iterations,
            slots=frozenset(header.slots),
            segments=frozenset({0}),
        ),
    )
    found = [_say(id_, header, 0, header) for id_ in _of_header(header)]
    for id_, count in (("segments", len(segments)), ("digests", len(digests))):
        found += [_say(id_, header, count, None)] if count != 1 else []
    found += [_say("tokens", header, header.tokens, None)] if header.tokens else []
    for segment in segments:
        bound = any(segment.number in digest.segments for digest in digests)
        ids = _of_segment(header, segment, bound=bound)
        found += [_say(id_, header, segment.number, segment) for id_ in ids]
        found += [_say("segment-flag", header, segment.number, it) for it in segment.flags]
    for digest in digests:
        found += [_say(id_, header, digest.number, digest) for id_ in _of_digest(digest)]
    for number, slot in header.slots.items():
        bound = any(number in digest.slots and digest.segments for digest in digests)
        ids = _of_slot(header, number, slot, bound=bound)
        found += [_say(id_, header, number, slot) for id_ in ids]
        found += [_say("slot-hash", header, number, it) for it in slot.hashes if it != header.hash]
    for number, type_ in header.other_slots.items():
        id_ = "reencrypt-slot" if type_ == "reencrypt" else "slot-type"
        found.append(_say(id_, header, number, type_))
    for name in header.requirements:
        id_ = "requirement-reencrypt" if "reencrypt" in name else "requirement"
        found.append(_say(id_, header, 0, name))
    found += [_say("flags", header, 0, flag) for flag in header.flags]
    return list(dict.fromkeys(found))


def _of_header(it: Header) -> t.List[str]:
    return _true(
        {
            "no-slots": not it.slots,
            "key-size": it.key_bits != KEY_BITS and bool(it.slots or it.key_bits),
        }
    )


def _of_segment(header: Header, it: Segment, *, bound: bool) -> t.List[str]:
    null = "null" in it.cipher
    overlaps = it.offset < header.metadata_end
    return _true(
        {
            "null-cipher": null,
            "cipher": it.type == "crypt" and it.cipher != GRUB_CIPHER and not null,
            "segment-type": it.type != "crypt",
            "segment-size": it.size != "dynamic",
            "iv-tweak": it.iv_tweak != 0,
            "data-overlap": overlaps,
            "data-offset": it.offset != PAYLOAD_OFFSETS.get(header.type) and not overlaps,
            "unbound-segment": not bound,
            "integrity": bool(it.integrity),
            "sector-size": it.sector_size != SECTOR,
        }
    )


def _of_digest(it: Digest) -> t.List[str]:
    return _true(
        {
            "unbound-digest": not it.segments,
            "digest-type": it.type != "pbkdf2",
            "hash": it.hash not in HASHES,
            "slow-digest": it.iterations > SLOW_DIGEST,
            "forced-digest": it.type == "pbkdf2" and it.iterations < FEWEST_ITERATIONS,
        }
    )


def _is_usual(header: Header, number: int, it: Keyslot) -> bool:
    """Say whether the key material is where cryptsetup puts it: one area after the other, on 4096 bytes each."""
    if it.stripes != STRIPES or it.key_bits not in (None, header.key_bits):
        return True  # There are other findings for such slots.
    if header.type == "luks1":
        unit = _area(header.key_bits)
        return it.area[0] == header.binary_size + number * unit
    unit = _area(it.key_bits or 0)
    begin = it.area[0] - header.binary_size
    return it.area[1] == unit and begin >= 0 and not begin % unit


def _area(key_bits: int) -> int:
    return max(1, -(-key_bits // 8 * STRIPES // _ALIGNMENT)) * _ALIGNMENT


def _of_slot(header: Header, number: int, it: Keyslot, *, bound: bool) -> t.List[str]:
    null, argon2, pbkdf2 = "null" in it.cipher, it.kdf.startswith("argon2"), it.kdf == "pbkdf2"
    return _true(
        {
            "null-slot": null,
            # LUKS1 records no cipher and no size for each slot.
            "slot-cipher": it.cipher not in ("", GRUB_CIPHER) and not null,
            "slot-key-size": it.key_bits not in (None, header.key_bits),
            "area-key-size": it.area_key_bits not in (None, header.key_bits),
            "af-stripes": it.stripes != STRIPES,
            "slot-area": not _is_usual(header, number, it),
            "unbound-slot": not bound,
            "argon2": argon2,
            "kdf": not argon2 and not pbkdf2,
            "ignored-slot": it.ignored,
            "slow-slot": pbkdf2 and it.iterations > SLOW_SLOT,
            "forced-slot": pbkdf2 and it.iterations < FEWEST_ITERATIONS,
            "few-iterations": pbkdf2 and FEWEST_ITERATIONS <= it.iterations < PASSPHRASE_ITERATIONS,
        }
    )


def _true(verdicts: t.Mapping[str, bool]) -> t.List[str]:
    return [id_ for id_, holds in verdicts.items() if holds]


def _say(id_: str, header: Header, number: int, it: t.Any) -> Finding:
    row = _ROWS[id_]

    def text(words: str) -> str:
        # A host can write any name into a header, including characters that control a terminal.
        said = words.format(header=header, number=number, it=it)
        return "".join(c if c.isprintable() else "?" for c in said)[:_LONGEST]

    return Finding(row.id, row.severity, text(row.meaning), text(row.cure))


__all__ = ("PAYLOAD_OFFSETS", "findings")
