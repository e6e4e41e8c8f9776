# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is in a root that lies unpacked."""

from __future__ import annotations

import os
import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._root import tree


def test_what_is_mounted_below_is_not_of_the_root(tmp_path, monkeypatch) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/1").touch()
    (tmp_path / "etc").mkdir()
    real = os.lstat

    def lstat(path: t.Any) -> os.stat_result:
        info = list(real(path))
        if str(path).endswith("/proc"):
            info[2] += 1
        return os.stat_result(info)

    monkeypatch.setattr(os, "lstat", lstat)
    assert [member.name for member in tree.listing(str(tmp_path))] == ["etc"]


def test_what_a_link_says(tmp_path) -> None:
    (tmp_path / "a").symlink_to("/b\\x")
    (found,) = tree.listing(str(tmp_path))
    assert (found.type, found.link) == ("l", "/b\\\\x")
