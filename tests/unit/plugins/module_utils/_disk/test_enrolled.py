# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the disk of an enrolled machine has, and what a host made of it."""

from __future__ import annotations

import efi
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import enrolled
from ansible_collections.sealedroot.image.plugins.module_utils._firmware import pcrs
from ansible_collections.sealedroot.image.plugins.module_utils._grub import pe
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

CORE = efi.program(b"No key opens the disk. Restarting.")


def test_registers_are_those_of_a_start_from_the_disk() -> None:
    program = pe.parse(CORE)
    assert program
    assert enrolled.expected(CORE) == {
        4: pcrs.boot_loader(program.digests[0]),
        7: pcrs.without_secure_boot(),
        8: "00" * 32,
        9: "00" * 32,
    }


def test_what_is_no_program_starts_nothing() -> None:
    with pytest.raises(
        SealedRootError, match=r"BOOTX64\.EFI on the EFI system partition is no EFI"
    ):
        enrolled.expected(b"no program")


def test_a_changed_core_image_has_another_hash() -> None:
    other = enrolled.changed(CORE)
    assert len(other) == len(CORE)
    assert enrolled.expected(other)[4] != enrolled.expected(CORE)[4]
    with pytest.raises(SealedRootError, match="is not this collection's"):
        enrolled.changed(efi.program())
