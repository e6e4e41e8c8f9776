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


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x1f\x8b\x08", "gzip"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh9", "bzip2"),
        (b"usr/", "none"),
        (b"", "none"),
    ],
)
def test_compression(head: bytes, name: str) -> None:
    assert formats.compression(head) == name


def tar(name: str) -> bytes:
    return name.encode().ljust(257, b"\0") + b"ustar\x0000".ljust(255, b"\0")


def at(offset: int, magic: bytes) -> bytes:
    return bytes(offset) + magic


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (qcow2(), "a disk image (qcow2)"),
        (vmdk(), "a disk image (vmdk)"),
        (vhd(3), "a disk image (vhd)"),
        (b"vhdxfile", "a disk image (vhdx)"),
        (at(0x40, b"\x7f\x10\xda\xbe"), "a disk image (vdi)"),
        (at(510, b"\x55\xaa"), "a disk with a partition table"),
        (at(0x438, b"\x53\xef"), "a disk without partitions (ext4)"),
        (b"XFSB", "a disk without partitions (xfs)"),
        (at(0x10040, b"_BHRfS_M"), "a disk without partitions (btrfs)"),
        (tar("./"), ""),
        (tar("x")[:510] + b"\x55\xaa", ""),
        (b"\x1f\x8b\x08".ljust(510, b"\0") + b"\x55\xaa", ""),
        (bytes(512), ""),
        (b"", ""),
    ],
)
def test_a_disk_that_is_given_as_something_else(head: bytes, what: str) -> None:
    assert formats.disk(head) == what


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"\xfd7zXZ\x00", r"/d is compressed with xz: unpack it \(xz --decompress --keep /d\)"),
        (b"\x1f\x8b\x08", r"compressed with gzip: unpack it \(gzip --decompress --keep /d\)"),
        (b"\x28\xb5\x2f\xfd", r"compressed with zstd: unpack it \(zstd --decompress /d\)"),
        (b"PK\x03\x04", r"compressed with zip: unpack it \(unzip /d\)"),
        (tar("a.ovf"), "is a tar and no disk. If a disk is in it, as in an OVA, unpack it"),
        (tar("./etc/"), "for the tar of a root, set the type of image_source to tar"),
        (b"7z\xbc\xaf\x27\x1c\0\4", "/d is a 7z archive: unpack it, and give the disk in it"),
        (b"0707010000", "/d is a cpio archive: unpack it"),
        (b"0707070000", "/d is a cpio archive: unpack it"),
        (b"VMA\0\0\0\0\1", r"/d is a backup of Proxmox VE: unpack it \(vma extract\)"),
        (b"hsqs\0", r"/d is a squashfs: unpack it \(unsquashfs\)"),
        (b"\n<!DOCTYPE HTML><html>", "/d is a page of the web: get the file from the address"),
        (b"<html lang=en>", "/d is a page of the web"),
        (b"", "/d is empty: get the file again"),
    ],
)
def test_says_what_is_no_disk_yet(head: bytes, said: str) -> None:
    with pytest.raises(SealedRootError, match=said):
        formats.image_format("/d", head, b"")


def test_every_compression_is_unpacked_by_something() -> None:
    assert {name for _magic, name in formats.MAGICS} == {*formats.UNPACKED_BY}


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["./", "./etc/fstab", "usr/share/a.img"], ""),
        (["manifest.json", "0123/layer.tar"], "set the type of image_source to oci"),
        (["oci-layout", "index.json"], "set the type of image_source to oci"),
        (
            ["a.ovf", "a.mf", "a-disk1.vmdk"],
            "is an OVA: unpack it (tar --extract --file), and give a-",
        ),
        (["./disk.raw"], "is a tar of a disk: unpack it (tar --extract --file), and give disk.raw"),
        (["notes"], ""),
        (
            ["a/", "a/disk.img"],
            "is a tar of a disk: unpack it (tar --extract --file), and give a/d",
        ),
        (["metadata.yaml", "rootfs.squashfs"], "has a squashfs: unpack both (unsquashfs rootfs.s"),
        (
            ["metadata.yaml", "rootfs/", "rootfs/etc/", "rootfs/etc/fstab"],
            "in its directory rootfs",
        ),
        (["root.tar.xz"], "is a tar with a tar in it: unpack it, and give root.tar.xz"),
        (["./._disk.raw", "./disk.raw"], "and give disk.raw with the type disk"),
        (["disk.raw.xz"], "(tar --extract --file), unpack disk.raw.xz as well, and give the resu"),
        (["a.ovf", "disk.vmdk.gz"], "is an OVA: unpack it (tar --extract --file), unpack disk.vm"),
        (
            ["rootfs.ext4"],
            "is a tar of a disk: unpack it (tar --extract --file), and give rootfs.e",
        ),
        (["ova.xml", "Ref:12/00000000"], "is an XVA of XenServer, with its disk in pieces"),
        (
            ["img/", "img/oci-layout", "img/index.json"],
            "has a container image in its directory img: unpack it, and give that with the type oci",
        ),
        (
            ["debian/", "debian/etc/fstab", "debian/usr/share/x"],
            "has the root in its directory debian: unpack it, and give that with the type dir",
        ),
        (["lxc/rootfs/etc/fstab", "lxc/metadata.yaml"], "in its directory lxc/rootfs: unpack"),
        # Parts of a root.
        (["usr/", "usr/etc/fstab", "usr/share/a.img"], ""),
        (["./", "etc/fstab.gz", "etc/usr/x"], ""),
        ([], ""),
    ],
)
def test_what_an_archive_is(names: list[str], says: str) -> None:
    said = formats.in_archive(names)
    assert said.find(says) >= 0 if says else said == ""
