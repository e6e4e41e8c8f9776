# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The core image that a confidential guest is started from: each way to be another one is found."""

from __future__ import annotations

import dataclasses
import typing as t

import firmware
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import launch
from ansible_collections.sealedroot.image.plugins.module_utils._audit.reports import Launched
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    kernel_hashes,
    ovmf,
)
from ansible_collections.sealedroot.image.plugins.module_utils._grub import (
    cfg,
    core_image,
    embedded,
    install,
    launch_script,
    own_volume,
    unlock_ways,
)

LUKS = "7b2f8a1c-64b1-4c55-9a5e-0f5a3f3f1e11"
AREA = ovmf.Area(0x810000, 0xC00)
LAUNCHED = Launched(b"core", kernel_hashes.table(b"core"), firmware.ovmf(), AREA, prompt=False)
MODULES = frozenset({*cfg.REQUIRED, "luks", *unlock_ways.LAUNCH_SECRET.modules})


def script(**change: t.Any) -> str:
    what = {"luks_uuid": LUKS, "directory": "/boot/grub", "area": AREA, **change}
    return launch_script.script(**what)


def memdisk(script: str, known: bytes = b"x" * own_volume.BYTES) -> bytes:
    return install.memdisk(script, own_volume.checksum(known))


CORE = core_image.Core(
    embedded.CONFIG,
    cfg.prefix(LUKS, "/boot/grub"),
    MODULES,
    memdisk(script()),
)


def found(
    monkeypatch: pytest.MonkeyPatch,
    core: core_image.Core | None = CORE,
    launched: Launched = LAUNCHED,
    **change: t.Any,
) -> list[str]:
    core = dataclasses.replace(core, **change) if core else None
    monkeypatch.setattr(core_image, "parse", lambda _data: core)
    return launch.core(launched, luks_uuid=LUKS, modules=["luks"])


def test_the_right_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch) == []
    asks = memdisk(script(ask=True))
    assert found(monkeypatch, modules=MODULES | {cfg.ASKS}, memdisk=asks) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"config": "cryptomount -a\n"}, "begins with 'cryptomount -a', not with its memdisk"),
        ({"modules": MODULES - {"memrw"}}, "lacks the GRUB modules memrw"),
        ({"modules": MODULES | {"tpm"}}, "has the GRUB module tpm, which would have the key in"),
        # One that does not erase the secret.
        (
            {"memdisk": memdisk(script().replace("write_dword", "read_dword"))},
            "is not the one that reads the secret of this firmware for this disk",
        ),
        ({"memdisk": memdisk(script(prompt=True))}, "is not the one that reads"),
        ({"memdisk": memdisk(script(ask=True))}, "is not the one that reads"),
        (
            {"memdisk": memdisk(script(area=ovmf.Area(0x800000, 0xC00)))},
            "is not the one that reads",
        ),
        ({"memdisk": install.memdisk(script())}, "is not the one that reads"),
        ({"memdisk": b""}, "is not the one that reads"),
        # Of two files of one name, GRUB takes the first, and Python's tarfile the last.
        (
            {"memdisk": install.memdisk("halt\n")[:1024] + memdisk(script())},
            "is not the one that reads",
        ),
        ({"is_odd": True}, "has parts that no build gives it, such as a second memdisk"),
        ({"prefix": "(hd0,gpt1)/boot/grub"}, "is not the one that reads"),
        ({"prefix": cfg.prefix(LUKS, "/boot/grub2")}, "is not the one that reads"),
    ],
)
def test_another_one(monkeypatch: pytest.MonkeyPatch, change: dict[str, t.Any], says: str) -> None:
    (problem,) = found(monkeypatch, **change)
    assert says in problem


def test_what_is_measured_is_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(LAUNCHED, core=b"other")
    assert found(monkeypatch, launched=other) == [
        "launch/hashes.bin does not have the hash of launch/core.efi: take both from the build"
    ]
    assert found(monkeypatch, None) == ["launch/core.efi is no core image of GRUB"]


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        ({"luks", "cryptodisk", "crypto"}, []),
        (
            {"luks", "cryptodisk", "crypto", "http"},
            ["launch/core.efi has also the GRUB modules http"],
        ),
        ({"luks", "cryptodisk"}, ["launch/core.efi lacks the GRUB modules crypto"]),
    ],
)
def test_modules_are_what_the_root_says(
    monkeypatch: pytest.MonkeyPatch, modules: set[str], says: list[str]
) -> None:
    core = dataclasses.replace(CORE, modules=frozenset(modules))
    monkeypatch.setattr(core_image, "parse", lambda _data: core)
    needs = "luks: cryptodisk crypto\ncryptodisk: crypto\ncrypto:\nhttp: net\n"
    assert launch.surplus(LAUNCHED, ["luks"], needs) == says


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({}, ""),
        (
            {"area": ovmf.Area(0x820000, 0xC00)},
            "launch/firmware.fd has another area for the secret",
        ),
        ({"firmware": b""}, "launch/firmware.fd is no firmware, because its 0 bytes"),
        (
            {
                "firmware": firmware.ovmf(
                    front=firmware.dxe(firmware.driver(firmware.FAT, firmware.FILES))
                )
            },
            "launch/firmware.fd can start programs of the host's disk",
        ),
    ],
    ids=range(4),
)
def test_the_firmware(change: dict[str, t.Any], says: str) -> None:
    problems = launch.firmware(dataclasses.replace(LAUNCHED, **change))
    assert [it.startswith(says) for it in problems] == ([True] if says else [])
