# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a hook of the root put where a machine mounts its EFI system partition."""

from __future__ import annotations

import typing as t

import efi
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import esp_mount
from cpio import newc

KEY = b"the boot key of the image, long enough to be found"
TOP = "/boot/efi/EFI/debian"


@pytest.mark.parametrize(
    ("path", "data", "says"),
    [
        # What packages of Fedora put there.
        (f"{TOP}/shimx64.efi", efi.program(), ""),
        (f"{TOP}/grub.cfg", b"configfile /grub.cfg\n", ""),
        (f"{TOP}/BOOTX64.CSV", "shimx64.efi,x".encode("utf-16"), ""),
        ("/boot/initrd.img-6.1", b"", ""),
        (
            f"{TOP}/initrd.img",
            b"",
            f"{TOP}/initrd.img is a kernel or an initramfs: a hook of the root",
        ),
        ("/efi/0123/6.1/linux", b"", "is a kernel or an initramfs"),
        (f"{TOP}/ours", newc({"init": (0o755, b"")}), "is an initramfs"),
        (f"{TOP}/ours", b"\x1f\x8b\x08", "is an initramfs"),
        (
            f"{TOP}/ours.efi",
            efi.program(sections=(".text", ".initrd")),
            "is a unified kernel image",
        ),
        ("/efi/EFI/Linux/fedora.efi", b"", "is a kernel or an initramfs"),
        (f"{TOP}/notes", b"x" + KEY, "holds the boot key"),
        (f"{TOP}/notes", KEY.hex().encode(), "holds the boot key"),
    ],
)
def test_what_is_at_the_mount_point(tree: t.Any, path: str, data: bytes, says: str) -> None:
    found = esp_mount.examine(tree({path: (0o600, data)}), {"boot key": KEY})
    assert [says in it for it in found] == ([True] if says else [])
