# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The chain of Secure Boot, of made-up programs; Debian's own are in tests/integration/test_signed_chain.py."""

from __future__ import annotations

import typing as t

import efi
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import secure_boot
from ansible_collections.sealedroot.image.plugins.module_utils._grub import cfg, signed_chain
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

HEADER = {"luks_type": "luks1", "hash": "sha256", "filesystem": "ext4"}
MODULES = {
    *cfg.needed(luks_type="luks1", hash_name="sha256", filesystem="ext4"),
    *cfg.SIGNED,
}
SHIM, MOK = efi.signed(efi.program(b"shim"), times=2), efi.signed(efi.program(b"mok"))
GRUB = efi.signed(efi.program(efi.grub(MODULES)))
KERNEL = efi.signed(efi.program(b"Linux", sections=[".text"]))
STUB = "cryptomount -u 1\n"


def make(**change: t.Any) -> tuple[dict[str, bytes], t.AbstractSet[str]]:
    programs = {
        "shim": ("/shim", change.pop("shim", SHIM)),
        "grub": ("/grub", change.pop("grub", GRUB)),
        **({"mok_manager": ("/mm", MOK)} if change.pop("mok", True) else {}),
    }
    kernels = {"/boot/vmlinuz-6": change.pop("kernel", KERNEL)}
    return signed_chain.make(
        architectures.X86_64,
        programs,
        kernels=kernels,
        header={**HEADER, **change},
        stub=STUB,
    )


def test_the_files() -> None:
    files, modules = make()
    assert modules == MODULES
    assert files == {
        "EFI/BOOT/BOOTX64.EFI": SHIM,
        "EFI/BOOT/grubx64.efi": GRUB,
        "EFI/BOOT/mmx64.efi": MOK,
        "EFI/BOOT/grub.cfg": STUB.encode(),
        "EFI/debian/grub.cfg": STUB.encode(),
    }
    assert "EFI/BOOT/mmx64.efi" not in make(mok=False)[0]


def test_another_vendor() -> None:
    files, _modules = make(grub=efi.signed(efi.program(efi.grub(MODULES, "/EFI/ubuntu"))))
    assert "EFI/ubuntu/grub.cfg" in files


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"shim": b""}, "the image has no /shim, its signed shim: install"),
        ({"shim": efi.program(b"shim")}, "/shim is not signed, so Secure Boot would not start it"),
        ({"grub": efi.program(efi.grub(MODULES))}, "/grub is not signed"),
        ({"grub": GRUB.replace(b"mimg", b"MIMG")}, "/grub is not what was signed"),
        ({"grub": MOK}, "/grub is not the GRUB that a distribution signs .*another program"),
        (
            {"grub": efi.signed(efi.program(efi.grub(MODULES, "(memdisk)/boot/grub")))},
            r"installed systems \(its prefix is '\(memdisk\)/boot/grub'\)",
        ),
        (
            {"grub": efi.signed(efi.program(efi.grub(MODULES, "/EFI/..")))},
            "its prefix is '/EFI/..'",
        ),
        (
            {"grub": efi.signed(efi.program(efi.grub(MODULES - {"luks"})))},
            "the signed GRUB /grub has no luks, .* loads no module: set image_luks",
        ),
        ({"luks_type": "luks2", "hash": "sha512"}, "/grub has no gcry_sha512, luks2,"),
        ({"filesystem": "btrfs"}, "/grub has no btrfs"),
        ({"kernel": b"\x1f\x8b a vmlinuz of another kind"}, "/boot/vmlinuz-6 is no EFI program"),
        ({"kernel": efi.program(b"Linux")}, "/boot/vmlinuz-6 is not signed, .*remove it"),
    ],
)
def test_what_would_not_boot_is_refused(change: dict[str, t.Any], says: str) -> None:
    with pytest.raises(SealedRootError, match=says):
        make(**change)


def test_what_is_made_passes_the_audit() -> None:
    files, _modules = make()
    problems, wanted = secure_boot.chain(files, modules=MODULES)
    assert problems == []
    assert sorted(wanted) == sorted(files)
    files.pop("EFI/BOOT/mmx64.efi")
    assert secure_boot.chain(files, modules=MODULES)[0] == []
    assert "EFI/BOOT/mmx64.efi" not in secure_boot.chain(files, modules=MODULES)[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"EFI/BOOT/BOOTX64.EFI": GRUB}, "BOOTX64.EFI is GRUB, not a shim"),
        ({"EFI/BOOT/BOOTX64.EFI": efi.program(b"shim")}, "BOOTX64.EFI is not signed"),
        ({"EFI/BOOT/grubx64.efi": GRUB[:-8]}, "grubx64.efi is no"),
        ({"EFI/BOOT/grubx64.efi": SHIM}, "grubx64.efi is no GRUB"),
        (
            {"EFI/BOOT/grubx64.efi": efi.signed(efi.program(efi.grub(MODULES - {"pbkdf2"})))},
            "lacks the GRUB modules pbkdf2",
        ),
        (
            {"EFI/BOOT/grubx64.efi": efi.signed(efi.program(efi.grub(MODULES, "(hd0)/grub")))},
            "looks for its configuration in (hd0)/grub",
        ),
        ({"EFI/BOOT/FBX64.EFI": efi.signed(efi.program(b"fb"))}, "restarts machines with a TPM"),
        ({"EFI/debian/grub.cfg": b"cryptomount -u 2\n"}, "differ: which one counts"),
        ({"EFI/extra.efi": efi.program(b"x")}, "EFI/extra.efi is not signed"),
    ],
)
def test_what_the_audit_finds(change: dict[str, bytes], says: str) -> None:
    files = {**make()[0], **change}
    assert any(says in it for it in secure_boot.chain(files, modules=MODULES)[0])


def test_an_esp_without_a_boot_file() -> None:
    files = {name.replace("BOOTX64", "OTHER"): data for name, data in make()[0].items()}
    problems, wanted = secure_boot.chain(files, modules=MODULES)
    assert problems == ["the ESP has none of EFI/BOOT/BOOTX64.EFI, EFI/BOOT/BOOTAA64.EFI"]
    assert wanted == []
