# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the owner and the secure processor send each other; against another tool in tests/integration/test_launch.py."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import session
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

TIK, TEK = bytes(range(16)), bytes(range(16, 32))
DIGEST, NONCE = hashlib.sha256(b"guest").digest(), b"N" * 16
PLATFORM = session.Platform(1, 51, 3)
POLICY = 0xB


def measured(
    tik: bytes = TIK,
    version: bytes = b"\1\x33\3",
    policy: bytes = b"\x0b\0\0\0",
    digest: bytes = DIGEST,
) -> session.Measurement:
    """Return what the secure processor reports, written out: SEV API specification, 6.5."""
    message = b"\4" + version + policy + digest + NONCE
    return session.Measurement(hmac.new(tik, message, "sha256").digest(), NONCE)


def test_the_expected_guest() -> None:
    session.check(measured(), TIK, DIGEST, platform=PLATFORM, policy=POLICY)


@pytest.mark.parametrize(
    "change",
    [
        {"tik": TEK},
        {"version": b"\1\x33\4"},
        {"version": b"\1\x34\3"},
        {"policy": b"\2\0\0\0"},
        {"digest": hashlib.sha256(b"another guest").digest()},
    ],
    ids=str,
)
def test_another_guest(change: dict[str, bytes]) -> None:
    with pytest.raises(SealedRootError, match="is not that of the expected launch digest, so no"):
        session.check(measured(**change), TIK, DIGEST, platform=PLATFORM, policy=POLICY)


def test_a_nonce_of_another_start() -> None:
    replayed = measured()._replace(nonce=b"M" * 16)
    with pytest.raises(SealedRootError, match="is not that of the expected"):
        session.check(replayed, TIK, DIGEST, platform=PLATFORM, policy=POLICY)


@pytest.mark.parametrize(
    ("policy", "kind", "message"),
    [
        (0xB, "sev", ""),
        (0xF, "sev-es", ""),
        (0x2B, "sev", ""),
        (0x0, "sev", r"0x0 lets the host debug the guest.*: make a session with the policy 0xb"),
        (0xA, "sev", r"0xa lets the host debug the guest"),
        (0x9, "sev", r"0x9 lets the host share the key of the guest.* with the policy 0xb"),
        (0xD, "sev-es", r"0xd lets the host share the key of the guest.* with the policy 0xf"),
        (
            0x3,
            "sev",
            r"0x3 lets the host send the guest to a machine whose key it may know, so .* policy 0xb",
        ),
        # The same domain is not enough: the host says which machines are in it.
        (0x37, "sev-es", r"0x37 lets the host send the guest .* with the policy 0x3f"),
        (0xF, "sev", r"0xf is one of sev-es, not sev: correct type"),
        (0xB, "sev-es", r"0xb is one of sev, not sev-es: correct type"),
    ],
)
def test_policies(policy: int, kind: str, message: str) -> None:
    if not message:
        session.check_policy(policy, kind)
        return
    with pytest.raises(SealedRootError, match=f"the policy {message}"):
        session.check_policy(policy, kind)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    "text", ["", "x", "ä", b64(bytes(47)), b64(bytes(49)), b64(bytes(48)) + "\n", "=" * 64]
)
def test_no_measurement(text: str) -> None:
    with pytest.raises(SealedRootError, match="the measurement is not 48 bytes in base64: give"):
        session.parse_measurement(text)


def test_a_measurement() -> None:
    found = session.parse_measurement(b64(bytes(range(48))))
    assert found == (bytes(range(32)), bytes(range(32, 48)))


@pytest.mark.parametrize("text", ["", "ab", "x" * 64, "ab" * 31, "ab" * 48, "ä" * 64])
def test_no_digest(text: str) -> None:
    with pytest.raises(SealedRootError, match="the launch digest is not 64 hexadecimal digits"):
        session.parse_digest(text)


def test_a_digest() -> None:
    assert session.parse_digest("AB" * 32) == b"\xab" * 32


def test_a_packet() -> None:
    """AES-128 in counter mode by its definition, from single blocks: NIST SP 800-38A, 6.5."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    iv, table = b"\0" * 15 + b"\xff", b"secret".ljust(48, b"\0")
    header, encrypted = session.packet(table, measured(), tik=TIK, tek=TEK, iv=iv)
    block = Cipher(algorithms.AES(TEK), modes.ECB()).encryptor()
    stream = b"".join(block.update((0xFF + step).to_bytes(16, "big")) for step in range(3))
    data = base64.b64decode(encrypted)
    assert bytes(a ^ b for a, b in zip(data, stream, strict=True)) == table
    message = b"\1" + bytes(4) + iv + b"\x30\0\0\0" * 2 + data + measured().signature
    mac = hmac.new(TIK, message, "sha256").digest()
    assert base64.b64decode(header) == bytes(4) + iv + mac
    assert session.parse_iv(header) == iv


@pytest.mark.parametrize("text", ["", "x", "ä", b64(bytes(51)), b64(bytes(53))])
def test_no_packet_header(text: str) -> None:
    assert session.parse_iv(text) is None


@pytest.mark.parametrize(
    ("given", "kind", "policy"), [(None, "sev", 11), (None, "sev-es", 15), (0x2B, "sev", 0x2B)]
)
def test_the_chosen_policy(given: int | None, kind: str, policy: int) -> None:
    assert session.chosen_policy(given, kind) == policy


@pytest.mark.parametrize("given", [-1, 1 << 32])
def test_no_policy(given: int) -> None:
    with pytest.raises(SealedRootError, match=f"policy is {given}: give a number from 0 to 42949"):
        session.chosen_policy(given, "sev")
