# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils import _grub
from ansible_collections.sealedroot.image.plugins.module_utils._command import SealedRootError

UUID = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
PLAIN = UUID.replace("-", "")
ROOT = "0f0d9ab5-2f3c-5b5e-8a0e-6b8f2f4b7f10"
EVERYTHING = {*_grub.REQUIRED, *_grub.WANTED, "luks", "luks2", "gcry_sha256", "gcry_sha512", "ext2"}


def test_the_early_configuration_has_no_dashes_and_no_key():
    text = _grub.early_config(luks_uuid=UUID, directory="/boot/grub2")
    assert UUID not in text
    lines = text.splitlines()
    assert lines[0] == f"cryptomount -u {PLAIN}"
    assert lines[-1] == f"set prefix=(cryptouuid/{PLAIN})/boot/grub2"
    assert "-p" not in text.replace("prefix", "").split()


def test_the_stub_asks_and_goes_on_in_the_disk():
    stub = _grub.stub(luks_uuid=UUID, directory="/boot/grub")
    first, *middle, last = stub.splitlines()
    assert first == 'if [ "$lockdown" = y ]; then echo "Secure Boot is enabled."; fi'
    assert "\n".join([*middle, ""]) == _grub.early_config(luks_uuid=UUID, directory="/boot/grub")
    assert last == "configfile $prefix/grub.cfg"


def test_a_wrong_key_may_be_typed_again():
    text = _grub.early_config(luks_uuid=UUID, directory="/boot/grub")
    assert text.count("cryptomount") == _grub.TRIES == 3


@pytest.mark.parametrize(
    ("luks_type", "hash_name", "module"),
    [("luks1", "sha256", "luks"), ("luks2", "sha512", "luks2")],
)
def test_modules_follow_the_header(luks_type, hash_name, module):
    names = _grub.modules(EVERYTHING, luks_type=luks_type, hash_name=hash_name, filesystem="ext4")
    assert {module, f"gcry_{hash_name}", "ext2", "cryptodisk", "gcry_rijndael"} <= set(names)
    assert len(names) == len(set(names))


def test_a_grub_without_the_hash_is_refused():
    with pytest.raises(SealedRootError, match="no gcry_sha512"):
        _grub.modules(
            EVERYTHING - {"gcry_sha512"}, luks_type="luks1", hash_name="sha512", filesystem="ext4"
        )


def test_optional_modules_may_be_missing():
    names = _grub.modules(
        EVERYTHING - {"efi_gop"}, luks_type="luks1", hash_name="sha256", filesystem="ext4"
    )
    assert "efi_gop" not in names


def test_an_unknown_file_system_is_refused():
    with pytest.raises(SealedRootError, match="zfs"):
        _grub.modules(EVERYTHING, luks_type="luks1", hash_name="sha256", filesystem="zfs")


def config(options: str) -> str:
    return f"menuentry x {{\n\tlinux\t/boot/vmlinuz-6 {options}\n}}\n"


def check(text: str) -> list[str]:
    return _grub.check_config(text, root_uuid=ROOT, words=["console=ttyS0"])


def test_a_good_configuration():
    assert check(config(f"root=UUID={ROOT} ro console=ttyS0")) == []


def test_the_same_root_twice_boots():
    assert check(config(f"root=UUID={ROOT} root=UUID={ROOT} console=ttyS0")) == []


def test_a_memory_test_has_no_root():
    memtest = "menuentry m {\n\tlinux\t/boot/memtest86+x64.efi\n}\n"
    assert check(config(f"root=UUID={ROOT} console=ttyS0") + memtest) == []
    assert check(memtest) == ["it boots no kernel"]


def test_a_recovery_entry_needs_no_console():
    assert check(config(f"root=UUID={ROOT} ro single")) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "boots no kernel"),
        (config("root=/dev/loop0 console=ttyS0"), "instead of root=UUID"),
        (config("ro console=ttyS0"), "no root="),
        # The kernel and the initramfs take the last one.
        (config(f"root=UUID={ROOT} ro console=ttyS0 root=/dev/sda1"), "instead of root=UUID"),
        (config(f"root=UUID={ROOT} ro"), "does not get console=ttyS0"),
        (
            config(f"root=UUID={ROOT} console=ttyS0") + "# /dev/mapper/sealedroot-x",
            "of the builder",
        ),
        (config(f"root=UUID={ROOT} console=ttyS0") + "# /var/tmp/x", "of the builder"),
    ],
)
def test_what_would_not_boot_is_said(text, words):
    assert any(words in problem for problem in check(text))
