# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which generator is told; tests/unit/plugins/module_utils/_initramfs has what each is told."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
import unlocking
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

KERNEL = ("boot/vmlinuz-6.1", "lib/modules/6.1/modules.dep")
DRACUT = ("usr/bin/dracut", "usr/sbin/cryptsetup", "usr/lib/systemd/systemd-cryptsetup")
TOOLS = (
    *("usr/sbin/update-initramfs", "usr/sbin/mkinitramfs"),
    "usr/share/initramfs-tools/hooks/cryptroot",
)
ARCH = ("usr/bin/mkinitcpio", "usr/lib/initcpio/install/sd-encrypt")


def tree(root: pathlib.Path, *names: str) -> pathlib.Path:
    for name in (*KERNEL, "run/sealedroot/boot.key", "run/sealedroot/luks.header", *names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return root


@pytest.mark.parametrize(
    ("names", "given", "found", "path"),
    [
        (DRACUT, None, "dracut", "initramfs-6.1.img"),
        (TOOLS, None, "initramfs_tools", "initrd.img-6.1"),
        # What the root's own updates run, and what is asked for.
        ((*DRACUT, *TOOLS, "etc/kernel/postinst.d/dracut"), None, "dracut", "initrd.img-6.1"),
        ((*DRACUT, *TOOLS), "dracut", "dracut", "initramfs-6.1.img"),
    ],
)
def test_the_generator_is_found_or_given(
    tmp_path: pathlib.Path, names: tuple[str, ...], given: str | None, found: str, path: str
) -> None:
    root = tree(tmp_path, *names)
    outcome = unlocking.ensure(root, generator=given, check_mode=True)
    assert outcome["generator"] == found
    assert outcome["initramfs"] == [{"version": "6.1", "path": f"/boot/{path}"}]
    mapping = "cr_root" if found == "initramfs_tools" else f"luks-{unlocking.UUID}"
    unlocking.ensure(root, generator=given, check_mode=False)
    assert (tmp_path / "etc/crypttab").read_text().startswith(f"{mapping} ")


@pytest.mark.parametrize(
    ("names", "generator", "paths"),
    [
        # One kernel, twice in /boot.
        ((*TOOLS, "boot/vmlinux-6.1"), "initramfs_tools", ["/boot/initrd.img-6.1"]),
        # update-initramfs writes by one name alone, and dracut where it is told to.
        ((*TOOLS, "boot/initrd-6.1"), "initramfs_tools", ["/boot/initrd.img-6.1"]),
        ((*DRACUT, "boot/initrd-6.1"), "dracut", ["/boot/initrd-6.1"]),
        ((*DRACUT, "boot/vmlinuz-7-without-modules"), "dracut", ["/boot/initramfs-6.1.img"]),
        (
            (*ARCH, "boot/vmlinuz-linux", "boot/initramfs-linux-fallback.img"),
            "mkinitcpio",
            ["/boot/initramfs-6.1.img", "/boot/initramfs-linux.img"],
        ),
    ],
)
def test_the_initramfs_of_each_kernel(
    tmp_path: pathlib.Path, names: tuple[str, ...], generator: str, paths: list[str]
) -> None:
    root = tree(tmp_path, *names)
    outcome = unlocking.ensure(root, generator=generator, check_mode=True)
    assert [it["path"] for it in outcome["initramfs"]] == paths


@pytest.mark.parametrize(
    ("generator", "says"),
    [("mkinitcpio", "no kernel in /boot: install"), ("dracut", "/boot with its modules: install")],
)
def test_a_root_without_a_kernel_is_refused(
    tmp_path: pathlib.Path, generator: str, says: str
) -> None:
    root = tree(tmp_path, *DRACUT, *ARCH)
    (tmp_path / KERNEL[0]).unlink()
    with pytest.raises(SealedRootError, match=says):
        unlocking.ensure(root, generator=generator, check_mode=False)


def test_a_kernel_that_a_person_named_is_said(tmp_path: pathlib.Path) -> None:
    """Its name would become a word of a command."""
    root = tree(tmp_path, *ARCH, "boot/vmlinuz-linux copy")
    with pytest.raises(SealedRootError, match="the kernel 'linux copy' in /boot has a name"):
        unlocking.ensure(root, generator="mkinitcpio", check_mode=True)


def test_a_root_without_any_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        SealedRootError, match=r"nothing that builds an initramfs \(initramfs_tools"
    ):
        unlocking.ensure(tree(tmp_path))
    assert not (tmp_path / "etc").exists()


def test_through_main_options_are_checked(run_module: t.Any) -> None:
    assert "luks_uuid" in run_module("initramfs_unlock", filesystem="ext4")["msg"]
    refused = run_module("initramfs_unlock", luks_uuid="u", generator="booster")
    assert (
        "value of generator must be one of: dracut, initramfs_tools, mkinitcpio" in refused["msg"]
    )
