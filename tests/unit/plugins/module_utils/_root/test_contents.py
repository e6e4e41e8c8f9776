# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a tar's listing says."""

from __future__ import annotations

import struct
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.lookup.families import LookupModule
from ansible_collections.sealedroot.image.plugins.module_utils._root import contents, needs
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

(DEBIAN,) = LookupModule().run(["debian"])
# GNU tar 1.34, --sparse --format=posix.
LISTING = """\
block 2: drwxr-xr-x 0/0               0 2026-11-24 01:41 ./a/
block 5: drwxr-xr-x 0/0               0 2026-11-24 01:41 ./a/b/
block 8: -rw-r--r-- 0/0            5000 2026-11-24 01:41 a/n
block 21: -rw-r--r-- 0/0     10737418242 2026-11-24 01:41 ./a/sp
block 26: hrw-r--r-- 0/0               0 2026-11-24 01:41 ./a/hl link to ./a/sp
block 29: prw-r--r-- 0/0               0 2026-11-24 01:41 ./a/f
block 32: crw-r--r-- 0/0             1,3 2026-11-24 01:41 ./a/n
block 35: lrwxrwxrwx 0/0               0 2026-11-24 01:41 ./a/l -> x -> y
block 38: -rwsr-xr-T+ 4294967294/65534    1 1901-12-13 20:45 /./a/new\\nline
block 40: ** Block of NULs **
"""


def test_parse() -> None:
    members = contents.parse_listing(LISTING)
    assert [(m.type, m.name, m.size, m.stored) for m in members] == [
        ("d", "a", 0, 1024),
        ("d", "a/b", 0, 1024),
        ("-", "a/n", 5000, 6144),
        ("-", "a/sp", 10737418242, 2048),
        ("h", "a/hl", 0, 1024),
        ("p", "a/f", 0, 1024),
        ("c", "a/n", 0, 1024),
        ("l", "a/l", 0, 1024),
        ("-", "a/new\\nline", 1, 512),
    ]
    assert members[3].raw == "./a/sp"
    assert (members[4].raw, members[4].target) == ("./a/hl", "./a/sp")
    assert members[8].mode == "rwsr-xr-T"
    # Two directories and the root, 5000 bytes, 2048 stored ones, 1 byte; 8 inodes.
    assert contents.unpacked_bytes(members) == (3 + 2 + 1 + 1) * 4096 + 8 * 256


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "truncated"),
        (LISTING.replace("Block of NULs", "End of File"), "truncated"),
        ("block 0: ** End of File **\n", "truncated"),
        ("nonsense\n", "not understood: nonsense"),
    ],
)
def test_parse_refuses(text: str, message: str) -> None:
    with pytest.raises(SealedRootError, match=message):
        contents.parse_listing(text)


def test_an_empty_tar_has_no_members() -> None:
    assert contents.parse_listing("block 0: ** Block of NULs **\n") == []


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x1f\x8b\x08", "gzip"),
        (b"\xfd7zXZ\x00", "xz"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"BZh9", "bzip2"),
        (b"usr/", "none"),
        (b"", "none"),
    ],
)
def test_compression(head: bytes, name: str) -> None:
    assert contents.compression(head) == name


def test_machine() -> None:
    def elf(machine: int, order: str = "<") -> bytes:
        data = 1 if order == "<" else 2
        return b"\x7fELF\x02" + bytes([data]) + bytes(10) + struct.pack(f"{order}HH", 2, machine)

    assert contents.machine(elf(0x3E)) == "x86_64"
    assert contents.machine(elf(0xB7)) == "aarch64"
    assert contents.machine(elf(0x16, ">")) == "s390x"
    assert contents.machine(elf(0x999)) == "ELF machine 2457"
    assert contents.machine(b"#!/bin/sh\n" * 3) == ""
    assert contents.machine(b"\x7fELF") == ""


def test_os_release_and_family() -> None:
    text = '# x\nID=linuxmint\nID_LIKE="ubuntu debian"\nNAME=\'A "b"\'\nEMPTY=\nVERSION_ID=12\n'
    fields = contents.parse_os_release(text)
    assert fields == {
        "ID": "linuxmint",
        "ID_LIKE": "ubuntu debian",
        "NAME": 'A "b"',
        "EMPTY": "",
        "VERSION_ID": "12",
    }
    assert contents.family(fields, [DEBIAN]) == DEBIAN
    assert contents.family({"ID": "fedora"}, [DEBIAN]) == {}
    assert contents.family({}, [DEBIAN]) == {}


def test_the_nearest_family_counts() -> None:
    other = {"name": "other", "ids": ["mint"]}
    fields = {"ID": "remix", "ID_LIKE": "mint debian"}
    assert contents.family(fields, [DEBIAN, other]) == other


def member(name: str, kind: str = "-") -> contents.Member:
    return contents.Member(kind, name, 1, 512, name)


def test_a_kernel_needs_its_modules() -> None:
    names = ["boot/vmlinuz-1", "boot/vmlinuz-2", "lib/modules/2/x", "usr/lib/modules/3", "boot/3"]
    assert contents.kernels(map(member, names)) == ["2"]


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
        kernels,
        filesystem=filesystem,
        generator=generator,
        packages=DEBIAN["packages"],
        words=architectures.find(machine).words(),
        without=unsigned,
    )


@pytest.mark.parametrize(
    ("filesystem", "program", "package"),
    [("xfs", "sbin/xfs_repair", "xfsprogs"), ("btrfs", "usr/bin/btrfs", "btrfs-progs")],
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
        contents.abilities([]), ["6"], generator="", packages=packages, words=words
    )
    assert found == ["init", "grub2", "dracut", "cryptsetup"]


def test_a_distribution_of_a_family_may_have_names_of_its_own() -> None:
    debian = needs.packages_of(DEBIAN, {"ID": "debian"})
    ubuntu = needs.packages_of(DEBIAN, {"ID": "ubuntu"})
    assert debian == DEBIAN["packages"]
    assert {name for name in debian if debian[name] != ubuntu[name]} == {"kernel"}
    assert ubuntu["kernel"] == "linux-image-virtual"
    assert needs.packages_of({"packages": {"grub": "grub2"}}, {}) == {"grub": "grub2"}


POLICY = ("etc/selinux/default/policy/policy.33", "etc/selinux/default/policy/policy.9")
CONTEXTS = "etc/selinux/default/contexts/files/file_contexts"
ENFORCING = "SELINUX=enforcing\nSELINUXTYPE=default\n"


def test_the_selinux_policy_that_counts() -> None:
    found = needs.selinux(map(member, [*POLICY, CONTEXTS, "usr/sbin/setfiles"]), ENFORCING)
    assert found == {
        "mode": "enforcing",
        "type": "default",
        "policy": "etc/selinux/default/policy/policy.33",
        "setfiles": True,
    }


def test_roots_without_an_selinux_policy() -> None:
    nothing = {"mode": "", "type": "targeted", "policy": "", "setfiles": False}
    assert needs.selinux([], "") == nothing
    for names, text in (
        ([*POLICY], ENFORCING),  # no labels
        ([CONTEXTS], ENFORCING),  # no policy
        ([*POLICY, CONTEXTS], ENFORCING.replace("default", "mls")),  # another one counts
        ([name.replace("default", "targeted") for name in (*POLICY, CONTEXTS)], ""),  # none counts
    ):
        assert needs.selinux(map(member, names), text)["policy"] == ""


def test_pick_takes_files_with_content_in_the_order_of_the_names() -> None:
    members = [
        member("bin/bash"),
        member("usr/bin/dash", "l"),
        contents.Member("-", "bin/dash", 0, 0, "bin/dash"),
    ]
    picked = contents.pick(members, ["usr/bin/dash", "bin/dash", "bin/bash"])
    assert picked == members[0]
    assert contents.pick(members, ["x"]) is None


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ("a b", "a b"),
        (r"new\nline\t", "new\nline\t"),
        (r"back\\slash", "back\\slash"),
        (r"sw\303\244p", "swäp"),
        (r"latin\351", "latin\udce9"),
        ("swäp\\\\", "swäp\\"),
    ],
    ids=["plain", "letters", "backslash", "utf-8", "latin-1", "not-escaped"],
)
def test_names_without_the_escapes_of_a_listing(listed: str, name: str) -> None:
    assert contents.plain(listed) == name
