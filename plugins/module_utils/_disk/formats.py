# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Detect what a file is by its first and last bytes, and the format of an untrusted disk image. Pure.

Never by a tool that opens the image: such a tool may follow a backing file, an external data file or an extent
to other files of the builder.
"""

from __future__ import annotations

import re
import shlex
import struct
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._system import filesystems
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

# Up to the superblock of btrfs.
HEAD_BYTES = 68 << 10


TAIL_BYTES = 512


SECTOR = 512


VHD_COOKIE = b"conectix"


_QCOW2_DATA_FILE = 1 << 2


_VHD_DIFFERENCING = 4


# The first bytes of a file and its format. Root tars can be in some of them; the others are only named in errors.
MAGICS = (
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"BZh", "bzip2"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"LZIP", "lzip"),
    (b"\x89LZO", "lzop"),
    (b"\x5d\x00\x00", "lzma"),
    (b"PK\x03\x04", "zip"),
)


# The commands that unpack a file and keep it.
UNPACKED_BY = {
    "gzip": "gzip --decompress --keep",
    "xz": "xz --decompress --keep",
    "zstd": "zstd --decompress",
    "bzip2": "bzip2 --decompress --keep",
    "lz4": "lz4 --decompress",
    "lzip": "lzip --decompress --keep",
    "lzop": "lzop --decompress",
    "lzma": "xz --decompress --keep",
    "zip": "unzip",
}
# Images that begin with a magic number, and names that disk images have.
_IMAGES = ((b"QFI\xfb", "qcow2"), (b"KDMV", "vmdk"), (b"vhdxfile", "vhdx"), (VHD_COOKIE, "vhd"))
_DISKS = ("img", "qcow2", "raw", "vdi", "vhd", "vhdx", "vmdk", *filesystems.FILESYSTEMS)
_DISK = re.compile(
    rf".*\.(?:{'|'.join(_DISKS)})(\.(?:bz2|gz|lz4|lzma|lzo|xz|zip|zst))?", re.IGNORECASE
)
_TAR = (257, b"ustar")
# What is no disk, by its first bytes (docs/facts.md: magic-numbers), and what to do.
_OTHERS = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it, and give the disk in it"),
    (b"07070", "a cpio archive: unpack it, and give the directory with the type directory"),
    (b"VMA\x00", "a backup of Proxmox VE: unpack it (vma extract), and give the disk in it"),
    (
        b"hsqs",
        "a squashfs: unpack it (unsquashfs), and give the directory with the type directory",
    ),
)
_PAGE = (b"<!doctype html", b"<html")


def compression(head: bytes) -> str:
    """Name the compression of a file by its first bytes; ``none`` if they are not known."""
    return next((name for magic, name in MAGICS if head.startswith(magic)), "none")


def is_tar(head: bytes) -> bool:
    """Say whether a file is a tar that is not compressed."""
    at, magic = _TAR
    return head[at : at + len(magic)] == magic


def disk(head: bytes) -> str:
    """Say which disk a file is; empty if it is none, or none that its first bytes show."""
    if compression(head) != "none" or is_tar(head):
        return ""
    if head[0x40:0x44] == b"\x7f\x10\xda\xbe":
        return "a disk image (vdi)"
    for magic, name in _IMAGES:
        if head.startswith(magic):
            return f"a disk image ({name})"
    for it in filesystems.FILESYSTEMS.values():
        at, magic = it.magic
        if head[at : at + len(magic)] == magic:
            return f"a disk without partitions ({it.name})"
    return "a disk with a partition table" if head[510:512] == b"\x55\xaa" else ""


def no_disk(head: bytes) -> str:
    """Say what a file is that is certainly no disk, and what to do; empty if that is not known."""
    if not head:
        return "empty: get the file again"
    if head.lstrip().lower().startswith(_PAGE):
        return "a page of the web: get the file from the address that the page links to"
    return next((said for magic, said in _OTHERS if head.startswith(magic)), "")


def in_archive(names: t.Iterable[str]) -> str:
    """Say what an archive with these names is, other than a root, and what to do; empty if that is not known."""
    plain = [re.sub(r"^(?:\./)+", "", name) for name in names]
    # macOS adds a file with this beginning for each file.
    plain = [name for name in plain if name and not name.rpartition("/")[2].startswith("._")]
    tops = {name.partition("/")[0] for name in plain}
    folder = f"{tops.pop()}/" if len(tops) == 1 and any("/" in name for name in plain) else ""
    inner = {name[len(folder) :] for name in plain}
    if {"oci-layout", "manifest.json"} & inner:
        return _of_container(folder)
    if "ova.xml" in inner:
        return (
            "is an XVA of XenServer, with its disk in pieces: make one of them (xva2img), and give that with the type"
            " disk"
        )
    if any(name.startswith("rootfs/etc/") for name in inner):
        return _of_root(f"{folder}rootfs")
    if all(any(name.startswith(top) for name in inner) for top in ("etc/", "usr/")) and folder:
        return _of_root(folder[:-1])
    # In one folder at most: deeper ones are of a root that is not whole.
    return _of_files([name for name in plain if name.count("/") < 2])


def _of_container(folder: str) -> str:
    if folder:
        return f"has a container image in its directory {folder[:-1]}: unpack it, and give that with the type oci"
    return "is an archive of a container image: set the type of image_source to oci"


def _of_root(directory: str) -> str:
    return f"has the root in its directory {directory}: unpack it, and give that with the type directory"


def _of_files(names: t.Sequence[str]) -> str:
    disks = list(filter(None, map(_DISK.fullmatch, names)))
    tars = [name for name in names if re.search(r"\.(?:tar(?:\.\w+)?|tgz|txz)$", name)]
    squashed = [name for name in names if name.endswith(".squashfs")]
    if squashed:
        return f"has a squashfs: unpack both (unsquashfs {squashed[0]}), and give the directory with the type directory"
    if not disks:
        return f"is a tar with a tar in it: unpack it, and give {tars[0]}" if tars else ""
    what = "an OVA" if any(name.lower().endswith(".ovf") for name in names) else "a tar of a disk"
    name, is_packed = disks[0][0], disks[0][1]
    given = f"unpack {name} as well, and give the result" if is_packed else f"and give {name}"
    return f"is {what}: unpack it (tar --extract --file), {given} with the type disk"


def image_format(path: str, head: bytes, tail: bytes) -> str:
    """Return QEMU's name of the format; refuse an image that needs other files."""
    if head[:4] == b"QFI\xfb":
        _check_qcow2(path, head)
        return "qcow2"
    if head[:4] == b"KDMV":
        _check_vmdk(path, head)
        return "vmdk"
    if head[:4] == b"COWD" or head.lstrip()[:21].lower() == b"# disk descriptorfile":
        raise _alone(path, "a vmdk whose data is in other files")
    if head[0x40:0x44] == b"\x7f\x10\xda\xbe":
        return "vdi"
    if head[:8] == b"vhdxfile":
        return "vhdx"
    for footer in (head, tail):
        if footer[:8] == VHD_COOKIE and len(footer) >= 64:
            if struct.unpack_from(">I", footer, 60)[0] == _VHD_DIFFERENCING:
                raise _alone(path, "a differencing disk, which is read on top of its parent")
            return "vpc"
    found = compression(head)
    if found != "none":
        raise SealedRootError(
            f"{path} is compressed with {found}: unpack it ({UNPACKED_BY[found]} {shlex.quote(path)}), and give the"
            " result. For the tar of a root, set the type of image_source to tar"
        )
    if is_tar(head):
        raise SealedRootError(
            f"{path} is a tar and no disk. If a disk is in it, as in an OVA, unpack it (tar --extract --file"
            f" {shlex.quote(path)}), and give that; for the tar of a root, set the type of image_source to tar, for a"
            " container image to oci"
        )
    other = no_disk(head)
    if other:
        raise SealedRootError(f"{path} is {other}")
    return "raw"


def _check_qcow2(path: str, head: bytes) -> None:
    if len(head) < 72:
        raise SealedRootError(f"{path} is a qcow2 that was cut off: get the file again")
    version, backing = struct.unpack_from(">IQ", head, 4)
    if version not in (2, 3):
        raise SealedRootError(
            f"{path} is a qcow of version {version}: convert it with qemu-img convert -O qcow2"
        )
    if backing:
        raise _alone(path, "a qcow2 with a backing file")
    if struct.unpack_from(">I", head, 32)[0]:
        raise SealedRootError(
            f"{path} is an encrypted qcow2: decrypt it with qemu-img convert and give the result"
        )
    features = struct.unpack_from(">Q", head, 72)[0] if version > 2 and len(head) >= 80 else 0
    if features & _QCOW2_DATA_FILE:
        raise _alone(path, "a qcow2 with an external data file")


def _check_vmdk(path: str, head: bytes) -> None:
    if len(head) < SECTOR:
        raise SealedRootError(f"{path} is a vmdk that was cut off: get the file again")
    # If the header has no capacity, QEMU uses the extents of the embedded descriptor.
    if not struct.unpack_from("<Q", head, 12)[0]:
        raise _alone(path, "a vmdk whose data is in other files")
    if b"parentFileNameHint" in head:
        raise _alone(path, "a vmdk that is read on top of its parent")


def _alone(path: str, what: str) -> SealedRootError:
    return SealedRootError(
        f"{path} is {what}. Other files are never opened for an image that could name any file of the"
        " builder: where you trust it, make one file of it with qemu-img convert -O qcow2 and give that"
    )


__all__ = (
    "HEAD_BYTES",
    "MAGICS",
    "SECTOR",
    "TAIL_BYTES",
    "UNPACKED_BY",
    "VHD_COOKIE",
    "compression",
    "disk",
    "image_format",
    "in_archive",
    "is_tar",
    "no_disk",
)
