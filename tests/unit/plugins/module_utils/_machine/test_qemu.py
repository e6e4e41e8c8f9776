# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""QEMU's arguments and the firmware table."""

from __future__ import annotations

import os
import pathlib

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._machine import qemu
from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

X86, ARM = architectures.X86_64, architectures.AARCH64


def argv(arch: architectures.Architecture = X86, **args: object) -> list[str]:
    given: dict[str, object] = {
        "accelerator": "tcg",
        "cpus": 1,
        "memory": 512,
        "code": "/fw/code",
        "variables": "/fw/vars",
        **args,
    }
    return qemu.argv("qemu", arch, **given)  # type: ignore[arg-type]


def test_a_machine_without_a_disk() -> None:
    assert argv() == [
        "qemu",
        *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"),
        *("-machine", "q35", "-accel", "tcg,thread=multi"),
        *("-cpu", X86.tcg_cpu, "-smp", "1", "-m", "512", "-nic", "none", "-serial", "stdio"),
        *("-drive", "if=pflash,unit=0,format=raw,readonly=on,file=/fw/code"),
        *("-drive", "if=pflash,unit=1,format=raw,readonly=off,file=/fw/vars"),
    ]


def test_another_architecture_has_a_machine_and_a_processor_of_its_own() -> None:
    command = argv(ARM)
    assert command[command.index("-machine") + 1] == "virt,gic-version=max"
    assert command[command.index("-cpu") + 1] == ARM.tcg_cpu != X86.tcg_cpu
    assert len(command) == len(argv())


@pytest.mark.parametrize(
    ("arch", "name", "size", "expected"),
    [
        (X86, "code.fd", 5000, 5000),
        (ARM, "code.fd", 5000, 64 << 20),
        (ARM, "code.fd", 65 << 20, 65 << 20),
        (ARM, "code.qcow2", 5000, 5000),
    ],
)
def test_firmware_is_as_large_as_the_machine_wants_it(
    arch: architectures.Architecture,
    name: str,
    size: int,
    expected: int,
    tmp_path: pathlib.Path,
) -> None:
    source, target = tmp_path / name, tmp_path / "copy"
    source.write_bytes(b"x" * 4000 + bytes(size - 4000))
    qemu.flash(arch, str(source), str(target))
    copied = target.read_bytes()
    assert copied == source.read_bytes() + bytes(expected - size)
    assert target.stat().st_blocks * 512 < 1 << 20


def test_the_image_is_never_written() -> None:
    command = argv(disk="/a,b.qcow2", disk_format="qcow2", accelerator="kvm", cpus=2)
    drive = command[command.index("if=none,id=disk,snapshot=on,format=qcow2,file=/a,,b.qcow2") :]
    assert drive[1:] == ["-device", "virtio-blk-pci,drive=disk,bootindex=0"]
    assert command[command.index("-accel") + 1] == "kvm"
    assert command[command.index("-cpu") + 1] == "host"


@pytest.mark.parametrize("interface", list(qemu.DISKS))
def test_disk_interfaces(interface: str) -> None:
    assert "drive=disk" in argv(disk="/d", disk_interface=interface)[-1]


def test_a_firmware_in_qcow2() -> None:
    assert "if=pflash,unit=0,format=qcow2,readonly=on,file=/f.qcow2" in argv(code="/f.qcow2")


def test_the_first_complete_pair_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    code, variables = X86.firmware[3]
    there = {X86.firmware[0][0], code, variables}
    monkeypatch.setattr(os.path, "isfile", lambda path: path in there)
    found = qemu.find_firmware(X86)
    assert (found.code, found.variables) == (code, variables)


def test_secure_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    command = argv(secure_boot=True)
    assert command[command.index("smm=on") - 1] == "-machine"
    assert command[command.index("driver=cfi.pflash01,property=secure,value=on") - 1] == "-global"
    there = {*X86.firmware[0], *X86.secure_boot_firmware[1]}
    monkeypatch.setattr(os.path, "isfile", lambda path: path in there)
    found = qemu.find_firmware(X86, secure_boot=True)
    assert (found.code, found.variables) == X86.secure_boot_firmware[1]
    monkeypatch.setattr(os.path, "isfile", lambda path: path in X86.firmware[0])
    with pytest.raises(
        SealedRootError, match=r"with Secure Boot and Microsoft's keys in .*secboot"
    ):
        qemu.find_firmware(X86, secure_boot=True)


def test_no_firmware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isfile", lambda _path: False)
    with pytest.raises(SealedRootError, match="install ovmf"):
        qemu.find_firmware(X86)
    with pytest.raises(SealedRootError, match="no UEFI firmware in /mine"):
        qemu.find_firmware(X86, code="/mine", variables="/vars")
