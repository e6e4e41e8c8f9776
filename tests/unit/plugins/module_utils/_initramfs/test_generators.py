# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which generator the updates of a root run, from the files that packages bring."""

from __future__ import annotations

import pytest
from ansible_collections.sealedroot.image.plugins.module_utils._initramfs import generators

INITRAMFS_TOOLS = {"usr/sbin/update-initramfs", "usr/sbin/mkinitramfs"}
INITRAMFS_TOOLS_HOOK = "etc/kernel/postinst.d/initramfs-tools"
DRACUT_HOOK = "etc/kernel/postinst.d/dracut"


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (set(), ""),
        ({"usr/bin/dracut"}, "dracut"),
        ({"usr/bin/mkinitcpio"}, "mkinitcpio"),
        (INITRAMFS_TOOLS | {INITRAMFS_TOOLS_HOOK}, "initramfs_tools"),
        # dracut-core beside initramfs-tools
        (INITRAMFS_TOOLS | {INITRAMFS_TOOLS_HOOK, "usr/bin/dracut"}, "initramfs_tools"),
        # dracut took its place, and its configuration was not purged
        ({INITRAMFS_TOOLS_HOOK, DRACUT_HOOK, "usr/bin/dracut"}, "dracut"),
        # dracut 112 of Debian
        ({DRACUT_HOOK, "usr/bin/dracut", "usr/sbin/update-initramfs"}, "dracut"),
        (
            INITRAMFS_TOOLS | {"usr/share/kernel/postinst.d/dracut", "usr/sbin/dracut"},
            "dracut",
        ),
        ({DRACUT_HOOK}, ""),
    ],
)
def test_the_active_generator(names: set[str], found: str) -> None:
    assert generators.active(names.__contains__) == found
