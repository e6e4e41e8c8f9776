# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Detect the format of an untrusted disk image by its first and last bytes. Pure.

Never by a tool that opens the image: such a tool may follow a backing file, an external data file or an extent
to other files of the builder.
"""

from __future__ import annotations

import struct

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

HEAD_BYTES = 64 << 10


TAIL_BYTES = 512


SECTOR = 512


VHD_COOKIE = b"conectix"


_QCOW2_DATA_FILE = 1 << 2


_VHD_DIFFERENCING = 4


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


__all__ = ("HEAD_BYTES", "SECTOR", "TAIL_BYTES", "VHD_COOKIE", "image_format")
