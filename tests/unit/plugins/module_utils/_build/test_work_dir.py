# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which directory may be a build's."""

from __future__ import annotations

import os
import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._build import work_dir
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)


@pytest.mark.parametrize(
    "path",
    [
        *("/", "//", "/home", "/root", "/usr/local/images/x", "/etc/ssl/x", "/var/tmp", "/var/lib"),
        *("relative/x", "/srv/../srv/x", "", "/dev/shm/x/y", "/proc/1/x"),
    ],
)
def test_dangerous(path: str) -> None:
    with pytest.raises(SealedRootError, match="cannot be the directory of a build"):
        work_dir.check(path)


@pytest.mark.parametrize("path", ["/srv/none/x", "/var/tmp/none/", "/none/x"])
def test_allowed(path: str) -> None:
    assert work_dir.check(path) == path.rstrip("/")


def test_links_are_resolved_before_they_are_judged(tmp_path: pathlib.Path) -> None:
    (tmp_path / "out").symlink_to("/usr/share")
    with pytest.raises(SealedRootError, match="cannot be the directory"):
        work_dir.check(str(tmp_path / "out" / "x"))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert work_dir.check(str(tmp_path / "link")) == str(tmp_path / "real")
    with pytest.raises(SealedRootError, match=f"symbolic link to {tmp_path}/real: give"):
        work_dir.check_place(str(tmp_path / "link"))
    (tmp_path / "file").touch()
    with pytest.raises(SealedRootError, match="is not a directory"):
        work_dir.check(str(tmp_path / "file"))


def test_contents(tmp_path: pathlib.Path) -> None:
    work_dir.check_contents(str(tmp_path / "none"))
    names = (
        "disk.raw",
        "disk.qcow2",
        "payload",
        "boot.key",
        "manifest.json",
        "bom.json",
        "report.html",
    )
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "root").mkdir()
    work_dir.check_contents(str(tmp_path))
    for name in ("rootfs", "photos", ".git"):
        (tmp_path / name).touch()
        with pytest.raises(SealedRootError, match=f"'{name}' in it, which no build made"):
            work_dir.check_contents(str(tmp_path))
        (tmp_path / name).unlink()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give a directory away")
def test_owners(tmp_path: pathlib.Path) -> None:
    own = tmp_path / "own"
    (own / "w").mkdir(parents=True)
    os.chown(own, 12345, -1)
    assert work_dir.check(str(own / "w")) == str(own / "w")
    with pytest.raises(SealedRootError, match="own belongs to user 12345"):
        work_dir.check_place(str(own / "w"))
    with pytest.raises(SealedRootError, match="own belongs to user 12345"):
        work_dir.check(str(own))


def test_a_directory_that_others_can_enter(tmp_path: pathlib.Path) -> None:
    tmp_path.chmod(0o711)
    with pytest.raises(SealedRootError, match=r"other users can enter .*chmod 0700"):
        work_dir.check_private(str(tmp_path))
    tmp_path.chmod(0o700)
    work_dir.check_private(str(tmp_path))
