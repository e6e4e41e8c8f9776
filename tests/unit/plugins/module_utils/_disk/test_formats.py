# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The format of a disk image, told by its bytes."""

from __future__ import annotations

import struct

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import formats
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


def qcow2(version: int = 3, backing: int = 0, crypt: int = 0, features: int = 0) -> bytes:
    head = struct.pack(">4sIQIIQI", b"QFI\xfb", version, backing, 0, 16, 1 << 20, crypt)
    return head.ljust(72, b"\0") + struct.pack(">Q", features) + bytes(512)


def vmdk(capacity: int = 2048, descriptor: bytes = b"") -> bytes:
    return (struct.pack("<4sIIQ", b"KDMV", 3, 0, capacity)).ljust(512, b"\0") + descriptor


def vhd(kind: int) -> bytes:
    return b"conectix".ljust(60, b"\0") + struct.pack(">I", kind) + bytes(448)


@pytest.mark.parametrize(
    ("head", "tail", "expected"),
    [
        (qcow2(), b"", "qcow2"),
        (vmdk(), b"", "vmdk"),
        (bytes(0x40) + b"\x7f\x10\xda\xbe", b"", "vdi"),
        (b"vhdxfile", b"", "vhdx"),
        (vhd(3), b"", "vpc"),
        (bytes(512), vhd(2), "vpc"),
        (bytes(512), bytes(512), "raw"),
    ],
)
def test_tells_the_format(head: bytes, tail: bytes, expected: str) -> None:
    assert formats.image_format("/d", head, tail) == expected


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (qcow2(backing=512), "backing file"),
        (qcow2(features=4), "external data file"),
        (qcow2(crypt=2), "encrypted"),
        (qcow2(version=1), "version 1"),
        (b"QFI\xfb", "cut off"),
        (vmdk(capacity=0), "in other files"),
        (vmdk(descriptor=b'parentFileNameHint="/etc/shadow"'), "its parent"),
        (b"# Disk DescriptorFile\nRW 1 FLAT /etc/shadow", "in other files"),
        (vhd(4), "differencing"),
    ],
)
def test_refuses_what_needs_another_file(head: bytes, said: str) -> None:
    with pytest.raises(SealedRootError, match=said):
        formats.image_format("/d", head, b"")
