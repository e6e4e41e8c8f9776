# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of mounts."""

from __future__ import annotations

import os
import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    mounts,
)

W = "/var/tmp/seal/web 1"


@pytest.mark.parametrize(
    ("path", "directory", "inside"),
    [
        ("/a/b", "/a/b", True),
        ("/a/b/c", "/a/b", True),
        ("/a/b2", "/a/b", False),
        ("/a", "/a/b", False),
        ("", "/a/b", False),
    ],
)
def test_below(path: str, directory: str, inside: bool) -> None:
    assert mounts.is_below(path, directory) is inside


def test_mounts() -> None:
    text = (
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        "90 22 7:3 / /var/tmp/seal/web\\0401/root rw,noatime - ext4 /dev/mapper/a\\040b rw\n"
        "91 22 0:45 / /a\\134b\\011c\\012d rw shared:5 master:2 - fuse /dev/fuse rw\n"
        "92 22 0:46 / /var/tmp/seal/web\\0401/gone//deleted rw - tmpfs none rw\n"
    )
    assert mounts.parse(text) == [
        mounts.Mount("/", "ext4", os.makedev(254, 0), "/dev/vda", frozenset({"rw", "relatime"})),
        mounts.Mount(
            f"{W}/root",
            "ext4",
            os.makedev(7, 3),
            "/dev/mapper/a b",
            frozenset({"rw", "noatime"}),
        ),
        mounts.Mount("/a\\b\tc\nd", "fuse", os.makedev(0, 45), "/dev/fuse", frozenset({"rw"})),
        mounts.Mount(f"{W}/gone", "tmpfs", os.makedev(0, 46), "none", frozenset({"rw"})),
    ]


def test_filesystem_type(tmp_path: pathlib.Path) -> None:
    device = os.stat(tmp_path).st_dev
    mountinfo = (
        "21 1 99:99 / / rw - ext4 /dev/vda rw\n"
        f"22 1 {os.major(device)}:{os.minor(device)} / /x rw shared:1 - tmpfs tmpfs rw\n"
    )
    assert mounts.type_of(str(tmp_path), mounts.parse(mountinfo)) == "tmpfs"
    assert mounts.type_of(str(tmp_path), []) == "unknown"
