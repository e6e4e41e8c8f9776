# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which directories are packed as a root."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._source import directory
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (("etc/os-release",), ""),
        (("usr/lib/os-release",), ""),
        ((), " is no root: it has no etc/os-release and no usr/lib/os-release"),
        (("etc/passwd", "usr/bin/sh"), " is no root: it has no etc/os-release"),
        (("oci-layout", "index.json"), " is a container image: set the type of image_source to oc"),
        (("rootfs/etc/os-release",), " has the root in its directory rootfs: give that"),
    ],
)
def test_what_a_directory_is(tmp_path: pathlib.Path, names: tuple[str, ...], says: str) -> None:
    top = tmp_path / "top"
    top.mkdir()
    for name in names:
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    if not says:
        assert directory.check(str(top), str(tmp_path / "cache")) == str(top)
        return
    with pytest.raises(SealedRootError, match=f"^{top}{says}"):
        directory.check(str(top), str(tmp_path / "cache"))
