# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a directory is packed, and how the cache of sources is kept."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._source import (
    cache as source_cache,
    tree_tar,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system import mounts
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

MOUNTS = mounts.parse(
    r"""
21 1 0:20 / / rw - ext4 /dev/vda rw
22 21 0:21 / /srv/root/proc rw - proc proc rw
23 21 0:22 / /srv/root/dev/pts rw - devpts devpts rw
24 21 0:23 / /srv/root/boot rw shared:1 - ext4 /dev/vdb rw
25 21 0:23 / /srv/root/my\040disk rw - ext4 /dev/vdb rw
26 21 0:23 / /srv/root2/boot rw - ext4 /dev/vdb rw
27 21 0:23 / /srv/root rw - ext4 /dev/vdb rw
""".strip()
)


def test_what_is_mounted_below() -> None:
    assert tree_tar.mounts_below("/srv/root", MOUNTS) == ["boot", "my disk"]
    assert tree_tar.mounts_below("/srv/root2", MOUNTS) == ["boot"]


def test_the_order_is_fixed_and_links_are_not_followed(tmp_path: pathlib.Path) -> None:
    for name in ("b", "a/x", "proc", "boot"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "a/out").symlink_to("/etc")
    (tmp_path / "proc/1").touch()
    (tmp_path / "boot/vmlinuz").touch()
    found = tree_tar.scan(str(tmp_path), ["boot"])
    assert found.names == (b".", b"./a", b"./a/out", b"./a/x", b"./b", b"./boot", b"./proc")


@pytest.mark.parametrize(
    ("rc", "stderr", "says"),
    [
        (1, "tar: ./log: file changed as we read it\n", "changed while it was read"),
        (2, "tar: ./log: Cannot open: Input/output error\n", "tar could not pack /srv/root: tar"),
    ],
)
def test_what_tar_does_not_like(
    rc: int, stderr: str, says: str, script: t.Any, runner: t.Any
) -> None:
    argv = ["tar", "--create", "--file", "/c/t", "--directory", "/srv/root"]
    argv += ["--null", "--no-recursion", "--files-from=-", "--atime-preserve=system"]
    argv += ["--numeric-owner", "--acls", "--xattrs", "--xattrs-include=*", "--sparse"]
    argv.append("--xattrs-exclude=trusted.SGI_ACL_*")
    argv += ["--format=posix"]
    argv += ["--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"]
    script.expect(argv, stdin=b".\0./log\0", rc=rc, stderr=stderr)
    with pytest.raises(SealedRootError) as error:
        tree_tar.pack(runner, "/srv/root", [b".", b"./log"], "/c/t")
    assert says in str(error.value)


def test_one_makes_a_file_and_the_others_wait(tmp_path: pathlib.Path) -> None:
    cache = tmp_path / "cache"
    with source_cache.claimed(str(cache), "one") as scratch:
        assert os.listdir(scratch) == []
        pathlib.Path(scratch, "half").touch()
        with (
            pytest.raises(SealedRootError, match="another build has been making one"),
            source_cache.claimed(str(cache), "one", seconds=0),
        ):
            pass
        assert os.path.exists(scratch)
    assert not os.path.exists(scratch)


def test_what_an_interrupted_one_left_is_gone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "one.scratch").mkdir()
    (tmp_path / "one.scratch/half").touch()
    with source_cache.claimed(str(tmp_path), "one") as scratch:
        assert os.listdir(scratch) == []


def test_only_what_nobody_has_used_for_long_is_forgotten(tmp_path: pathlib.Path) -> None:
    for name in ("d-1.tar", "d-2.tar", "d-3.tar", "e-1.tar", "d-4.scratch"):
        (tmp_path / name).touch()
        if name != "d-2.tar":
            os.utime(tmp_path / name, (1, 1))
    source_cache.forget(str(tmp_path), "d-", but=str(tmp_path / "d-3.tar"))
    left = ["d-2.tar", "d-3.tar", "d-4.scratch", "e-1.tar"]
    assert sorted(os.listdir(tmp_path)) == left


def test_names_that_fill_the_memory_are_refused(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Links take no block of a disk, and their names take memory here."""
    for number in range(20):
        (tmp_path / f"{number}").symlink_to("x")
    assert len(tree_tar.scan(str(tmp_path)).names) == 21
    monkeypatch.setattr(tree_tar, "MOST_NAMES", 1000)
    with pytest.raises(SealedRootError, match="as those of no root do: give another directory"):
        tree_tar.scan(str(tmp_path))
