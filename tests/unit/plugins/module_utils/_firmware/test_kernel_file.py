# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whoever reads a core image of GRUB refuses one that is larger than what a firmware gets."""

from __future__ import annotations

import pathlib
import typing as t

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._audit import given
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import kernel_file
from ansible_collections.sealedroot.image.plugins.module_utils._grub import install
from ansible_collections.sealedroot.image.plugins.module_utils._machine import launch
from ansible_collections.sealedroot.image.plugins.module_utils._system import nofollow
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)
from ansible_collections.sealedroot.image.plugins.modules import launch_files, launch_measurement


def measure(core: str) -> object:
    others = {"types": ["sev"], "vcpus": [1], "vcpu_types": [], "guest_features": 1}
    return launch_measurement.measured({"firmware": __file__, "kernel": core, **others})


# What else they read is no such file, or is not there.
READERS: dict[str, t.Callable[[str], object]] = {
    "whoever gives it": kernel_file.read,
    "without symbolic links": lambda it: kernel_file.read(it, how=nofollow.read_file),
    "where GRUB is made": install.core_of,
    "where a build takes it": lambda it: launch_files.ensure(
        {"core": it, "firmware": "", "dest": ""}, check_mode=False
    ),
    "where it is measured": measure,
    "in an audit": lambda it: given.launched({"unlock": ["launch_secret"], "launch": {"core": it}}),
    "in a boot test": lambda it: launch.read({"core": it}),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_what_a_firmware_does_not_take(
    tmp_path: pathlib.Path, read: t.Callable[[str], object]
) -> None:
    core = tmp_path / "core.efi"
    with core.open("wb") as file:
        file.truncate(kernel_file.LARGEST + 1)
    says = r"core\.efi is larger than 64 MiB, and a guest's firmware has three copies of it in mem"
    with pytest.raises(SealedRootError, match=says):
        read(str(core))


def test_the_largest(tmp_path: pathlib.Path) -> None:
    core = tmp_path / "core.efi"
    with core.open("wb") as file:
        file.truncate(kernel_file.LARGEST)
    assert len(kernel_file.read(str(core))) == kernel_file.LARGEST
