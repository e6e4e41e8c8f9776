# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""fstab and crypttab."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils import _audit_mounts

KNOWN = {
    "UUID": {"aaaa", "1234-abcd"},
    "LABEL": {"ESP"},
    "PARTUUID": {"bbbb"},
    "PARTLABEL": {"root"},
}
ROOT = ["UUID=aaaa", "/", "ext4"]
CRYPT = [["cr_root", "UUID=aaaa", "/key", "luks"]]


def test_table() -> None:
    text = "# comment\n\n  UUID=1 / ext4\n# another\ntmpfs /tmp tmpfs\n"
    assert _audit_mounts.table(text) == [["UUID=1", "/", "ext4"], ["tmpfs", "/tmp", "tmpfs"]]
    assert _audit_mounts.table(None) == []


@pytest.mark.parametrize(
    "source",
    [
        "UUID=aaaa",
        'UUID="aaaa"',
        "UUID=1234-ABCD",
        "LABEL=ESP",
        "PARTUUID=BBBB",
        "PARTLABEL=root",
        "/dev/disk/by-uuid/aaaa",
        "/dev/mapper/cr_root",
        "tmpfs",
        "/swapfile",
        "/dev/zram0",
    ],
)
def test_what_is_in_the_image(source: str) -> None:
    assert _audit_mounts.mounts([ROOT, [source, "/x"]], CRYPT, known=KNOWN) == []


@pytest.mark.parametrize(
    "source",
    ["UUID=cccc", "LABEL=esp", "/dev/disk/by-uuid/cccc", "/dev/mapper/other", "/dev/sda1"],
)
def test_what_is_not(source: str) -> None:
    (problem,) = _audit_mounts.mounts([ROOT, [source, "/x"]], CRYPT, known=KNOWN)
    assert source in problem
    (problem,) = _audit_mounts.mounts([ROOT], [*CRYPT, ["x", source]], known=KNOWN)
    assert problem.startswith("crypttab")


def test_no_root() -> None:
    assert _audit_mounts.mounts([], [], known=KNOWN) == ["fstab has no line for /"]


def test_fat_names() -> None:
    fat32 = bytearray(512)
    fat32[82:90] = b"FAT32   "
    fat32[67:71] = bytes.fromhex("cdab3412")
    fat32[71:82] = b"ESP        "
    assert _audit_mounts.fat_names(bytes(fat32)) == ("ESP", "1234-abcd")
    fat16 = bytearray(512)
    fat16[39:43] = bytes.fromhex("cdab3412")
    fat16[43:54] = b"NO NAME    "
    assert _audit_mounts.fat_names(bytes(fat16)) == ("NO NAME", "1234-abcd")


@pytest.mark.parametrize(
    ("options", "accepted"),
    [
        ("noauto", True),
        ("ro,noauto", True),
        ("nofail", False),
        ("noauto,x-systemd.automount", False),
    ],
)
def test_what_a_person_asks_for_alone_may_be_elsewhere(options: str, accepted: bool) -> None:
    fstab = [ROOT, ["UUID=cccc", "/backup", "ext4", options]]
    assert (_audit_mounts.mounts(fstab, CRYPT, known=KNOWN) == []) is accepted
    crypttab = [
        *CRYPT,
        ["backup", "UUID=cccc", "none", options.replace("x-systemd.automount", "initramfs")],
    ]
    assert (_audit_mounts.mounts([ROOT], crypttab, known=KNOWN) == []) is accepted
