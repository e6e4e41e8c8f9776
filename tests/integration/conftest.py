# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the integration tests: real modules with real tools on real files."""

from __future__ import annotations

import os
import pathlib

import pytest
import sealed_image


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
