# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Headers as real cryptsetup prints them."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import metadata
from ansible_collections.sealedroot.image.plugins.module_utils._luks.metadata import Keyslot
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

FIXTURES = pathlib.Path(__file__).parents[3] / "fixtures" / "luks"
UUID = "11111111-2222-4333-8444-555555555555"
LUKS1 = (FIXTURES / "luks1-cryptsetup-2.6.1.txt").read_text()
LUKS2 = (FIXTURES / "luks2-cryptsetup-2.6.1.json").read_text()
LUKS2_TEXT = (FIXTURES / "luks2-cryptsetup-2.6.1.txt").read_text()


def test_luks1() -> None:
    header = metadata.parse_luks1(LUKS1)
    assert header == metadata.Header(
        type="luks1",
        uuid=UUID,
        cipher="aes-xts-plain64",
        hash="sha256",
        key_bits=512,
        payload_offset=2097152,
        digest_iterations=1000,
        slots={
            0: Keyslot(1000, "pbkdf2", area=(8 * 512, 4000 * 64)),
            3: Keyslot(2345, "pbkdf2", area=(1520 * 512, 4000 * 64)),
        },
        slot_order=(0, 3),
        metadata_end=4096 + 8 * 258048,
    )


def test_luks2_keeps_the_order_in_which_grub_tries() -> None:
    header = metadata.parse_luks2(LUKS2, uuid=UUID)
    assert header.slot_order == (1, 0)
    assert header.slots == {
        1: Keyslot(
            *(1000, "pbkdf2", "aes-xts-plain64", ("sha256",)),
            area=(290816, 258048),
            key_bits=512,
            area_key_bits=512,
        ),
        0: Keyslot(
            *(4, "argon2id", "aes-xts-plain64", ("sha256",)),
            area=(32768, 258048),
            key_bits=512,
            area_key_bits=512,
        ),
    }
    assert (header.type, header.uuid, header.hash) == ("luks2", UUID, "sha256")
    assert (header.key_bits, header.payload_offset, header.digest_iterations) == (
        512,
        1 << 24,
        1000,
    )
    assert (header.cipher, header.sector_size, header.tokens) == ("aes-xts-plain64", 512, 1)


def test_what_comes_before_the_key_slots() -> None:
    """The first key slot of an ordinary header follows it at once, so nothing between them is left out."""
    assert metadata.parse_luks1(LUKS1).binary_size == 4096
    luks2 = metadata.parse_luks2(LUKS2, uuid=UUID)
    assert luks2.binary_size == luks2.slots[0].area[0] == 32768
    large = json.loads(LUKS2)
    large["config"]["json_size"] = str((4 << 20) - 4096)  # --luks2-metadata-size=4m
    assert metadata.parse_luks2(json.dumps(large), uuid=UUID).binary_size == 8 << 20


def test_the_area_of_a_smaller_volume_key() -> None:
    text = LUKS1.replace("MK bits:       \t512", "MK bits:       \t256")
    assert metadata.parse_luks1(text).slots[3].area == (1520 * 512, 4000 * 32)


def test_the_other_parts_of_luks2() -> None:
    text = (FIXTURES / "luks2-reencrypting-cryptsetup-2.6.1.json").read_text()
    header = metadata.parse_luks2(text, uuid=UUID)
    segment = metadata.Segment(number=0, type="crypt", offset=1 << 24, cipher=header.cipher)
    assert header.segments == (
        segment,
        dataclasses.replace(segment, number=1, flags=("backup-previous",)),
        dataclasses.replace(segment, number=2, flags=("backup-final",)),
    )
    bound = [(sorted(digest.slots), sorted(digest.segments)) for digest in header.digests]
    assert bound == [([0], [0, 1]), ([1], [2]), ([2], [])]
    assert {(it.type, it.hash, it.iterations) for it in header.digests} == {
        ("pbkdf2", "sha256", 1000)
    }
    assert header.other_slots == {2: "reencrypt"}
    assert header.requirements == ("online-reencrypt-v2",)
    assert (header.flags, header.metadata_end) == ((), 1 << 24)


@pytest.mark.parametrize("part", ["segments", "digests"])
def test_a_luks2_header_without_its_parts(part: str) -> None:
    with pytest.raises(SealedRootError, match="no data segment or no digest"):
        metadata.parse_luks2(json.dumps({**json.loads(LUKS2), part: {}}), uuid=UUID)


def test_a_damaged_luks1_header() -> None:
    with pytest.raises(SealedRootError, match="luksDump printed 0 lines 'Hash spec', not one"):
        metadata.parse_luks1(LUKS1.replace("Hash spec", "Hsah spec"))


def test_read_luks1(script, runner) -> None:
    script.expect(["cryptsetup", "luksDump", "/d"], stdout=LUKS1)
    assert metadata.read(runner, "/d") == metadata.parse_luks1(LUKS1)


def test_read_luks2(script, runner) -> None:
    script.expect(["cryptsetup", "luksDump", "/d"], stdout=LUKS2_TEXT)
    script.expect(["cryptsetup", "luksDump", "--dump-json-metadata", "/d"], stdout=LUKS2)
    assert metadata.read(runner, "/d") == metadata.parse_luks2(LUKS2, uuid=UUID)


def test_read_nothing(script, runner) -> None:
    script.expect(["cryptsetup", "luksDump", "/d"], rc=1, stderr="not a valid LUKS device")
    assert metadata.read(runner, "/d") is None


@pytest.mark.parametrize("said", ["another disk", "(no UUID)", ""])
def test_what_a_label_says_is_not_the_uuid(said: str, script, runner) -> None:
    assert f"UUID:          \t{UUID}\n" in LUKS2_TEXT
    forged = LUKS2_TEXT.replace(
        f"UUID:          \t{UUID}\n", f"UUID:          \t{said}\nLabel:         \tx\nUUID: {UUID}\n"
    )
    script.expect(["cryptsetup", "luksDump", "/d"], stdout=forged)
    script.expect(["cryptsetup", "luksDump", "--dump-json-metadata", "/d"], stdout=LUKS2)
    header = metadata.read(runner, "/d")
    assert header is not None
    assert header.uuid == said


def test_what_a_token_is_called_does_not_make_it_luks1(script, runner) -> None:
    """luksDump prints names that whoever wrote the header chose."""
    forged = f"{LUKS2_TEXT}Tokens:\n  0: x\n\n{LUKS1}"
    script.expect(["cryptsetup", "luksDump", "/d"], stdout=forged)
    script.expect(["cryptsetup", "luksDump", "--dump-json-metadata", "/d"], stdout=LUKS2)
    header = metadata.read(runner, "/d")
    assert header is not None
    assert header.type == "luks2"
