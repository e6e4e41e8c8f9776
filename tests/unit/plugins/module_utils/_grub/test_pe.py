# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signatures of EFI programs; those of Debian's and of sbsign are read in tests/integration/test_signed_chain.py."""

from __future__ import annotations

import struct

import efi
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._grub import pe

PROGRAM = efi.program(b"the program")


@pytest.mark.parametrize("digest", ["sha256", "sha384", "sha512"])
@pytest.mark.parametrize("times", [1, 2])
def test_what_was_signed(digest: str, times: int) -> None:
    data = efi.signed(PROGRAM, digest=digest, times=times)
    found = pe.parse(data)
    assert found is not None
    assert len(found.signatures) == times
    assert found.sections == (".text", ".sbat")
    assert pe.problems("x", data, sbat=True) == []


def test_what_was_not_signed() -> None:
    assert pe.problems("x", PROGRAM) == ["x is not signed"]


@pytest.mark.parametrize("at", [2, len(PROGRAM) - 9])
def test_what_was_changed_after_that(at: int) -> None:
    data = bytearray(efi.signed(PROGRAM))
    data[at] ^= 1
    assert pe.problems("x", bytes(data)) == ["x is not what was signed: it was changed after that"]


def test_one_signature_that_is_of_another_program() -> None:
    other = efi.signed(efi.program(b"another one"))
    mixed = efi.signed(PROGRAM, times=2)
    table = efi.signed(PROGRAM)[len(PROGRAM) :] + other[len(efi.program(b"another one")) :]
    assert pe.problems("x", mixed[: len(PROGRAM)] + table) != []


def test_the_checksum_is_not_signed() -> None:
    data = bytearray(efi.signed(PROGRAM))
    data[64 + 24 + 64] ^= 1
    assert pe.problems("x", bytes(data)) == []


def test_no_generation() -> None:
    data = efi.signed(efi.program(b"old", sections=[".text"]))
    assert pe.problems("x", data) == []
    assert "no section .sbat" in pe.problems("x", data, sbat=True)[0]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"MZ",
        b"MZ" + bytes(100),
        b"#!/bin/sh\n" * 20,
        PROGRAM[:80],
        efi.signed(PROGRAM) + b"more, which no signature covers",
        # A table of signatures that is longer than what is left.
        PROGRAM[:232] + struct.pack("<II", len(PROGRAM), 16) + PROGRAM[240:] + b"\xff" * 16,
    ],
)
def test_no_program(data: bytes) -> None:
    assert pe.parse(data) is None
    assert pe.problems("x", data) == ["x is no EFI program"]
