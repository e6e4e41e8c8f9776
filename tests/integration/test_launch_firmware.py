# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The firmware that a build makes of Debian's: what another reader finds in it, and what a host can do with it."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import subprocess
import sys
import typing as t

import debian_firmware
import hidden_kernel
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import (
    kernel_hashes,
    ovmf,
    secret_table,
)

Module = t.Callable[..., dict[str, t.Any]]
# As the packages of edk2 call them.
REMOVED = {"Fat", "UdfDxe", "RamDiskDxe", "UiApp", "BootManagerMenuApp", "Grub"}


@pytest.fixture(scope="module")
def given() -> pathlib.Path:
    """The firmware as Debian has it."""
    (path,) = debian_firmware.files(debian_firmware.SEV)
    return path


@pytest.fixture
def files(given: pathlib.Path, tmp_path: pathlib.Path, real_module: Module) -> hidden_kernel.Files:
    """A GRUB and what a build makes for it."""
    core = hidden_kernel.program(tmp_path / "genuine.efi", "cat (hd0)/proof")
    made = real_module(
        "launch_files", core=str(core), firmware=str(given), dest=str(tmp_path / "launch")
    )
    assert set(made["removed"]) == REMOVED
    areas = ovmf.parse(given.read_bytes(), "it")
    secret = tmp_path / "secret"
    secret.write_bytes(secret_table.build(b"A" * 44, areas.secret.size))
    assert pathlib.Path(made["hashes"]).read_bytes() == kernel_hashes.table(core.read_bytes())
    return hidden_kernel.Files(
        firmware=pathlib.Path(made["firmware"]),
        core=pathlib.Path(made["core"]),
        hashes=pathlib.Path(made["hashes"]),
        secret=secret,
        hashes_base=areas.hashes.base,
        secret_base=areas.secret.base,
    )


def names(path: pathlib.Path) -> tuple[list[str], str]:
    """Return the names of all files in a firmware, and its table, as virt-firmware reads them."""
    tool = pathlib.Path(sys.executable).with_name("virt-fw-dump")
    argv = [str(tool), "-i", str(path)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return re.findall(r"type=ui \[ name=(\S+) \]", said), said.partition("resetvector")[2]


def test_what_another_reader_finds(given: pathlib.Path, files: hidden_kernel.Files) -> None:
    """All else is there, in the same order, and nothing that QEMU reads has changed."""
    before, table = names(given)
    after, same = names(files.firmware)
    assert set(before) > REMOVED
    assert after == [it for it in before if it not in REMOVED]
    assert (same, len(table) > 100) == (table, True)
    assert files.firmware.stat().st_size == given.stat().st_size


def test_a_host_that_hides_the_kernel(
    given: pathlib.Path, files: hidden_kernel.Files, tmp_path: pathlib.Path
) -> None:
    """With the firmware as given, its own program runs and has the secret: so this test can fail."""

    def said(name: str, *, firmware: pathlib.Path = files.firmware, **how: t.Any) -> str:
        folder = tmp_path / name
        folder.mkdir()
        return hidden_kernel.console(dataclasses.replace(files, firmware=firmware), folder, **how)

    assert hidden_kernel.READ in said("given", firmware=given)
    # The measured GRUB starts, and reads a disk.
    assert hidden_kernel.BLOCKS in said("plain", hide=False, until=[hidden_kernel.BLOCKS])
    text = said("hidden")
    assert "No bootable option was found" in text
    assert hidden_kernel.HOST not in text
    # Neither kernel nor hashes: the digest is another one. Nothing is started.
    text = said("neither", hide=False, kernel=False, hashes=False)
    assert hidden_kernel.HOST not in text
    # Hashes without a kernel: the firmware stops, as given.
    text = said("no-kernel", hide=False, kernel=False, seconds=10)
    assert hidden_kernel.HOST not in text
