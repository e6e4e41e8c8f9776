# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the tests that run the playbook: real builds of a small Debian, and what they leave."""

from __future__ import annotations

import pathlib
import shutil
import typing as t

import pytest
import sshd
from builds import DEBIAN, QUICK_INITRAMFS, add_files, source_tar


@pytest.fixture(scope="session")
def plain_tar() -> pathlib.Path:
    """The tar of a minimal Debian, bootstrapped once on this machine by the collection itself."""
    return source_tar(DEBIAN)


@pytest.fixture(scope="session")
def root_tar(
    plain_tar: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[pathlib.Path]:
    """The same, with an initramfs that is quick to make."""
    path = tmp_path_factory.mktemp("root") / "root.tar"
    shutil.copy(plain_tar, path)
    add_files(path, QUICK_INITRAMFS)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[sshd.Server]:
    """This machine once more, behind ssh on the loopback."""
    with sshd.running(tmp_path_factory.mktemp("server") / "sshd") as it:
        yield it
