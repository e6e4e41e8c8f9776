# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of a root: one row for each report from the field."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule
from ansible_collections.sealedroot.image.plugins.plugin_utils._root_plan import CHECKS, Wish, plan

FAMILIES = LookupModule().run([])
ON = {"policy": "etc/selinux/default/policy/policy.33", "type": "default", "mode": "enforcing"}
SELINUX = {**ON, "setfiles": True}
NO_SELINUX = {"policy": "", "type": "default", "mode": "", "setfiles": False}
MODULES = ["luks", "luks2", "gcry_sha256", "gcry_sha512", "ext2", "xfs", "btrfs"]
MODULES += ["eval", "hashsum", "memrw", "test"]
MODULES += ["key_protector", "tpm", "tpm2_key_protector"]
HAS = {
    "selinux": NO_SELINUX,
    "grub_modules": {"x86_64-efi": MODULES},
    "grub_install_luks2": True,
    "grub_unlocks": ["prompt", "launch_secret", "tpm2"],
    "tpm2_tools": True,
}
ROOT: dict[str, t.Any] = {
    "path": "/root.tar",
    "architecture": "x86_64",
    "family": "debian",
    "os_release": {"PRETTY_NAME": "Debian 12"},
    "problems": [],
    "missing_packages": [],
    "missing_growth_packages": [],
    "kernels": ["6.1.0"],
    "kernel_disks": {"6.1.0": ["nvme", "virtio_blk"]},
    "secure_boot": {},
    "unpacked_bytes": 1 << 30,
    "has": HAS,
}
GIVEN: dict[str, t.Any] = {
    "image_architecture": "x86_64",
    "image_boot_test": True,
    "image_filesystem": "ext4",
    "image_secure_boot": False,
    "image_size": "4GiB",
    "image_unlock": ["prompt"],
    "__image_grow": True,
    "__image_grow_required": False,
    "__image_luks": {"type": "luks1", "cipher": "aes-xts-plain64", "hash": "sha256"},
    "__image_selinux": "auto",
}
LUKS2 = {"__image_luks": {"type": "luks2", "hash": "sha256"}}
LAUNCHED = {"image_unlock": ["launch_secret"]}
SEALED = {"image_unlock": ["prompt", "tpm2"]}
GROW = {"__image_grow_required": True}
MIB = 1 << 20


def planned(
    root: dict[str, t.Any], given: dict[str, t.Any], *, installs: bool = False
) -> dict[str, t.Any]:
    return plan(Wish({**ROOT, **root}, {**GIVEN, **given}, FAMILIES, installs))


def has(**it: t.Any) -> dict[str, t.Any]:
    return {"has": {**HAS, **it}}


def without(*modules: str) -> dict[str, t.Any]:
    return has(grub_modules={"x86_64-efi": [it for it in MODULES if it not in modules]})


BAD: list[tuple[dict[str, t.Any], dict[str, t.Any], str]] = [
    (
        {"architecture": "aarch64"},
        {},
        "/root.tar is a root for aarch64, but the image is to be x86_64. Take a root of that",
    ),
    (
        {"family": "", "os_release": {"PRETTY_NAME": "Gentoo"}},
        {},
        "/root.tar holds Gentoo, which no family of this collection knows. Take a root of one of ",
    ),
    ({"family": "", "os_release": {}}, {}, "/root.tar holds no os-release, which no family"),
    (
        {"family": "arch"},
        {"image_secure_boot": "true"},
        "Of the family arch, to which the root in /root.tar belongs, no boot loader is known",
    ),
    (
        {"missing_packages": ["grub-efi-amd64", "dracut"]},
        {},
        "/root.tar lacks what an encrypted boot needs. Install grub-efi-amd64 dracut in the root",
    ),
    (
        {"missing_growth_packages": ["fdisk"]},
        GROW,
        "image_grow is true, but /root.tar lacks what its root needs to grow. Install fdisk in",
    ),
    (
        {"problems": ["It has no shell.", "It has no init."]},
        {},
        "/root.tar cannot become an encrypted image as it is. It has no shell. It has no init.",
    ),
    (
        has(grub_install_luks2=False),
        LUKS2,
        "its grub-install does not know it, so the first update of GRUB would leave a machine",
    ),
    (
        {"kernel_disks": {"6.1.0": ["nvme"]}},
        {},
        "No kernel in /root.tar has the driver virtio_blk, which the boot test needs. Install",
    ),
    (
        {"secure_boot": {"grub": "/usr/lib/grub/x", "missing_modules": ["luks2", "xfs"]}},
        {"image_secure_boot": True},
        "The signed GRUB in /root.tar (/usr/lib/grub/x) has no luks2 and no xfs, and under Secure",
    ),
    (
        has(grub_unlocks=["prompt"]),
        LAUNCHED,
        "The GRUB in /root.tar is older than 2.12, which launch_secret in image_unlock needs. Take",
    ),
    (
        without("memrw"),
        LAUNCHED,
        "The GRUB in /root.tar has no module memrw, which launch_secret in image_unlock needs.",
    ),
    (
        has(grub_unlocks=["prompt", "launch_secret"]),
        SEALED,
        "The GRUB in /root.tar is older than 2.14, which tpm2 in image_unlock needs. Take a root with"
        " GRUB 2.14 or later (Debian 14), or another way.",
    ),
    (
        without("tpm2_key_protector"),
        SEALED,
        "The GRUB in /root.tar has no module tpm2_key_protector, which tpm2 in image_unlock needs.",
    ),
    (
        has(tpm2_tools=False),
        SEALED,
        "/root.tar lacks what an encrypted boot needs. Install tpm2-tools in the root and pack it",
    ),
    (without("luks2"), LUKS2, "The GRUB in /root.tar has no module luks2, so it could not read"),
    (without("luks"), {}, "has no module luks, so it could not read its own disk. Set image_luks"),
    (
        without("luks2", "gcry_sha512"),
        {"__image_luks": {"type": "luks2", "hash": "sha512"}},
        "has no module luks2 and no gcry_sha512, so it could not read its own disk",
    ),
    (without("btrfs"), {"image_filesystem": "btrfs"}, "has no module btrfs, so it could not read"),
    (
        {},
        {"__image_selinux": "label"},
        "image_selinux is label, but /root.tar has no policy of the type that its",
    ),
    (
        has(selinux={**SELINUX, "mode": "disabled"}),
        {"__image_selinux": "relabel_at_boot"},
        "in /root.tar does not switch SELinux on, so no boot would relabel. Set",
    ),
    (
        has(selinux={**SELINUX, "setfiles": False}),
        {},
        "/root.tar has an SELinux policy but no setfiles, so it cannot be labelled. Install",
    ),
    # 1 GiB and 165 MiB are nine tenths of it.
    ({}, {"image_size": "1GiB"}, "is too small, since the root takes 1.00 GB unpacked. Set"),
    ({}, {"image_size": "1321MiB"}, "Set image_size to at least 1322MiB."),
    ({}, {"image_size": "1GiB", "image_filesystem": "xfs"}, "image_size 1GiB is too small, since"),
]


@pytest.mark.parametrize(("root", "given", "says"), BAD)
def test_roots_that_are_refused(root: dict[str, t.Any], given: dict[str, t.Any], says: str) -> None:
    (found,) = planned(root, given)["problems"]
    assert says in found
    assert found.endswith(".")


@pytest.mark.parametrize(
    ("root", "given", "installs"),
    [
        ({}, {}, False),
        ({}, {"image_size": "1322MiB"}, False),
        ({"missing_packages": ["dracut"]}, {}, True),
        ({"missing_growth_packages": ["fdisk"]}, {}, False),
        ({"missing_growth_packages": ["fdisk"]}, GROW, True),
        ({"missing_growth_packages": ["fdisk"]}, {"__image_grow": False}, False),
        ({"family": "redhat", **has(grub_install_luks2=False)}, LUKS2, False),
        (has(grub_install_luks2=False), {}, False),
        ({"kernel_disks": {"6.1.0": ["nvme"]}}, {"image_boot_test": "no"}, False),
        # The missing kernel or package says what there is to say.
        ({"kernels": [], "kernel_disks": {}}, {}, False),
        (has(grub_modules={}), {}, False),
        (has(grub_modules={"arm64-efi": []}), {}, False),
        ({}, {"image_secure_boot": True}, False),
        (without("luks2", "gcry_sha512", "xfs"), {}, False),
        (has(selinux={**SELINUX, "setfiles": False}), {"__image_selinux": "off"}, False),
        (has(selinux={**SELINUX, "mode": "disabled", "setfiles": False}), {}, False),
    ],
)
def test_roots_that_are_taken(
    root: dict[str, t.Any], given: dict[str, t.Any], installs: bool
) -> None:
    assert planned(root, given, installs=installs)["problems"] == []


def test_every_check_refuses_something_and_all_is_said_at_once() -> None:
    wishes = [Wish({**ROOT, **root}, {**GIVEN, **given}, FAMILIES, False) for root, given, _ in BAD]
    assert {it for it in CHECKS if any(map(it, wishes))} == set(CHECKS)
    found = planned({"architecture": "aarch64", "problems": ["It is odd."]}, {})["problems"]
    assert len(found) == 2


@pytest.mark.parametrize(
    ("wanted", "mode", "policy", "active", "stage"),
    [
        ("auto", "enforcing", True, True, True),
        ("auto", "permissive", True, True, True),
        ("auto", "disabled", True, False, False),
        ("auto", "enforcing", False, False, False),
        ("label", "disabled", True, False, True),
        ("label", "enforcing", True, True, True),
        ("relabel_at_boot", "permissive", True, True, True),
        ("off", "enforcing", True, False, False),
    ],
)
def test_what_is_planned_for_selinux(
    wanted: str, mode: str, policy: bool, active: bool, stage: bool
) -> None:
    selinux = {**SELINUX, "mode": mode, "policy": ON["policy"] if policy else ""}
    found = planned(has(selinux=selinux), {"__image_selinux": wanted})["selinux_plan"]
    assert found == {"active": active, "stage": stage}


@pytest.mark.parametrize(
    ("grow", "required", "lacks", "installs", "grows", "missing"),
    [
        (True, False, [], False, True, ["dracut"]),
        (True, False, ["fdisk"], False, False, ["dracut"]),
        # Nothing is installed for what nobody asked for.
        (True, False, ["fdisk"], True, False, ["dracut"]),
        (True, True, ["fdisk"], True, True, ["dracut", "fdisk"]),
        (True, True, ["fdisk"], False, False, ["dracut", "fdisk"]),
        (False, False, [], False, False, ["dracut"]),
    ],
)
def test_what_is_planned_for_growth(
    grow: bool, required: bool, lacks: list[str], installs: bool, grows: bool, missing: list[str]
) -> None:
    root = {"missing_packages": ["dracut"], "missing_growth_packages": lacks}
    given = {"__image_grow": grow, "__image_grow_required": required}
    found = planned(root, given, installs=installs)
    assert (found["grows"], found["missing_packages"]) == (grows, missing)
