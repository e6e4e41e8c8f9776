# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib

from ansible_collections.sealedroot.image.plugins.module_utils._grub import esp_tree


def test_a_tree(tmp_path: pathlib.Path) -> None:
    files = {"EFI/BOOT/A.EFI": b"a", "EFI/BOOT/grub.cfg": b"b"}
    assert esp_tree.write(str(tmp_path), files) == list(files)
    assert esp_tree.write(str(tmp_path), files) == []
    assert esp_tree.write(str(tmp_path), {"EFI/BOOT/A.EFI": b"c"}) == ["EFI/BOOT/A.EFI"]
    esp_tree.keep_only(str(tmp_path), {"EFI/BOOT/A.EFI"})
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in left] == [b"c"]
