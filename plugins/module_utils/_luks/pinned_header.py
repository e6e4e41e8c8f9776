# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The pinned header: a copy of the LUKS header in a file, with which the initramfs opens the root.

The host can change the header on the disk. Only GRUB reads that one, with a key that nobody else knows. After GRUB
only the pinned header is trusted, and the header on the disk is only ever written from it (docs/threat_model.md).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._luks import metadata
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    Runner,
    SealedRootError,
)

# Not the directory of the keys: initramfs tools take every file there for a key.
DIRECTORY = "/etc/cryptsetup-headers.d"
MODE = 0o400
# This hook adds it to every initramfs of initramfs-tools; other generators are told which files to install.
HOOK = "/etc/initramfs-tools/hooks/sealedroot"
# Larger than any header that cryptsetup makes (LUKS2: two times 4 MiB of metadata, 128 MiB of key slots).
MOST = 144 << 20


def path(luks_uuid: str) -> str:
    """Return the path of the pinned header in the image."""
    return f"{DIRECTORY}/luks-{luks_uuid}.header"


def ranges(header: metadata.Header) -> t.List[t.Tuple[int, int]]:
    """Return the used parts of a header as offset and size; the rest is unused key slots."""
    areas = [slot.area for _number, slot in sorted(header.slots.items())]
    return [(0, header.binary_size), *areas]


def _read(runner: Runner, file: str) -> metadata.Header:
    header = metadata.read(runner, file)
    if header is None:
        raise SealedRootError(f"{file} has no LUKS header: give a file that luksHeaderBackup made")
    return header


def compact(runner: Runner, file: str) -> None:
    """Make unused key slots of a header file holes: cryptsetup fills them with random data, which compresses badly."""
    header = _read(runner, file)
    with open(file, "r+b") as handle:
        size = os.fstat(handle.fileno()).st_size
        kept = [
            (start, os.pread(handle.fileno(), length, start)) for start, length in ranges(header)
        ]
        # Truncate, so that all that is not written below is a hole.
        handle.truncate(0)
        handle.truncate(size)
        for start, data in kept:
            os.pwrite(handle.fileno(), data, start)


def make(runner: Runner, device: str, file: str) -> None:
    """Write the pinned header of a container that no host has had access to yet."""
    with _replaced(runner, file) as partial:
        argv = [runner.find("cryptsetup"), "luksHeaderBackup", "--header-backup-file", partial]
        runner.run([*argv, device], timeout=60)


@contextlib.contextmanager
def edited(runner: Runner, file: str) -> t.Iterator[str]:
    """Yield a copy of a header file to change; afterwards it replaces the file by one rename."""
    with _replaced(runner, file) as partial:
        shutil.copyfile(file, partial)
        os.chmod(partial, 0o600)
        yield partial


@contextlib.contextmanager
def _replaced(runner: Runner, file: str) -> t.Iterator[str]:
    """Yield the name of a new file, which then replaces *file* by one rename; remove what a killed run left."""
    directory, name = os.path.split(file)
    partial = os.path.join(directory, f".{name}.new")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(partial)
    try:
        yield partial
        os.chmod(partial, 0o600)
        compact(runner, partial)
        os.chmod(partial, MODE)
        with open(partial, "rb") as handle:
            os.fsync(handle.fileno())
        os.rename(partial, file)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
    entry = os.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(entry)
    finally:
        os.close(entry)


def is_on(device: str, file: str) -> bool:
    """Say whether the container on *device* begins with exactly the bytes of a header file."""
    with open(file, "rb") as pinned, open(device, "rb") as disk:
        while True:
            want = pinned.read(1 << 20)
            if not want:
                return True
            if disk.read(len(want)) != want:
                return False


def put_on(runner: Runner, device: str, file: str) -> None:
    """Write a header file to the beginning of *device*, whatever is there.

    cryptsetup cannot: luksHeaderRestore refuses if the host has put a header with another payload offset there.
    """
    header = _read(runner, file)
    # Write the key slots first, then the second copy of the LUKS2 header, then the first copy. So if this is killed
    # at any point, the header still opens, as the old or the new one. GRUB takes the copy with the higher sequence
    # number and does not verify it, so the first sector of a copy, which holds that number, is written last.
    half = header.binary_size // 2
    first = min(half, metadata.LUKS2_BINARY)
    copies = ((half + first, 2 * half), (half, half + first), (first, half), (0, first))
    with open(file, "rb") as pinned, open(device, "r+b") as disk:
        size = os.fstat(pinned.fileno()).st_size
        for start, end in ((2 * half, size), *copies):
            os.pwrite(disk.fileno(), os.pread(pinned.fileno(), end - start, start), start)
            os.fsync(disk.fileno())
    if not is_on(device, file):
        raise SealedRootError(
            f"{device} does not hold the header that was written to it: check the disk, then run this again"
        )


__all__ = (
    "DIRECTORY",
    "HOOK",
    "MODE",
    "MOST",
    "compact",
    "edited",
    "is_on",
    "make",
    "path",
    "put_on",
    "ranges",
)
