# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""In which part of a disk a difference is."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.filter.differences import located

MIB = 1 << 20
ROOT = {"offset": 100 * MIB, "size": str(1947 * MIB)}


@pytest.mark.parametrize(
    ("offset", "luks1", "luks2"),
    [
        (0, "byte 0 of the partition table", None),
        (MIB - 1, "byte 1048575 of the partition table", None),
        (MIB, "byte 0 of the EFI system partition", None),
        (100 * MIB - 1, f"byte {99 * MIB - 1} of the EFI system partition", None),
        (100 * MIB, "byte 0 of the LUKS header", None),
        (102 * MIB - 1, f"byte {2 * MIB - 1} of the LUKS header", None),
        (102 * MIB, "byte 0 of the encrypted data", f"byte {2 * MIB} of the LUKS header"),
        (116 * MIB, f"byte {14 * MIB} of the encrypted data", "byte 0 of the encrypted data"),
        (2047 * MIB, "byte 0 of the backup of the partition table", None),
    ],
)
def test_parts(offset: int, luks1: str, luks2: str | None) -> None:
    said = f"/out/disk.vhd is not the same disk: Content mismatch at offset {offset}!"
    for luks_type, part in (("luks1", luks1), ("luks2", luks2 or luks1)):
        found = located(said, ROOT, luks_type=luks_type)
        assert found == f"{said[:-1]} ({part})!"


@pytest.mark.parametrize("said", ["", "Image size mismatch!", "offset x", f"offset {'9' * 30}"])
def test_what_has_no_offset_stays(said: str) -> None:
    assert located(said, ROOT, luks_type="luks1") == said
