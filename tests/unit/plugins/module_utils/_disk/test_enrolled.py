# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the disk of an enrolled machine has, and what a host made of it."""

from __future__ import annotations

import efi
import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._disk import enrolled
from ansible_collections.sealedroot.image.plugins.module_utils._grub import tpm_program
from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    SealedRootError,
)

CORE = efi.program(b"No key opens the disk. Restarting.")


def test_a_changed_core_image_has_another_hash() -> None:
    other = enrolled.changed(CORE)
    assert len(other) == len(CORE)
    assert tpm_program.registers(other)[4] != tpm_program.registers(CORE)[4]
    with pytest.raises(SealedRootError, match="is not this collection's"):
        enrolled.changed(efi.program())
