# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names in /boot."""

from __future__ import annotations

import fnmatch
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import boot_files

# A kernel and its version; or '' for what GRUB does not offer.
KERNELS = [
    ("vmlinuz-6.1.0-50-amd64", "6.1.0-50-amd64"),
    ("vmlinuz-linux", "linux"),
    ("vmlinux-6.4.0-150600.23-default", "6.4.0-150600.23-default"),
    # For crash(8).
    ("vmlinux-6.4.0-150600.23-default.gz", ""),
    ("vmlinux-6.4.0-150600.23-default.xz", ""),
    ("vmlinuz-6.1.old", "6.1"),
    ("vmlinuz-6.1.dpkg-new", ""),
    ("vmlinuz-6.1.rpmsave", ""),
    ("vmlinuz-6.1.sig", ""),
    *((name, "") for name in ("vmlinuz", "System.map-6.1", "config-6.1", "initrd.img-6.1")),
]
# A file, and the versions of kernels that it can be the initramfs of.
INITRAMFS = [
    ("initrd.img-6.1", ["6.1"]),
    ("initramfs-6.1.img", ["6.1"]),
    ("initrd-6.1", ["6.1"]),
    ("initramfs-linux.img", ["linux"]),
    ("initramfs-linux-fallback.img", ["linux-fallback", "linux"]),
    *((name, []) for name in ("initrd.img-", "initramfs-.img", "initrd.img", "vmlinuz-6.1")),
]


def is_one_of(name: str, globs: t.Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, it) for it in globs)


@pytest.mark.parametrize(("name", "version"), KERNELS)
def test_what_is_a_kernel(name: str, version: str) -> None:
    assert boot_files.kernels([name]) == ([version] if version else [])
    assert boot_files.kernel_files([name]) == ([name] if version else [])
    if version:
        assert is_one_of(name, boot_files.KERNEL_GLOBS)
        assert not is_one_of(name, boot_files.NOT_LOADED_GLOBS)
        assert boot_files.LOADED.fullmatch(name)


@pytest.mark.parametrize(("name", "versions"), INITRAMFS)
def test_whose_initramfs_it_is(name: str, versions: list[str]) -> None:
    assert boot_files.versions(name) == versions
    assert all(name in boot_files.initramfs([name], it) for it in versions)
    if versions:
        assert is_one_of(name, boot_files.INITRAMFS_GLOBS)
        assert boot_files.INITRAMFS.fullmatch(name)
        assert boot_files.LOADED.fullmatch(name)
