# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A disk whose root cannot be used after it was mounted; tests/integration/test_image_disk.py has real disks."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import root_disk
from ansible_collections.sealedroot.image.plugins.module_utils._filesystem import mkfs
from ansible_collections.sealedroot.image.plugins.module_utils._system import mounts
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import CommandError

KEY = {"slot": 0, "key_file": "/keys/boot.key", "iterations": None, "passphrase": False}


def test_the_error_after_the_mount_is_the_one_that_is_told(
    tmp_path: pathlib.Path, script: t.Any, runner: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = {
        "work_dir": str(tmp_path),
        "name": "web",
        "size": 2 << 30,
        "filesystem": "ext4",
        "luks": {},
        "state": "open",
        "keys": [KEY],
        "header": None,
        "backend": "auto",
        "uuid": "",
        "root_uuid": "",
        "source_date_epoch": 0,
    }
    disk = root_disk.RootDisk(runner, params)
    pathlib.Path(disk.path).touch()
    seen: list[mounts.Mount] = []
    asked: list[str] = []

    def luks(_runner: t.Any, wanted: dict[str, t.Any], **_more: t.Any) -> dict[str, t.Any]:
        # What is mounted cannot be closed.
        assert not seen
        asked.append(wanted["state"])
        return {"changed": True, "formatted": True}

    monkeypatch.setattr(root_disk.mounts, "read", lambda: seen)
    monkeypatch.setattr(root_disk.luks_region, "ensure", luks)
    monkeypatch.setattr(root_disk.layout, "is_made", lambda *_: True)
    monkeypatch.setattr(disk, "_make_filesystem", lambda: None)
    monkeypatch.setattr(disk, "_ensure_keys", lambda **_: None)
    script.expect(
        ["blkid", "--probe", "--match-tag", "TYPE", "--output", "value", disk.device],
        stdout="ext4\n",
    )
    script.expect(
        ["mount", "-t", "ext4", "-o", "noatime,nodev,nosuid,noinit_itable", disk.device, disk.root],
        effect=lambda: seen.append(mounts.Mount(disk.root, "ext4", 1, disk.device)),
    )
    first = ["unshare", "--mount", "sh", "-euc", mkfs.FIRST_FILE, "-", disk.root]
    script.expect(first, rc=1, stderr="unshare: cannot change root filesystem propagation")
    script.expect(["umount", disk.root], effect=seen.clear)
    with pytest.raises(CommandError, match=r"cannot change root filesystem propagation"):
        disk.make_and_open(check_mode=False)
    assert asked == ["open", "closed"]
