# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Show a LUKS2 container to QEMU as LUKS1, the only version that its LUKS driver knows.

The header on the disk is not changed. cryptsetup converts a copy of it, which works if the key slots are
such as GRUB can read. A VMDK descriptor puts the copy in front of the payload: in every QEMU, VMDK is the
driver that can join parts of several files to one disk (a detached LUKS1 header needs
QEMU 9). Volume key, cipher and sectors are the same in both versions.

Copy and descriptor are memfds. QEMU reads them when it opens the disk and keeps them open, so nothing
is left over, whichever process is killed, and whenever.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._luks import findings
from ansible_collections.sealedroot.image.plugins.module_utils._luks.metadata import Header
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

SECTOR = 512
LUKS1_SLOTS = 8
# Findings about features that LUKS1 cannot express.
ONLY_LUKS2 = (
    *("segments", "segment-type", "segment-flag", "segment-size", "iv-tweak", "integrity"),
    *("sector-size", "unbound-segment", "digests", "unbound-digest", "unbound-slot", "digest-type"),
    *("tokens", "slot-type", "reencrypt-slot", "requirement", "requirement-reencrypt"),
)
_CHUNK = 1 << 20


def obstacles(header: Header) -> t.List[str]:
    """Return what in a LUKS2 header has no counterpart in LUKS1."""
    reasons = [f"slot {n} is beyond slot 7" for n in sorted(header.slots) if n >= LUKS1_SLOTS]
    reasons += [
        f"slot {number} uses {slot.kdf}"
        for number, slot in sorted(header.slots.items())
        if slot.kdf != "pbkdf2"
    ]
    reasons += [
        f"slot {number} has the cipher {slot.cipher} and the data {header.cipher}"
        for number, slot in sorted(header.slots.items())
        if slot.cipher not in ("", header.cipher)
    ]
    reasons += [
        f"slot {number} has the hash {' and '.join(slot.hashes)} and the digest {header.hash}"
        for number, slot in sorted(header.slots.items())
        if set(slot.hashes) - {header.hash}
    ]
    reasons += [it.meaning for it in findings.findings(header) if it.id in ONLY_LUKS2]
    return reasons


def vmdk(*parts: t.Tuple[str, int, int]) -> str:
    """Return the descriptor of a disk made of *parts*: file, first sector, number of sectors."""
    extents = [f'RW {sectors} FLAT "{name}" {start}' for name, start, sectors in parts]
    head = ["# Disk DescriptorFile", "version=1", "CID=fffffffe", "parentCID=ffffffff"]
    return "\n".join([*head, 'createType="twoGbMaxExtentFlat"', *extents, ""])


@contextlib.contextmanager
def descriptor(
    runner: Runner, *, path: str, offset: int, size: int, payload_offset: int
) -> t.Iterator[str]:
    """Yield the VMDK descriptor of the LUKS2 container in a region of *path*, for QEMU to open.

    QEMU gets the files as /proc/PID/fd names of this process, so the names need no quoting, and the files
    must stay open only until QEMU has opened them.
    """
    with contextlib.ExitStack() as stack:

        def own(handle: int) -> t.Tuple[int, str]:
            stack.callback(os.close, handle)
            return handle, f"/proc/{os.getpid()}/fd/{handle}"

        disk, disk_name = own(os.open(path, os.O_RDONLY))
        copy, copy_name = own(os.memfd_create("luks1-header"))
        text, text_name = own(os.memfd_create("vmdk-descriptor"))
        whole = size or os.lseek(disk, 0, os.SEEK_END) - offset
        os.ftruncate(copy, payload_offset)
        for position in range(0, payload_offset, _CHUNK):
            data = os.pread(disk, min(_CHUNK, payload_offset - position), offset + position)
            os.pwrite(copy, data, position)
        argv = [runner.find("cryptsetup"), "convert", "--batch-mode", "--type", "luks1", copy_name]
        result = runner.run(argv, check=False, timeout=60)
        if result.rc != 0:
            raise SealedRootError(
                f"cryptsetup cannot show the LUKS2 header in {path} as LUKS1, the only version that"
                f" QEMU reads: {result.stderr.strip()}"
            )
        parts = (
            (copy_name, 0, payload_offset // SECTOR),
            (disk_name, (offset + payload_offset) // SECTOR, (whole - payload_offset) // SECTOR),
        )
        os.write(text, vmdk(*parts).encode())
        yield text_name


__all__ = ("LUKS1_SLOTS", "descriptor", "obstacles", "vmdk")
