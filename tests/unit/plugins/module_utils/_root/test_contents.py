# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a tar's listing says."""

from __future__ import annotations

import struct

from ansible_collections.sealedroot.image.plugins.module_utils._root import contents, needs, tar


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


def member(name: str, kind: str = "-") -> tar.Member:
    return tar.Member(kind, name, 1, 512, name)


def test_a_kernel_needs_its_modules() -> None:
    names = ["boot/vmlinuz-1", "boot/vmlinuz-2", "lib/modules/2/x", "usr/lib/modules/3", "boot/3"]
    assert contents.kernels(map(member, names)) == ["2"]
    # One that GRUB does not offer, and one that "make install" replaced.
    names = ["boot/vmlinuz-4.dpkg-new", "boot/vmlinuz-5.old", "lib/modules/4/x", "lib/modules/5/x"]
    assert contents.kernels(map(member, names)) == ["5"]


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


def test_a_platform_of_grub_has_a_plain_name() -> None:
    found = contents.abilities(
        member(f"usr/lib/grub/{name}/normal.mod") for name in ("x86_64-efi", "i386 (old)", "é")
    )
    assert found["grub_platforms"] == list(found["grub_modules"]) == ["x86_64-efi"]
