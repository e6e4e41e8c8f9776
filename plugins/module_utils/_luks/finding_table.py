# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Each thing that can be unusual about a LUKS header, how bad that is, and what to do about it: a table. Pure.

docs/luks_findings.md shows the same table to people, and a test compares the two.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._luks.metadata import (
    FEWEST_ITERATIONS,
    PASSPHRASE_ITERATIONS,
    STRIPES,
)

# A hostile host could have made this, or data is not protected.
DANGER = "danger"
# GRUB cannot read it, or is slow with it.
BOOT = "boot"
# Right for some containers, but worth knowing for all.
NOTE = "note"

# What a build makes. GRUB before 2.14 reads it, and every signed GRUB has its modules (docs/facts.md: common-header).
GRUB_CIPHER = "aes-xts-plain64"
KEY_BITS = 512
SECTOR = 512
HASHES = ("sha256", "sha512")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing about a header that an operator should know; in TABLE, its texts are format strings."""

    id: str
    severity: str
    meaning: str
    cure: str


_ANEW = "build the image anew, or restore the header that was made with it"
_END = (
    "end the reencryption with 'cryptsetup reencrypt' if it was you who began one, else build the image"
    " anew"
)
_KILL = "remove it with 'cryptsetup luksKillSlot', or build the image anew"
_CONVERT = (
    "run 'cryptsetup luksConvertKey --key-slot {number} --pbkdf pbkdf2 --hash sha256"
    " --pbkdf-force-iterations 1000'"
)

TABLE: t.Tuple[Finding, ...] = (
    Finding(
        "no-header",
        DANGER,
        "there is no LUKS header that cryptsetup takes",
        "give the offset at which the container begins, or make one with luks_image",
    ),
    Finding(
        "null-cipher", DANGER, "the data has the cipher {it.cipher}, so it is not encrypted", _ANEW
    ),
    Finding("cipher", DANGER, f"the cipher is {{it.cipher}}, not {GRUB_CIPHER}", _ANEW),
    Finding("key-size", DANGER, f"the volume key has {{it.key_bits}} bits, not {KEY_BITS}", _ANEW),
    Finding("segments", DANGER, "there are {number} data segments, not one", _END),
    Finding(
        "segment-type",
        DANGER,
        "segment {number} has the type {it.type}, not crypt, so its data is not encrypted",
        _END,
    ),
    Finding(
        "segment-flag",
        DANGER,
        "segment {number} has the flag {it}, which only an unfinished reencryption has",
        _END,
    ),
    Finding(
        "segment-size",
        DANGER,
        "segment {number} has the fixed size {it.size}, so a host can have cut off data",
        _ANEW,
    ),
    Finding(
        "iv-tweak",
        DANGER,
        "segment {number} counts its sectors from {it.iv_tweak}, not from 0, which GRUB does not",
        _ANEW,
    ),
    Finding(
        "data-overlap",
        DANGER,
        "segment {number} begins at byte {it.offset}, before the header and its key slots end"
        " (byte {header.metadata_end})",
        _ANEW,
    ),
    Finding(
        "unbound-segment",
        DANGER,
        "no digest is for segment {number}, so nothing says which key its data has",
        _ANEW,
    ),
    Finding(
        "digests",
        DANGER,
        "there are {number} digests, not one, so the header is for several volume keys",
        "remove the slots of the others with 'cryptsetup luksKillSlot', or build the image anew",
    ),
    Finding(
        "null-slot",
        DANGER,
        "slot {number} has the cipher {it.cipher}, so the volume key in it can be read without a key",
        "build the image anew: its volume key is no secret any more",
    ),
    Finding(
        "slot-key-size",
        DANGER,
        "slot {number} holds a key of {it.key_bits} bits, and others one of {header.key_bits}",
        _KILL,
    ),
    Finding(
        "area-key-size",
        DANGER,
        "slot {number} is encrypted with a key of {it.area_key_bits} bits, and holds one of {header.key_bits}",
        _KILL,
    ),
    Finding(
        "af-stripes",
        DANGER,
        f"slot {{number}} has {{it.stripes}} stripes, not {STRIPES}, which cryptsetup never makes",
        _KILL,
    ),
    Finding(
        "forced-slot",
        DANGER,
        "slot {number} has {it.iterations} iterations, fewer than cryptsetup ever makes"
        f" ({FEWEST_ITERATIONS})",
        _KILL,
    ),
    Finding(
        "forced-digest",
        DANGER,
        "digest {number} has {it.iterations} iterations, fewer than cryptsetup ever makes"
        f" ({FEWEST_ITERATIONS})",
        _ANEW,
    ),
    Finding(
        "tokens",
        DANGER,
        "there are tokens ({number}), which can hold a key, or say where one comes from",
        "remove each with 'cryptsetup token remove --token-id'",
    ),
    Finding(
        "reencrypt-slot",
        DANGER,
        "slot {number} has the type {it}, which only an unfinished reencryption has",
        _END,
    ),
    Finding(
        "requirement-reencrypt",
        DANGER,
        "the header has the requirement {it}, so a reencryption is not finished",
        _END,
    ),
    Finding(
        "requirement",
        BOOT,
        "the header has the requirement {it}, which GRUB does not know, and cryptsetup may not",
        _ANEW,
    ),
    Finding(
        "integrity",
        BOOT,
        "segment {number} has the integrity {it.integrity}, which GRUB cannot read",
        "build the image anew without --integrity",
    ),
    Finding(
        "sector-size",
        BOOT,
        f"the sector size is {{it.sector_size}}, not {SECTOR}, and GRUB may not read a file system"
        " on it",
        f"build the image anew with --sector-size {SECTOR}",
    ),
    Finding(
        "unbound-digest",
        BOOT,
        "digest {number} is for no segment, so the slots that it binds open nothing",
        _KILL,
    ),
    Finding(
        "digest-type",
        BOOT,
        "digest {number} has the type {it.type}, which GRUB cannot compute",
        _ANEW,
    ),
    Finding(
        "hash",
        BOOT,
        "the hash of digest {number} is {it.hash}, which a signed GRUB may not have",
        f"build the image anew with --hash {HASHES[0]}",
    ),
    Finding(
        "slow-digest",
        BOOT,
        "digest {number} has {it.iterations} iterations, and GRUB makes them for each slot it tries",
        "build the image anew with --pbkdf-force-iterations 1000",
    ),
    Finding("no-slots", BOOT, "there is no key slot, so no key opens it", _ANEW),
    Finding(
        "unbound-slot",
        BOOT,
        "slot {number} is for no segment, so it opens nothing, and GRUB 2.06 tries no slot after it",
        _KILL,
    ),
    Finding(
        "slot-type",
        BOOT,
        "slot {number} has the type {it}, and GRUB 2.06 tries no slot after it",
        _KILL,
    ),
    Finding(
        "slot-cipher",
        BOOT,
        f"slot {{number}} is encrypted with {{it.cipher}}, not {GRUB_CIPHER}, and a signed GRUB may not"
        " have that",
        f"add its key again with --keyslot-cipher {GRUB_CIPHER}, and remove it",
    ),
    Finding(
        "slot-hash",
        BOOT,
        "slot {number} has the hash {it}, and the digest {header.hash}, so GRUB needs both",
        "add its key again with --hash {header.hash}, and remove it",
    ),
    Finding(
        "argon2",
        BOOT,
        "slot {number} uses {it.kdf}, which GRUB before 2.14 cannot compute",
        _CONVERT,
    ),
    Finding("kdf", BOOT, "slot {number} uses {it.kdf}, which GRUB cannot compute", _KILL),
    Finding(
        "ignored-slot",
        BOOT,
        "slot {number} has the priority ignore, so GRUB never tries it",
        "run 'cryptsetup config --key-slot {number} --priority normal'",
    ),
    Finding(
        "slow-slot",
        BOOT,
        "slot {number} has {it.iterations} iterations, so GRUB takes many seconds to try it",
        _CONVERT + ", or more than 1000 for a passphrase",
    ),
    Finding(
        "few-iterations",
        NOTE,
        "slot {number} has {it.iterations} iterations, which is right for a key with 128 random bits or"
        " more, and wrong for a passphrase",
        f"give a passphrase {PASSPHRASE_ITERATIONS}, and leave a key of random bits as it is",
    ),
    Finding(
        "data-offset",
        NOTE,
        "segment {number} begins at byte {it.offset}, which is not where cryptsetup puts it by default",
        "leave it, if you chose the offset, converted the header, or made it with another program",
    ),
    Finding(
        "slot-area",
        NOTE,
        "slot {number} has its key material at byte {it.offset}, where or as long as cryptsetup puts none",
        "leave it, if another program made the header, else add its key again and remove it",
    ),
    Finding(
        "flags",
        NOTE,
        "the header has the flag {it}, so it is opened with that option",
        "open it with 'cryptsetup open --persistent' and without the option",
    ),
)


__all__ = (
    "BOOT",
    "DANGER",
    "GRUB_CIPHER",
    "HASHES",
    "KEY_BITS",
    "NOTE",
    "SECTOR",
    "TABLE",
    "Finding",
)
