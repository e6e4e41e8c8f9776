# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""builder_info with another builder's tools and packages."""

from __future__ import annotations

import hashlib
import pathlib
import struct
import typing as t

import firmware
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import launch_digest
from ansible_collections.sealedroot.image.plugins.module_utils._luks import backend
from ansible_collections.sealedroot.image.plugins.module_utils._machine import emulation, qemu
from ansible_collections.sealedroot.image.plugins.module_utils._system import (
    architectures as system_architectures,
    tools as system_tools,
)
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    MissingToolError,
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.modules import builder_info

Look = t.Callable[..., t.Any]


class Builder:
    """A machine that has some tools and is of some family."""

    def __init__(self) -> None:
        self.tools: set[str] = set()
        self.family = "debian"
        self.backend_error = ""
        self.emulates = True

    def find(self, *names: str) -> str:
        for name in names:
            if name in self.tools:
                return f"/bin/{name}"
        raise MissingToolError(names[0])

    def choose(self, _runner: t.Any, _wanted: str) -> tuple[t.Any, str]:
        if self.backend_error:
            raise SealedRootError(self.backend_error)
        return backend.Userspace(), "userspace works here"

    def find_firmware(self, _architecture: t.Any, **_more: t.Any) -> t.NoReturn:
        raise SealedRootError("none")


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch) -> Builder:
    it = Builder()
    monkeypatch.setattr(backend, "choose", it.choose)
    monkeypatch.setattr(emulation, "runs", lambda _runner, _arch: it.emulates)
    monkeypatch.setattr(system_tools, "builder_family", lambda _release: it.family)
    monkeypatch.setattr(qemu, "find_firmware", it.find_firmware)
    monkeypatch.setattr(builder_info, "ModuleRunner", lambda _module: it)
    monkeypatch.setattr(builder_info.os, "geteuid", lambda: 0)
    return it


@pytest.fixture
def look(builder: Builder, tmp_path: pathlib.Path, run_module: t.Any) -> Look:
    def run(**args: t.Any) -> t.Any:
        places = {"work_dir": str(tmp_path / "w"), "output_dir": str(tmp_path / "o")}
        outcome = run_module("builder_info", **{**places, **args})
        assert not outcome.failed, outcome["msg"]
        return outcome

    return run


def test_planning_needs_no_root(look, builder, monkeypatch) -> None:
    monkeypatch.setattr(builder_info.os, "geteuid", lambda: 1000)
    builder.backend_error = "only root may"
    outcome = look(_check=True)
    assert outcome["problems"] == []
    assert (outcome["backend"], outcome["backend_reason"]) == (
        "",
        "not looked at: that needs root",
    )
    found = look(tools=["cryptsetup"])
    # Alone, and before the package manager would fail.
    assert found["problems"] == [builder_info.ROOTLESS]
    assert found["missing_packages"] == []


def test_a_crash_that_would_start_a_program_of_the_builder(look, monkeypatch) -> None:
    monkeypatch.setattr(builder_info.limits, "core_limit_here", lambda: -1)
    assert look()["problems"] == [f"{builder_info.limits.CORE_PROBLEM}."]
    monkeypatch.setattr(builder_info.os, "geteuid", lambda: 1000)
    assert look(_check=True)["problems"] == []


def test_versions_are_first_lines_wherever_the_tool_prints_them(script, runner) -> None:
    script.expect(["/sbin/mkfs.ext4", "-V"], stderr="mke2fs 1.47.0\n\tUsing EXT2FS\n")
    script.expect(["/bin/qemu-img", "--version"], stdout="qemu-img version 7.2\nCopyright\n")
    tools = {"qemu-img": "/bin/qemu-img", "mkfs.ext4": "/sbin/mkfs.ext4", "mcopy": "/bin/mcopy"}
    assert builder_info.versions(runner, {**tools, "sfdisk": ""}) == {
        "mkfs.ext4": "mke2fs 1.47.0",
        "qemu-img": "qemu-img version 7.2",
    }


TOOLS = ["sfdisk", "grub-fstest|grub2-fstest", "qemu-storage-daemon"]


@pytest.mark.parametrize(
    ("family", "packages"),
    [
        ("debian", ["fdisk", "grub-common", "ovmf", "qemu-system-common"]),
        ("fedora", ["edk2-ovmf", "grub2-tools-extra", "qemu-img", "util-linux"]),
        ("suse", ["grub2", "qemu-img", "qemu-ovmf-x86_64", "util-linux"]),
        ("arch", ["edk2-ovmf", "grub", "qemu-storage-daemon", "util-linux"]),
    ],
)
def test_packages(family: str, packages: list[str], builder: Builder, look: Look) -> None:
    builder.family = family
    outcome = look(tools=TOOLS, firmware=True)
    assert outcome["missing_tools"] == ["sfdisk", "grub-fstest", "qemu-storage-daemon"]
    assert outcome["missing_packages"] == packages
    assert outcome["problems"] == []
    assert outcome["backend"] == ""
    assert outcome["firmware"] == {}


def test_an_unknown_family(builder: Builder, look: Look) -> None:
    builder.family = ""
    builder.tools = {"grub2-fstest", "qemu-storage-daemon"}
    outcome = look(tools=TOOLS, firmware=True)
    assert outcome["tools"]["grub-fstest"] == "/bin/grub2-fstest"
    assert outcome["missing_packages"] == []
    assert outcome["problems"] == [
        "The builder lacks sfdisk, a UEFI firmware for virtual machines of x86_64: install what brings it."
    ]


def test_a_file_system_that_the_kernel_knows(runner: t.Any) -> None:
    known = pathlib.Path("/proc/filesystems").read_text().split()[-1]
    assert builder_info.mounts(runner, known)


@pytest.mark.parametrize(("found", "problems"), [(0, 0), (1, 1)])
def test_a_file_system_in_a_module(script: t.Any, runner: t.Any, found: int, problems: int) -> None:
    script.expect(["modprobe", "--dry-run", "--quiet", "fs-nosuchfs"], rc=found)
    assert builder_info.mounts(runner, "nosuchfs") is not bool(problems)


def test_a_file_system_that_the_kernel_cannot_mount(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder_info, "mounts", lambda _runner, name: name != "xfs")
    assert look(filesystem="xfs")["problems"] == [
        "The builder's kernel cannot mount xfs and has no module for it: choose another"
        " image_filesystem, or another builder."
    ]


def test_the_architecture_decides_on_firmware_and_emulation(builder: Builder, look: Look) -> None:
    builder.emulates = False
    outcome = look(architecture="aarch64", firmware=True)
    assert outcome["missing_packages"] == ["qemu-efi-aarch64", "qemu-user-static"]
    assert outcome["problems"] == []
    builder.family = ""
    assert look(architecture="aarch64", firmware=True)["problems"] == [
        "The builder lacks a UEFI firmware for virtual machines of aarch64, QEMU's user mode emulation of"
        " aarch64: install what brings it."
    ]


def test_an_emulation_that_the_kernel_does_not_use(builder: Builder, look: Look) -> None:
    builder.emulates = False
    builder.tools = {"qemu-aarch64-static"}
    outcome = look(architecture="aarch64")
    assert outcome["missing_packages"] == []
    (problem,) = outcome["problems"]
    assert (
        "starts no program of aarch64 in another root, though /bin/qemu-aarch64-static" in problem
    )
    assert "update-binfmts --enable qemu-aarch64" in problem
    builder.emulates = True
    assert look(architecture="aarch64")["problems"] == []


def test_the_backend(builder: Builder, look: Look) -> None:
    outcome = look()
    assert outcome["backend"] == "userspace"
    assert outcome["backend_reason"] == "userspace works here"
    builder.backend_error = "no FUSE"
    outcome = look()
    assert outcome["backend"] == ""
    assert outcome["problems"] == ["No backend opens LUKS here: no FUSE."]


def test_the_places_of_a_build_are_judged(look: Look, tmp_path: pathlib.Path) -> None:
    (problem,) = look(output_dir=str(tmp_path / "build/out"), work_dir=str(tmp_path / "build"))[
        "problems"
    ]
    assert "are one in the other" in problem


def test_a_network_in_the_image_needs_a_tunnel(
    look: Look, builder: Builder, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    builder.tools |= {"slirp4netns"}
    monkeypatch.setattr(builder_info, "TUN", str(tmp_path / "tun"))
    (problem,) = look(tools=["slirp4netns"])["problems"]
    assert "load the kernel's module tun" in problem
    assert look(tools=[])["problems"] == []
    (tmp_path / "tun").touch()
    assert look(tools=["slirp4netns"])["problems"] == []


def test_the_filter_of_the_sandbox_needs_its_library(
    look: Look, builder: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    builder.tools |= {"bwrap"}
    for there, packages in ((True, []), (False, ["libseccomp2"])):
        monkeypatch.setattr(builder_info.seccomp, "is_there", lambda there=there: there)
        assert look(tools=["bwrap"])["missing_packages"] == packages


def test_every_tool_has_a_package_in_every_family() -> None:
    architectures = system_architectures.ARCHITECTURES.values()
    for tool in (
        *("bwrap", "sfdisk", "mcopy", "mkfs.vfat", "qemu-img", "zstd", "xz"),
        *("btrfs", "mkfs.btrfs", "mkfs.xfs", "xfs_db", "xfs_repair"),
        *(f"{need}-{it.machine}" for it in architectures for need in ("emulation", "firmware")),
        *(it.qemu for it in architectures),
    ):
        assert all(system_tools.package(family, tool) for family in system_tools.FAMILIES), tool
    assert system_tools.package("arch", "mmdebstrap") == ""
    assert system_tools.package("", "tar") == ""
    assert system_tools.package("debian", "no-such-tool") == ""


@pytest.mark.parametrize(
    ("release", "family"),
    [
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "debian"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "fedora"),
        ({"ID": "opensuse-leap", "ID_LIKE": "suse opensuse"}, "suse"),
        ({"ID": "manjaro", "ID_LIKE": "arch"}, "arch"),
        ({"ID": "alpine"}, ""),
    ],
)
def test_families(release: dict[str, str], family: str) -> None:
    assert system_tools.builder_family(release) == family


def test_a_firmware_for_launch_secrets(look, builder, tmp_path) -> None:
    path = tmp_path / "x.fd"
    path.write_bytes(firmware.ovmf())
    outcome = look(launch_firmware=str(path))
    assert outcome["problems"] == []
    assert outcome["launch_firmware"] == {
        "sha256": hashlib.sha256(firmware.ovmf()).hexdigest(),
        "secret_area": {"base": 0x810000, "size": 0xC00},
    }
    assert look()["launch_firmware"] == {}


SMALL = struct.pack("<II", 0x810000, 0x50)
ODD = struct.pack("<II", 0x810004, 0xB00)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (None, "image_firmware cannot be used: "),
        (
            b"text",
            "is no firmware, because its 4 bytes are no whole pages: give the firmware for SEV",
        ),
        (bytes(4096), "has no table at its end, so it is no OVMF firmware, or only its variables"),
        (firmware.ovmf({firmware.SECRET: None}), "has no place for a launch secret: give the"),
        (
            firmware.ovmf({firmware.SECRET: SMALL}),
            "has 80 bytes for a launch secret, which are too",
        ),
        (firmware.ovmf({firmware.SECRET: ODD}), "has its area for a launch secret at no multiple"),
        (firmware.ovmf({firmware.HASHES: None}), "has no place for the hashes of a kernel"),
        (firmware.ovmf(code=b""), "has a table for SEV, but no code that compares the kernel with"),
        (
            firmware.ovmf(front=b""),
            "has no DXE volume with the driver that loads a kernel of QEMU's",
        ),
    ],
)
def test_a_firmware_that_cannot_be_used(look, tmp_path, data, says) -> None:
    if data is not None:
        (tmp_path / "x.fd").write_bytes(data)
    outcome = look(launch_firmware=f"{tmp_path}/x.fd")
    (problem,) = outcome["problems"]
    assert problem.startswith("image_firmware cannot be used: ")
    assert says in problem
    assert outcome["launch_firmware"] == {}


def test_launch_digests_need_a_library(look, tmp_path, monkeypatch) -> None:
    (tmp_path / "x.fd").write_bytes(firmware.ovmf())
    monkeypatch.setattr(launch_digest, "IS_INSTALLED", False)
    (problem,) = look(launch_firmware=f"{tmp_path}/x.fd")["problems"]
    assert "The builder's Python has no sev-snp-measure, which computes launch digests" in problem
