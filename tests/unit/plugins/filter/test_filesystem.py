# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What file systems need, as roles see it."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sealedroot.image.plugins.filter.filesystem import FilterModule

FILESYSTEM = FilterModule().filters()["filesystem"]


def test_what_they_need() -> None:
    assert FILESYSTEM("ext4")["debian_packages"] == []
    assert FILESYSTEM("xfs")["tools"] == ["mkfs.xfs", "xfs_db", "xfs_repair"]
    assert FILESYSTEM("btrfs")["debian_packages"] == ["btrfs-progs"]


def test_one_that_is_not_known() -> None:
    with pytest.raises(
        AnsibleFilterError, match="a root on zfs cannot be made: choose one of ext4"
    ):
        FILESYSTEM("zfs")
