# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the integration tests: real modules with real tools on real files."""

from __future__ import annotations

import hashlib
import os
import pathlib
import typing as t

import pytest
import sealed_image
from builds import held


@pytest.fixture(autouse=True)
def _root() -> None:
    """Loop devices and mounts need root; a run without it must not look like a pass."""
    if os.geteuid() != 0:
        pytest.fail("the integration tests need root")


@pytest.fixture(scope="session")
def arm64_library(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """GRUB's modules for arm64, which no package of this machine's architecture has."""
    place = tmp_path_factory.mktemp("grub-arm64")
    sites = sealed_image.run(
        *("apt-get", "indextargets", "--format", "$(REPO_URI)", "Identifier: Packages"),
        "Origin: Debian",
    )
    mirror = next(site for site in sites.decode().split() if "security" not in site)
    tar = place / "extracted.tar"
    sealed_image.run(
        *("timeout", "600", "mmdebstrap", "--quiet", "--variant=extract", "--architectures=arm64"),
        *("--skip=check/qemu", "--include=grub-efi-arm64-bin", "bookworm", tar, mirror),
    )
    sealed_image.run("tar", "-C", place, "-xf", tar, "./usr/lib/grub/arm64-efi")
    tar.unlink()
    return place / "usr/lib/grub"


@pytest.fixture
def pack(tmp_path: pathlib.Path, real_module: t.Any) -> t.Callable[..., dict[str, t.Any]]:
    """Run root_tar on a disk image; nothing of it is left, however it ends."""

    def run(path: pathlib.Path, **more: t.Any) -> dict[str, t.Any]:
        cache, work = f"{tmp_path}/cache", f"{tmp_path}/work"
        made = not os.path.exists(work)
        before = hashlib.sha256(path.read_bytes()).digest()
        found: dict[str, t.Any] = real_module(
            "root_tar", type="disk", path=str(path), cache_dir=cache, work_dir=work, **more
        )
        assert hashlib.sha256(path.read_bytes()).digest() == before
        if made:
            assert not os.path.exists(work)
        else:  # the directory of a build stays
            assert os.listdir(work) == []
        assert held(tmp_path) == []
        return found

    return run


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> pathlib.Path:
    """A tree that is a root by its os-release, with all that a disk has to keep."""
    root = tmp_path / "tree"
    for name in ("etc", "usr/lib", "boot", "srv", "dev"):
        (root / name).mkdir(parents=True)
    (root / "usr/lib/os-release").write_text("ID=debian\n")
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    (root / "srv/file").write_text("content")
    os.link(root / "srv/file", root / "srv/link")
    os.setxattr(root / "srv/file", "user.mark", b"value")
    os.mknod(root / "srv/null", 0o20666, os.makedev(1, 3))
    with open(root / "srv/big", "wb") as file:
        file.truncate(3 << 30)
    return root
