# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What a LUKS header says: ``cryptsetup luksDump`` parsed into dataclasses.

LUKS1 has only the text form; LUKS2 has ``--dump-json-metadata``, whose object order matters, because
GRUB tries the key slots in that order (TECH 1.3).
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._command import (
    Runner,
    SealedRootError,
)

# GRUB before 2.14 reads no other, and every GRUB's signed build has sha256 and rijndael (TECH 0.1).
GRUB_CIPHER = "aes-xts-plain64"
# cryptsetup puts the first key slot of LUKS1 here (LUKS_ALIGN_KEYSLOTS).
LUKS1_BINARY = 4096
# What comes before the JSON in each copy of a LUKS2 header; all of it is in the first sector.
LUKS2_BINARY = 4096
# A header with its key slots ends before this, at the latest (LUKS2's default data offset).
MOST_BYTES = 32 << 20

_LUKS1_SLOT = re.compile(
    r"^Key Slot (\d+): ENABLED\n\s*Iterations:\s*(\d+)\n(?:\s+.*\n)*?"
    r"\s*Key material offset:\s*(\d+)\n\s*AF stripes:\s*(\d+)",
    re.MULTILINE,
)


@dataclasses.dataclass(frozen=True)
class Keyslot:
    """One active key slot."""

    iterations: int
    kdf: str
    # LUKS1 has one cipher and one hash for key slots and data; in LUKS2 they can differ.
    cipher: str = ""
    hashes: t.Tuple[str, ...] = ()
    # LUKS2 only. GRUB leaves out what has the priority 0, "ignore".
    ignored: bool = False
    # Where its key material is: offset and size in bytes, from the beginning of the header.
    area: t.Tuple[int, int] = (0, 0)


@dataclasses.dataclass(frozen=True)
class Header:
    """A LUKS header; sizes in bits or bytes as named, offsets in bytes."""

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
    # What comes before the key slots, in bytes.
    binary_size: int = LUKS1_BINARY


def parse_luks1(text: str) -> Header:
    """Parse the text of ``cryptsetup luksDump`` of a LUKS1 header."""

    def field(name: str) -> str:
        match = re.search(rf"^{name}:\s*(.*?)\s*$", text, re.MULTILINE)
        if not match:
            raise SealedRootError(f"luksDump printed no '{name}': the header is damaged")
        return match.group(1)

    key_bits = int(field("MK bits"))
    slots = {
        int(number): Keyslot(
            iterations=int(iterations),
            kdf="pbkdf2",
            area=(int(start) * 512, int(stripes) * key_bits // 8),
        )
        for number, iterations, start, stripes in _LUKS1_SLOT.findall(text)
    }
    return Header(
        type="luks1",
        uuid=field("UUID"),
        cipher=f"{field('Cipher name')}-{field('Cipher mode')}",
        hash=field("Hash spec"),
        key_bits=key_bits,
        payload_offset=int(field("Payload offset")) * 512,
        digest_iterations=int(field("MK iterations")),
        slots=slots,
        slot_order=tuple(sorted(slots)),
    )


def parse_luks2(text: str, *, uuid: str) -> Header:
    """Parse ``cryptsetup luksDump --dump-json-metadata``; the UUID is in the binary header only."""
    data = json.loads(text)
    segments = list(data["segments"].values())
    digests = list(data["digests"].values())
    slots = {
        int(number): Keyslot(
            iterations=int(slot["kdf"].get("iterations", slot["kdf"].get("time", 0))),
            kdf=slot["kdf"]["type"],
            cipher=slot.get("area", {}).get("encryption", ""),
            hashes=tuple(
                sorted({slot.get(part, {}).get("hash", "") for part in ("kdf", "af")} - {""})
            ),
            ignored=slot.get("priority") == 0,
            area=(
                int(slot.get("area", {}).get("offset", 0)),
                int(slot.get("area", {}).get("size", 0)),
            ),
        )
        for number, slot in data["keyslots"].items()
        if slot["type"] == "luks2"
    }
    requirements = list(data["config"].get("requirements", {}).get("mandatory", []))
    if not segments or not digests:
        raise SealedRootError("the LUKS2 header has no data segment or no digest of the volume key")
    others = sorted({slot["type"] for slot in data["keyslots"].values()} - {"luks2"})
    requirements += [f"{kind} key slots" for kind in others]
    if len(segments) != 1 or len(digests) != 1:
        requirements.append(f"{len(segments)} segments, {len(digests)} digests")
    requirements += [f"a segment with {it}" for it in _oddities(segments[0])]
    return Header(
        type="luks2",
        uuid=uuid,
        cipher=segments[0].get("encryption", "none"),
        hash=digests[0]["hash"],
        key_bits=8 * max((s["key_size"] for s in data["keyslots"].values()), default=0),
        payload_offset=int(segments[0]["offset"]),
        digest_iterations=int(digests[0]["iterations"]),
        slots=slots,
        slot_order=tuple(slots),
        tokens=len(data["tokens"]),
        requirements=tuple(requirements),
        sector_size=int(segments[0].get("sector_size", 512)),
        # Two copies.
        binary_size=2 * (LUKS2_BINARY + int(data["config"]["json_size"])),
    )


def _oddities(segment: t.Mapping[str, t.Any]) -> t.List[str]:
    """Name what makes a data segment another one than cryptsetup makes by default."""
    usual = {"type": "crypt", "size": "dynamic", "iv_tweak": "0", "flags": [], "integrity": {}}
    return [f"{key} {segment[key]}" for key in usual if segment.get(key, usual[key]) != usual[key]]


def read(runner: Runner, device: str) -> t.Optional[Header]:
    """Read the header on *device* (a block device or a file that begins with it); None if none."""
    cryptsetup = runner.find("cryptsetup")
    uuid = runner.run([cryptsetup, "luksUUID", device], check=False)
    if uuid.rc != 0:
        return None
    text = runner.run([cryptsetup, "luksDump", device]).stdout
    if re.search(r"^Version:\s*1\s*$", text, re.MULTILINE):
        return parse_luks1(text)
    dump = runner.run([cryptsetup, "luksDump", "--dump-json-metadata", device]).stdout
    return parse_luks2(dump, uuid=uuid.stdout.strip())


def findings(header: Header) -> t.List[str]:
    """Say what in *header* does not belong into a sealed image (TECH 5.4)."""
    found = []
    if header.cipher != GRUB_CIPHER:
        found.append(f"the cipher is {header.cipher}, not {GRUB_CIPHER}")
    if header.key_bits != 512:
        found.append(f"the volume key has {header.key_bits} bits, not 512")
    if header.sector_size != 512:
        found.append(f"the sector size is {header.sector_size}, not 512")
    if header.tokens:
        found.append(f"there are {header.tokens} tokens")
    if header.requirements:
        found.append(f"there are requirements: {', '.join(header.requirements)}")
    for number, slot in header.slots.items():
        if slot.cipher not in ("", GRUB_CIPHER):
            found.append(f"slot {number} is encrypted with {slot.cipher}, not {GRUB_CIPHER}")
        if set(slot.hashes) - {header.hash}:
            hashes = " and ".join(slot.hashes)
            found.append(f"slot {number} has the hash {hashes}, and the digest {header.hash}")
        if slot.ignored:
            found.append(f"slot {number} has the priority ignore, so GRUB never tries it")
        if slot.kdf != "pbkdf2":
            found.append(f"slot {number} uses {slot.kdf}, which GRUB before 2.14 cannot compute")
    return found


__all__ = (
    "GRUB_CIPHER",
    "MOST_BYTES",
    "Header",
    "Keyslot",
    "findings",
    "parse_luks1",
    "parse_luks2",
    "read",
)
