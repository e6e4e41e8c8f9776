# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A LUKS2 container as QEMU's LUKS1 driver is to see it, with a scripted cryptsetup."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import luks1_view
from ansible_collections.sealedroot.image.plugins.module_utils._luks.metadata import (
    Header,
    Keyslot,
    Segment,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Result,
    Runner,
    SealedRootError,
)

SEGMENT = Segment(number=0, type="crypt", offset=1 << 24, cipher="aes-xts-plain64")
GOOD = Header(
    type="luks2",
    uuid="11111111-2222-4333-8444-555555555555",
    cipher="aes-xts-plain64",
    hash="sha256",
    key_bits=512,
    payload_offset=1 << 24,
    digest_iterations=1000,
    slots={0: Keyslot(1000, "pbkdf2", "aes-xts-plain64"), 7: Keyslot(1000, "pbkdf2")},
    slot_order=(7, 0),
)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, []),
        ({"slots": {8: Keyslot(1000, "pbkdf2")}}, ["slot 8 is beyond slot 7"]),
        ({"slots": {1: Keyslot(4, "argon2id")}}, ["slot 1 uses argon2id"]),
        (
            {"slots": {1: Keyslot(1000, "pbkdf2", "cipher_null-ecb")}},
            ["slot 1 has the cipher cipher_null-ecb and the data aes-xts-plain64"],
        ),
        (
            {"slots": {1: Keyslot(1000, "pbkdf2", "aes-xts-plain64", ("sha1", "sha256"))}},
            ["slot 1 has the hash sha1 and sha256 and the digest sha256"],
        ),
        ({"sector_size": 4096}, ["the sector size is 4096, not 512"]),
        ({"tokens": 2}, ["there are tokens (2)"]),
        ({"requirements": ("new",)}, ["the header has the requirement new"]),
        ({"other_slots": {2: "reencrypt"}}, ["slot 2 has the type reencrypt"]),
        ({"segments": (dataclasses.replace(SEGMENT, size="512"),)}, ["the fixed size 512"]),
        ({"segments": (SEGMENT, SEGMENT)}, ["there are 2 data segments"]),
    ],
)
def test_obstacles(change: dict[str, t.Any], said: list[str]) -> None:
    found = luks1_view.obstacles(dataclasses.replace(GOOD, **change))
    assert len(found) == len(said)
    assert all(part in obstacle for part, obstacle in zip(said, found, strict=True))


def test_a_disk_of_two_parts() -> None:
    assert luks1_view.vmdk(("/a", 0, 32768), ("/b", 40, 8)).splitlines()[-3:] == [
        'createType="twoGbMaxExtentFlat"',
        'RW 32768 FLAT "/a" 0',
        'RW 8 FLAT "/b" 40',
    ]


class Watching(Runner):
    """A runner that looks at the copy when it is to be converted."""

    def __init__(self, rc: int = 0) -> None:
        self.rc = rc
        self.copy = b""

    def find(self, *names: str) -> str:
        return names[0]

    def run(self, argv: t.Sequence[str], **_options: t.Any) -> Result:
        assert list(argv[:-1]) == ["cryptsetup", "convert", "--batch-mode", "--type", "luks1"]
        path = pathlib.Path(argv[-1])
        self.copy = path.read_bytes()
        path.write_bytes(b"LUKS1" + bytes(len(self.copy) - 5))
        return Result(self.rc, "", "keyslot 3 is not LUKS1 compatible.\n")


@pytest.mark.parametrize(("size", "sectors"), [(8192, 8), (0, 12)])
def test_the_descriptor_leads_to_a_copy_and_to_the_payload(
    size: int, sectors: int, tmp_path: pathlib.Path
) -> None:
    disk = tmp_path / 'a "disk", with a name'
    disk.write_bytes(bytes(512) + b"h" * 4096 + b"p" * 6144)
    runner = Watching()
    before = set(os.listdir("/proc/self/fd"))
    with luks1_view.descriptor(
        runner, path=str(disk), offset=512, size=size, payload_offset=4096
    ) as path:
        lines = pathlib.Path(path).read_text().splitlines()
        (copy, start, count), (payload, begin, rest) = (
            (line.split('"')[1], line.split()[-1], line.split()[1]) for line in lines[-2:]
        )
        assert (start, count, begin, rest) == ("0", "8", "9", str(sectors))
        assert pathlib.Path(copy).read_bytes().startswith(b"LUKS1\0")
        assert os.path.samefile(payload, disk)
    assert runner.copy == b"h" * 4096
    assert disk.read_bytes()[512:4608] == b"h" * 4096
    # Nothing is left: no file had a name, and no descriptor is open.
    assert set(os.listdir("/proc/self/fd")) == before
    assert list(tmp_path.iterdir()) == [disk]


def test_what_cryptsetup_cannot_convert(tmp_path: pathlib.Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(8192))
    view = luks1_view.descriptor(
        Watching(rc=1), path=str(disk), offset=0, size=0, payload_offset=4096
    )
    with pytest.raises(SealedRootError, match=r"as LUKS1.*keyslot 3 is not LUKS1"), view:
        pytest.fail("it was shown")
