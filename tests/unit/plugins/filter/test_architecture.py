# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names of architectures, as roles see them."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.sealedroot.image.plugins.filter.architecture import FilterModule

ARCHITECTURE = FilterModule().filters()["architecture"]


def test_names() -> None:
    assert ARCHITECTURE("x86_64")["boot_file"] == "EFI/BOOT/BOOTX64.EFI"
    assert ARCHITECTURE("aarch64")["boot_file"] == "EFI/BOOT/BOOTAA64.EFI"
    assert ARCHITECTURE("aarch64")["debian"] == "arm64"
    assert ARCHITECTURE("x86_64")["kernel_cmdline"] == "console=tty0 console=ttyS0,115200"
    assert ARCHITECTURE("aarch64")["kernel_cmdline"] == "console=tty0 console=ttyAMA0,115200"


def test_one_that_is_not_known() -> None:
    with pytest.raises(
        AnsibleFilterError, match="images for s390x cannot be made yet: choose one of"
    ):
        ARCHITECTURE("s390x")
