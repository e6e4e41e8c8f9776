# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Findings about LUKS headers: a row a case, and whatever a hostile host may write."""

from __future__ import annotations

import collections.abc
import copy
import json
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import (
    finding_table,
    findings as luks_findings,
    metadata,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

FIXTURES = pathlib.Path(__file__).parents[3] / "fixtures" / "luks"
UUID = "11111111-2222-4333-8444-555555555555"
LUKS1 = (FIXTURES / "luks1-cryptsetup-2.6.1.txt").read_text()


def luks2() -> dict[str, t.Any]:
    """Return the metadata of a header as a build makes it, with one key slot."""
    data = json.loads((FIXTURES / "luks2-cryptsetup-2.6.1.json").read_text())
    del data["keyslots"]["0"], data["tokens"]["0"]
    data["digests"]["0"]["keyslots"] = ["1"]
    return t.cast("dict[str, t.Any]", data)


def judge1(text: str) -> list[finding_table.Finding]:
    return luks_findings.findings(metadata.parse_luks1(text))


def judge2(data: t.Any) -> list[finding_table.Finding]:
    header = metadata.parse_luks2(json.dumps(data), uuid=UUID)
    return luks_findings.findings(header)


def refused(judge: t.Callable[[t.Any], object], header: t.Any) -> str | None:
    """Return the sentence that a header is refused with, if it is."""
    try:
        judge(header)
    except SealedRootError as exc:
        return str(exc)
    return None


def test_what_seal_makes_has_notes_only() -> None:
    for found in (judge1(LUKS1), judge2(luks2())):
        assert {(it.id, it.severity) for it in found} == {("few-iterations", "note")}
    assert judge2(luks2())[0].meaning == (
        "slot 1 has 1000 iterations, which is right for a key with 128 random bits or more, and wrong"
        " for a passphrase"
    )


SEGMENT, DIGEST, SLOT = ("segments", "0"), ("digests", "0"), ("keyslots", "1")
LINEAR = {"type": "linear", "offset": "16777216", "size": "512"}

# Where in the metadata, what is there, and each finding with a part of what it says.
CASES: list[tuple[tuple[str, ...], t.Any, dict[str, str]]] = [
    ((*SEGMENT, "encryption"), "cipher_null-ecb", {"null-cipher": "cipher_null-ecb"}),
    ((*SEGMENT, "encryption"), "null", {"null-cipher": "the cipher null,"}),
    ((*SEGMENT, "encryption"), "aes-cbc-plain64", {"cipher": "aes-cbc-plain64, not aes-xts"}),
    ((*SEGMENT, "type"), "linear", {"segment-type": "segment 0 has the type linear"}),
    ((*SEGMENT, "size"), "512", {"segment-size": "the fixed size 512"}),
    ((*SEGMENT, "iv_tweak"), "8", {"iv-tweak": "from 8, not from 0"}),
    ((*SEGMENT, "flags"), ["in-reencryption"], {"segment-flag": "the flag in-reencryption"}),
    ((*SEGMENT, "flags"), ["backup-final"], {"segment-flag": "the flag backup-final"}),
    ((*SEGMENT, "sector_size"), 4096, {"sector-size": "4096, not 512"}),
    ((*SEGMENT, "integrity"), {"type": "hmac(sha256)"}, {"integrity": "hmac(sha256)"}),
    ((*SEGMENT, "integrity"), {"odd": 1}, {"integrity": "{'odd': 1}"}),
    ((*SEGMENT, "offset"), "0", {"data-overlap": "at byte 0, before"}),
    ((*SEGMENT, "offset"), "16777215", {"data-overlap": "(byte 16777216)"}),
    ((*SEGMENT, "offset"), "33554432", {"data-offset": "at byte 33554432"}),
    (("segments", "1"), LINEAR, {
        "segments": "2 data segments",
        "segment-type": "segment 1 has the type linear",
        "segment-size": "segment 1",
        "unbound-segment": "no digest is for segment 1",
    }),
    ((*DIGEST, "segments"), [], {
        "unbound-digest": "digest 0",
        "unbound-segment": "segment 0",
        "unbound-slot": "slot 1 is for no segment",
    }),
    ((*DIGEST, "keyslots"), [], {"unbound-slot": "slot 1"}),
    ((*DIGEST, "type"), "new", {"digest-type": "the type new"}),
    ((*DIGEST, "hash"), "sha1", {"hash": "is sha1", "slot-hash": "has the hash sha256, and the"}),
    ((*DIGEST, "iterations"), 162418, {"slow-digest": "162418 iterations"}),
    ((*DIGEST, "iterations"), 1, {"forced-digest": "digest 0 has 1 iterations"}),
    ((*DIGEST, "iterations"), 999, {"forced-digest": "999 iterations"}),
    ((*DIGEST, "iterations"), 1000, {}),
    (("digests", "1"), {**luks2()["digests"]["0"], "keyslots": []}, {"digests": "2 digests"}),
    (("digests", "1"), {**luks2()["digests"]["0"], "segments": []}, {
        "digests": "2 digests",
        "unbound-digest": "digest 1",
    }),
    (("keyslots",), {}, {"no-slots": "no key slot"}),
    ((*SLOT, "key_size"), 32, {
        "key-size": "256 bits, not 512",
        "area-key-size": "with a key of 512 bits, and holds one of 256",
        # That of a shorter key is shorter.
        "slot-area": "slot 1 has its key material at byte",
    }),
    (("keyslots", "7"), {**luks2()["keyslots"]["1"], "key_size": 32}, {
        "slot-key-size": "slot 7 holds a key of 256 bits, and others one of 512",
        "unbound-slot": "slot 7",
    }),
    ((*SLOT, "area", "key_size"), 32, {"area-key-size": "with a key of 256 bits, and holds one of 512"}),
    ((*SLOT, "area", "key_size"), 1 << 40, {"area-key-size": f"a key of {8 << 40} bits"}),
    ((*SLOT, "af", "stripes"), 1, {"af-stripes": "slot 1 has 1 stripes, not 4000"}),
    ((*SLOT, "af", "stripes"), 4001, {"af-stripes": "4001 stripes"}),
    ((*SLOT, "area", "offset"), "32768", {}),
    ((*SLOT, "area", "offset"), str(32768 + 5 * 258048), {}),
    ((*SLOT, "area", "offset"), str(12 << 20), {"slot-area": "slot 1 has its key material at byte 12582912"}),
    ((*SLOT, "area", "offset"), "33280", {"slot-area": "at byte 33280"}),
    ((*SLOT, "area", "offset"), "4096", {"slot-area": "at byte 4096"}),
    ((*SLOT, "area", "size"), "262144", {"slot-area": "where or as long as cryptsetup puts none"}),
    ((*SLOT, "area", "encryption"), "cipher_null-ecb", {"null-slot": "cipher_null-ecb"}),
    ((*SLOT, "area", "encryption"), "serpent-xts-plain64", {"slot-cipher": "serpent"}),
    ((*SLOT, "kdf", "hash"), "sha512", {"slot-hash": "the hash sha512, and the digest sha256"}),
    ((*SLOT, "af", "hash"), "sha1", {"slot-hash": "the hash sha1"}),
    ((*SLOT, "kdf", "type"), "argon2id", {"argon2": "argon2id, which GRUB before 2.14"}),
    ((*SLOT, "kdf", "type"), "scrypt", {"kdf": "scrypt"}),
    ((*SLOT, "priority"), 0, {"ignored-slot": "never tries it"}),
    ((*SLOT, "kdf", "iterations"), 1_000_001, {"slow-slot": "1000001 iterations"}),
    ((*SLOT, "kdf", "iterations"), 1, {"forced-slot": "slot 1 has 1 iterations"}),
    ((*SLOT, "kdf", "iterations"), 999, {"forced-slot": "999 iterations"}),
    ((*SLOT, "kdf", "iterations"), 1000, {"few-iterations": "1000 iterations"}),
    ((*SLOT, "kdf", "iterations"), 600_000, {}),
    ((*SLOT, "kdf", "iterations"), 599_999, {"few-iterations": "599999 iterations"}),
    (("keyslots", "2"), {"type": "reencrypt"}, {"reencrypt-slot": "slot 2 has the type reencrypt"}),
    (("keyslots", "2"), {"type": "new"}, {"slot-type": "slot 2 has the type new"}),
    (("tokens", "0"), {"type": "systemd-tpm2"}, {"tokens": "tokens (1)"}),
    (("config", "requirements"), {"mandatory": ["online-reencrypt-v2"]}, {
        "requirement-reencrypt": "online-reencrypt-v2",
    }),
    (("config", "requirements"), {"mandatory": ["new"]}, {"requirement": "the requirement new"}),
    (("config", "flags"), ["allow-discards"], {"flags": "allow-discards"}),
]  # fmt: skip


@pytest.mark.parametrize(("place", "value", "says"), CASES)
def test_luks2(place: tuple[str, ...], value: t.Any, says: dict[str, str]) -> None:
    data = luks2()
    put(data, place, value)
    found = judge2(data)
    said = {it.id: it.meaning for it in found if it.id != "few-iterations" or it.id in says}
    assert set(said) == set(says)
    assert [said[id_] for id_, part in says.items() if part not in said[id_]] == []


@pytest.mark.parametrize(
    ("old", "new", "ids"),
    [
        ("Cipher name:   \taes", "Cipher name:   \tcipher_null", {"null-cipher"}),
        ("Cipher mode:   \txts-plain64", "Cipher mode:   \tecb", {"cipher"}),
        ("Hash spec:     \tsha256", "Hash spec:     \tripemd160", {"hash"}),
        ("Payload offset:\t4096", "Payload offset:\t0", {"data-overlap"}),
        ("Payload offset:\t4096", "Payload offset:\t4039", {"data-overlap"}),
        ("Payload offset:\t4096", "Payload offset:\t4040", {"data-offset"}),
        ("MK bits:       \t512", "MK bits:       \t256", {"key-size", "slot-area"}),
        ("MK iterations: \t1000", "MK iterations: \t162418", {"slow-digest"}),
        ("MK iterations: \t1000", "MK iterations: \t1", {"forced-digest"}),
        ("AF stripes:            \t4000", "AF stripes:            \t1", {"af-stripes"}),
        ("Iterations:         \t1000", "Iterations:         \t1", {"forced-slot"}),
        ("ENABLED", "DISABLED", {"no-slots"}),
        ("Iterations:         \t1000", "Iterations:         \t1000001", {"slow-slot"}),
    ],
)
def test_luks1(old: str, new: str, ids: set[str]) -> None:
    assert old in LUKS1
    found = judge1(LUKS1.replace(old, new))
    assert {it.id for it in found} - {"few-iterations"} == ids


def test_no_header() -> None:
    assert [it.id for it in luks_findings.findings(None)] == ["no-header"]


def test_every_row_of_the_table_has_a_case() -> None:
    cases = {id_ for _place, _value, says in CASES for id_ in says}
    assert cases == {row.id for row in finding_table.TABLE} - {"no-header"}
    assert {row.severity for row in finding_table.TABLE} == {"danger", "boot", "note"}


def test_a_header_in_the_middle_of_a_reencryption() -> None:
    text = (FIXTURES / "luks2-reencrypting-cryptsetup-2.6.1.json").read_text()
    found = judge2(json.loads(text))
    assert {it.id for it in found if it.severity == "danger"} == {
        *("segments", "segment-flag", "digests", "reencrypt-slot", "requirement-reencrypt"),
    }
    assert "slot 2 has the type reencrypt" in " ".join(it.meaning for it in found)


def test_what_is_shown_of_a_hostile_name() -> None:
    data = luks2()
    data["segments"]["0"]["encryption"] = "\x1b[2J\n" + "x" * 4000
    (found,) = (it for it in judge2(data) if it.id == "cipher")
    assert found.meaning.startswith("the cipher is ?[2J?xxx")
    assert len(found.meaning) == 300


def put(data: t.Any, place: tuple[str, ...], value: t.Any) -> None:
    for key in place[:-1]:
        data = data[key]
    data[place[-1]] = value


def places(data: t.Any) -> collections.abc.Iterator[tuple[str, ...]]:
    """Yield where there is something in *data*."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield (key,)
            yield from ((key, *rest) for rest in places(value))


ODD: list[t.Any] = [
    *(None, True, False, -1, 0, 1.5, 10**30, "", "x", "-1", "01", "9" * 5000, "\x00\x1b[2J"),
    *([], {}, [0], ["x"], ["1", ["2"]], {"x": 1}, {"0": "x"}, {"0": {}}, {"type": 1}),
]


@pytest.mark.parametrize("place", sorted(places(luks2())))
def test_no_metadata_is_a_surprise(place: tuple[str, ...]) -> None:
    """Each part of it once left out, and once each of what it should not be."""
    for value in (*ODD, ...):
        data = luks2()
        if value is ...:
            inner = data
            for key in place[:-1]:
                inner = inner[key]
            del inner[place[-1]]
        else:
            put(data, place, copy.deepcopy(value))
        said = refused(judge2, data)
        assert said is None or "the LUKS2 header" in said


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "1", '{"a": NaN}', "[" * 100_000, '{"config": ' + "9" * 5000 + "}"]
)
def test_metadata_that_is_none(text: str) -> None:
    with pytest.raises(SealedRootError, match=r"is damaged: '(metadata|keyslots|config)'"):
        metadata.parse_luks2(text, uuid=UUID)


def test_no_line_of_luks1_is_a_surprise() -> None:
    lines = LUKS1.splitlines()
    for number, line in enumerate(lines):
        name = line.partition(":")[0]
        for odd in ("", f"{name}:", f"{name}: x", f"{name}: -1", f"{name}: {'9' * 5000}", line * 2):
            text = "\n".join([*lines[:number], odd, *lines[number + 1 :]])
            said = refused(judge1, text)
            assert said is None or "the header is damaged" in said


@pytest.mark.parametrize(
    "name",
    ["aes\nx", "aes\nMK bits: x", "aes\nMK bits: 512", "aes\nCipher mode:\txts-plain64", "aes\n"],
)
@pytest.mark.parametrize("line", ["Cipher name:   \t", "Cipher mode:   \t"])
def test_a_cipher_that_brings_lines_of_its_own(name: str, line: str) -> None:
    """The binary header has 32 bytes for each of them, and luksDump prints these as they are."""
    old = {"Cipher name": "aes", "Cipher mode": "xts-plain64"}[line.partition(":")[0]]
    text = LUKS1.replace(f"{line}{old}\n", f"{line}{name}\n")
    assert text != LUKS1
    said = refused(judge1, text)
    if name.startswith("aes\nMK bits: 5"):
        assert said is not None
        assert "2 lines 'MK bits', not one" in said
    else:
        assert "cipher" in {it.id for it in judge1(text)}
