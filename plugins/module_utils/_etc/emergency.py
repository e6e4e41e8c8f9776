# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""Make a failed boot restart the machine, so that nobody at its console gets a shell. Pure.

systemd would start sulogin(8), which asks for root's password, or for none if root has none.
"""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.module_utils._etc import drop_ins
from ansible_collections.sealedroot.image.plugins.module_utils._etc.tree import Tree

# In the root and, if the initramfs uses systemd, in the initramfs as well.
UNITS = tuple(
    f"/etc/systemd/system/{name}.service.d/sealedroot.conf" for name in ("emergency", "rescue")
)
UNIT_TEXT = """\
# Whoever holds the console of this machine is not trusted. GRUB asks for the passphrase after the restart.
[Service]
ExecStartPre=
ExecStart=
ExecStart=-/usr/bin/systemctl --force --force reboot
ExecStopPost=
"""
# Also set on the kernel command line; this file overrides what distributions set (sysctl.d(5)).
SYSCTL = drop_ins.SYSCTL
SYSCTL_TEXT = """\
# A serial console can send the keys of SysRq, which dump memory and kill every process.
kernel.sysrq = 0
"""
FILES: t.Mapping[str, str] = {**dict.fromkeys(UNITS, UNIT_TEXT), SYSCTL: SYSCTL_TEXT}


def plan(tree: Tree, *, debug_console: bool) -> None:
    """Plan the files that make a failed boot restart the machine; with *debug_console*, plan to remove them."""
    for path, text in FILES.items():
        if debug_console:
            tree.remove(path)
        else:
            tree.write(path, text, mode=0o644)


__all__ = ("FILES", "UNITS", "plan")
