# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

from ansible_collections.sealedroot.image.plugins.module_utils import _esp_tree


def test_a_tree(tmp_path: pathlib.Path) -> None:
    files = {"EFI/BOOT/A.EFI": b"a", "EFI/BOOT/grub.cfg": b"b"}
    assert _esp_tree.write(str(tmp_path), files) == list(files)
    assert _esp_tree.write(str(tmp_path), files) == []
    assert _esp_tree.write(str(tmp_path), {"EFI/BOOT/A.EFI": b"c"}) == ["EFI/BOOT/A.EFI"]
    _esp_tree.keep_only(str(tmp_path), {"EFI/BOOT/A.EFI"})
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in left] == [b"c"]
