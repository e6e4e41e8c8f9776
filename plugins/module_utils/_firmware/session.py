# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What the owner of a guest exchanges with the secure processor that starts it: pure.

The owner's session has two keys that the host does not know. With the TIK, the secure processor signs what it
measured; with TEK and TIK, the owner encrypts and signs the secret for it (docs/facts.md: launch-secret-packet).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

try:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    IS_INSTALLED = True
except ImportError:
    IS_INSTALLED = False

KEY_BYTES = 16
IV_BYTES = 16
_DIGEST_BYTES = 32
# Bits of a policy: no debugging by the host, no guest that shares the memory's key, SEV-ES, no other machine.
_NODBG = 1
_NOKS = 2
_ES = 4
_NOSEND = 8
POLICIES = {"sev": _NODBG | _NOKS | _NOSEND, "sev-es": _NODBG | _NOKS | _NOSEND | _ES}
_MOST_POLICY = 0xFFFFFFFF
_FLAGS = 0
_HEADER = struct.Struct("<I16s32s")


class Platform(t.NamedTuple):
    """The version of the secure processor's firmware, as QEMU reports it (query-sev)."""

    api_major: int
    api_minor: int
    build_id: int


class Measurement(t.NamedTuple):
    """What the secure processor signed, and the number that it used only once."""

    signature: bytes
    nonce: bytes


def parse_measurement(text: str) -> Measurement:
    """Parse the answer to query-sev-launch-measure."""
    data = _decoded(text)
    if data is None or len(data) != _DIGEST_BYTES + KEY_BYTES:
        raise SealedRootError(
            "the measurement is not 48 bytes in base64: give 'data' of the answer to query-sev-launch-measure"
        )
    return Measurement(data[:_DIGEST_BYTES], data[_DIGEST_BYTES:])


def parse_digest(text: str) -> bytes:
    """Parse a launch digest of SEV or SEV-ES."""
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise SealedRootError(
            "the launch digest is not 64 hexadecimal digits: give 'sev', or one of 'sev_es', of launch_measurement"
        )
    return digest


def parse_iv(text: str) -> t.Optional[bytes]:
    """Return the IV of a packet header; None if it is none."""
    data = _decoded(text)
    if data is None or len(data) != _HEADER.size:
        return None
    iv: bytes = _HEADER.unpack(data)[1]
    return iv


def _decoded(text: str) -> t.Optional[bytes]:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def chosen_policy(given: t.Optional[int], kind: str) -> int:
    """Return the policy that was given, else the usual one of a *kind*; refuse what is none."""
    found = POLICIES[kind] if given is None else given
    if not 0 <= found <= _MOST_POLICY:
        raise SealedRootError(f"policy is {found}: give a number from 0 to {_MOST_POLICY}")
    check_policy(found, kind)
    return found


def check_policy(policy: int, kind: str) -> None:
    """Refuse a policy by which the host can read the guest's memory, or that is not for *kind*."""
    wanted = POLICIES[kind]
    for bit, what in (
        (_NODBG, "debug the guest"),
        (_NOKS, "share the key of the guest"),
        (_NOSEND, "send the guest to a machine whose key it may know"),
    ):
        if not policy & bit:
            raise SealedRootError(
                f"the policy 0x{policy:x} lets the host {what}, so the host could read the key: make a session with the"
                f" policy 0x{policy | wanted:x}"
            )
    if bool(policy & _ES) != bool(wanted & _ES):
        other = "sev-es" if policy & _ES else "sev"
        raise SealedRootError(
            f"the policy 0x{policy:x} is one of {other}, not {kind}: correct type"
        )


def signature(tik: bytes, digest: bytes, nonce: bytes, *, platform: Platform, policy: int) -> bytes:
    """Return what the secure processor answers when it has started what has this launch digest."""
    begin = struct.pack("<BBBBI", 4, *platform, policy)
    return hmac.new(tik, begin + digest + nonce, hashlib.sha256).digest()


def check(
    measurement: Measurement, tik: bytes, digest: bytes, *, platform: Platform, policy: int
) -> None:
    """Refuse a guest that is not the expected one."""
    expected = signature(tik, digest, measurement.nonce, platform=platform, policy=policy)
    if not hmac.compare_digest(expected, measurement.signature):
        raise SealedRootError(
            "the measurement is not that of the expected launch digest, so no secret was made: the host started another"
            " firmware, kernel, number or type of processors, or the session, policy or version (query-sev) are not"
            " those of this guest. Correct what you gave; if all of it is right, do not trust this guest"
        )


def packet(
    table: bytes, measurement: Measurement, *, tik: bytes, tek: bytes, iv: bytes
) -> t.Tuple[str, str]:
    """Return the packet header and the encrypted table for sev-inject-launch-secret, in base64."""
    cipher = Cipher(algorithms.AES(tek), modes.CTR(iv)).encryptor()
    encrypted = cipher.update(table) + cipher.finalize()
    begin = struct.pack("<BI16sII", 1, _FLAGS, iv, len(table), len(table))
    mac = hmac.new(tik, begin + encrypted + measurement.signature, hashlib.sha256).digest()
    header = _HEADER.pack(_FLAGS, iv, mac)
    return base64.b64encode(header).decode(), base64.b64encode(encrypted).decode()


__all__ = (
    "IS_INSTALLED",
    "IV_BYTES",
    "KEY_BYTES",
    "POLICIES",
    "Measurement",
    "Platform",
    "check",
    "check_policy",
    "chosen_policy",
    "packet",
    "parse_digest",
    "parse_iv",
    "parse_measurement",
    "signature",
)
