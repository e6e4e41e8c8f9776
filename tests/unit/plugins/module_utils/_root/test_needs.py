# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a root lacks for an encrypted boot."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule
from ansible_collections.sealedroot.image.plugins.module_utils._root import contents, needs, tar
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures,
    filesystems,
)


def member(name: str, kind: str = "-") -> tar.Member:
    return tar.Member(kind, name, 1, 512, name)


(DEBIAN,) = LookupModule().run(["debian"])


def missing(
    has: t.Mapping[str, t.Any],
    kernels: list[str],
    machine: str,
    *,
    filesystem: str = "ext4",
    generator: str = "initramfs_tools",
    unsigned: t.Sequence[str] = (),
) -> list[str]:
    return needs.missing_packages(
        has,
        has_kernel=bool(kernels),
        filesystem=filesystem,
        generator=generator,
        packages=DEBIAN["packages"],
        words=architectures.find(machine).words(),
        without=unsigned,
    )


@pytest.mark.parametrize(
    ("filesystem", "program", "package"),
    [
        (it.name, f"usr/sbin/{it.program}", package)
        for it in filesystems.FILESYSTEMS.values()
        for package in it.debian_packages
    ],
)
def test_a_root_has_the_tools_of_its_file_system(
    filesystem: str, program: str, package: str
) -> None:
    nothing = contents.abilities([])
    assert missing(nothing, [], "x86_64", filesystem=filesystem)[-1] == package
    assert package not in missing(nothing, [], "x86_64")
    has = contents.abilities([member(program)])
    assert package not in missing(has, [], "x86_64", filesystem=filesystem)


def test_missing_packages() -> None:
    nothing = contents.abilities([])
    assert missing(nothing, [], "x86_64", generator="") == [
        *("systemd-sysv", "linux-image-amd64", "grub-efi-amd64"),
        *("initramfs-tools", "cryptsetup-initramfs"),
    ]
    has = contents.abilities(
        map(
            member,
            [
                *("usr/bin/grub-mkimage", "usr/sbin/grub-mkconfig", "sbin/update-initramfs"),
                *("sbin/mkinitramfs", "usr/sbin/init"),
                *("sbin/cryptsetup", "usr/share/initramfs-tools/hooks/cryptroot"),
                "usr/lib/grub/i386-pc/normal.mod",
                *(
                    f"usr/lib/grub/i386-pc/{name}.mod"
                    for name in ("luks", "gcry_sha256", "gcry_md5")
                ),
                # Not a platform without the rest of GRUB.
                "usr/lib/grub/x86_64-efi/luks2.mod",
            ],
        )
    )
    assert has["grub_platforms"] == ["i386-pc"]
    assert has["grub_modules"] == {"i386-pc": ["gcry_sha256", "luks"]}
    assert missing(has, ["6"], "x86_64") == ["grub-efi-amd64-bin"]
    assert missing(has, ["6"], "aarch64") == ["grub-efi-arm64-bin"]
    assert missing(has, ["6"], "aarch64", unsigned=["shim", "grub"]) == [
        *("grub-efi-arm64-bin", "shim-signed", "grub-efi-arm64-signed"),
    ]


def test_where_signed_files_are() -> None:
    words = architectures.X86_64.words()
    assert needs.paths(DEBIAN, "grub", words) == [
        "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
    ]
    assert needs.paths(DEBIAN, "shim", words)[0] == "usr/lib/shim/shimx64.efi.signed.latest"
    assert needs.paths({"name": "none"}, "shim", words) == []


def test_missing_packages_of_dracut() -> None:
    grub = ("usr/bin/grub-mkimage", "usr/bin/grub-mkconfig", "usr/lib/grub/x86_64-efi/normal.mod")
    root = [member(name) for name in (*grub, "usr/bin/dracut", "sbin/init")]
    has = contents.abilities(root)
    assert missing(has, ["6"], "x86_64", generator="dracut") == ["cryptsetup", "systemd-cryptsetup"]
    for folder in ("lib", "usr/lib"):
        names = ("sbin/cryptsetup", f"{folder}/systemd/systemd-cryptsetup")
        has = contents.abilities([*root, *map(member, names)])
        assert missing(has, ["6"], "x86_64", generator="dracut") == []


def test_a_need_without_a_name_is_no_package() -> None:
    words = architectures.find("x86_64").words()
    packages = {"kernel": "kernel", "grub": "grub2", "dracut": "dracut", "cryptsetup": "cryptsetup"}
    found = needs.missing_packages(
        contents.abilities([]), has_kernel=True, generator="", packages=packages, words=words
    )
    assert found == ["init", "grub2", "dracut", "cryptsetup"]


def test_a_distribution_of_a_family_may_have_names_of_its_own() -> None:
    debian = needs.packages_of(DEBIAN, {"ID": "debian"})
    ubuntu = needs.packages_of(DEBIAN, {"ID": "ubuntu"})
    assert debian == DEBIAN["packages"]
    assert {name for name in debian if debian[name] != ubuntu[name]} == {"kernel"}
    assert ubuntu["kernel"] == "linux-image-virtual"
    assert needs.packages_of({"packages": {"grub": "grub2"}}, {}) == {"grub": "grub2"}
