# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What GRUB's own code reads of a mounted ext4, before and after its journal was emptied."""

from __future__ import annotations

import fcntl
import os
import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system import journal

CHECKPOINT = 0x4004662B


@pytest.fixture
def mounted(tmp_path: pathlib.Path) -> t.Iterator[tuple[pathlib.Path, pathlib.Path]]:
    """Yield a disk and where its file system is mounted."""
    disk, point = tmp_path / "disk", tmp_path / "point"
    point.mkdir()
    disk.touch()
    os.truncate(disk, 64 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-O", "^metadata_csum", disk], check=True)
    subprocess.run(["mount", "-o", "loop", disk, point], check=True)
    yield disk, point
    subprocess.run(["umount", point], check=True, timeout=60)


def grub_reads(disk: pathlib.Path, name: str) -> str:
    done = subprocess.run(
        ["grub-fstest", disk, "cat", f"(loop0)/{name}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.stdout


def replace(path: pathlib.Path, text: str) -> None:
    """Replace a file as update-initramfs does it, sync included."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.rename(path)
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


@pytest.mark.parametrize("known", [True, False])
def test_grub_reads_what_linux_does(
    mounted: tuple[pathlib.Path, pathlib.Path], monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    disk, point = mounted
    ioctl = fcntl.ioctl

    def older(handle: int, request: int, argument: bytes) -> t.Any:
        """Be a kernel before 5.14, which ends up with the freezing of the file system."""
        return ioctl(handle, 0x4004667F if request == CHECKPOINT else request, argument)

    if not known:
        monkeypatch.setattr(fcntl, "ioctl", older)
    (point / "initrd").write_text("old")
    journal.flush(str(point))
    assert grub_reads(disk, "initrd") == "old"
    replace(point / "initrd", "new")
    assert grub_reads(disk, "initrd") != "new"  # or the test would show nothing
    journal.flush(str(point))
    assert grub_reads(disk, "initrd") == "new"
    (point / "still").write_text("writable")
