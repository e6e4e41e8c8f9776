# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading what an untrusted image wrote."""

from __future__ import annotations

import os
import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._system import nofollow
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


def test_tree(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_bytes(b"\0\xff")
    (tmp_path / "d").touch()
    assert nofollow.read_tree(str(tmp_path)) == {"a/b/c": b"\0\xff", "d": b""}
    assert nofollow.read_file(str(tmp_path / "a/b/c")) == b"\0\xff"


@pytest.mark.parametrize("target", ["/etc/passwd", "d", "missing", "/"])
def test_links_are_named(target: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "d").touch()
    (tmp_path / "link").symlink_to(target)
    for read in (nofollow.read_tree, nofollow.read_file):
        path = tmp_path if read is nofollow.read_tree else tmp_path / "link"
        with pytest.raises(SealedRootError, match=f"{tmp_path}/link is a symbolic link"):
            read(str(path))
    with pytest.raises(SealedRootError, match="link is a symbolic link"):
        nofollow.read_tree(str(tmp_path / "link"))
    with pytest.raises(SealedRootError, match="link is a symbolic link"):
        nofollow.read_file(str(tmp_path / "link" / "shadow"))


def test_a_directory_that_becomes_a_link_while_it_is_read(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image may still run: what counts is what is opened, not what was seen before."""
    (tmp_path / "src/sub").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("of the builder")
    look = os.stat

    def swap(path: t.Any, **kwargs: t.Any) -> os.stat_result:
        info = look(path, **kwargs)
        if path == "sub" and not (tmp_path / "src/sub").is_symlink():
            (tmp_path / "src/sub").rmdir()
            (tmp_path / "src/sub").symlink_to(tmp_path / "secret")
        return info

    monkeypatch.setattr(nofollow.os, "stat", swap)
    with pytest.raises(SealedRootError, match="is a symbolic link"):
        nofollow.read_tree(str(tmp_path / "src"))


def test_limits(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nofollow, "LARGEST", 4)
    (tmp_path / "x").write_bytes(b"12345")
    with pytest.raises(SealedRootError, match="is larger than 4 bytes"):
        nofollow.read_tree(str(tmp_path))
    (tmp_path / "x").unlink()
    monkeypatch.setattr(nofollow, "MOST", 2)
    for name in "abc":
        (tmp_path / name).touch()
    with pytest.raises(SealedRootError, match="more than 2 files"):
        nofollow.read_tree(str(tmp_path))
    for name in "abc":
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
    with pytest.raises(SealedRootError, match="more than 2 files"):
        nofollow.read_tree(str(tmp_path))
    for name in "abc":
        (tmp_path / name).rmdir()
    monkeypatch.setattr(nofollow, "MOST", 20)
    monkeypatch.setattr(nofollow, "TOTAL", 7)
    for name in "ab":
        (tmp_path / name).write_bytes(b"1234")
    with pytest.raises(SealedRootError, match="more than 7 bytes"):
        nofollow.read_tree(str(tmp_path))
    for name in "ab":
        (tmp_path / name).unlink()
    (tmp_path / "/".join("123456789")).mkdir(parents=True)
    with pytest.raises(SealedRootError, match="more than 8 directories deep"):
        nofollow.read_tree(str(tmp_path))


def test_paths_that_are_none(tmp_path: pathlib.Path) -> None:
    for path in ("relative", f"{tmp_path}/../x"):
        with pytest.raises(SealedRootError, match="is not an absolute path"):
            nofollow.read_tree(path)
    with pytest.raises(SealedRootError, match="none cannot be read: No such file"):
        nofollow.read_tree(str(tmp_path / "none"))


def test_no_descriptor_is_left_open(tmp_path: pathlib.Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/link").symlink_to("x")
    before = len(os.listdir("/proc/self/fd"))
    for path in (tmp_path, tmp_path / "none" / "x"):
        with pytest.raises(SealedRootError):
            nofollow.read_tree(str(path))
    assert len(os.listdir("/proc/self/fd")) == before
