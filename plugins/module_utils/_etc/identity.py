# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What a machine makes for itself: in an image, every clone would have the same. Pure.

What the build takes out of a root and what the audit looks for are the same table.
"""

from __future__ import annotations

import re

# Patterns of glob(7), with wildcards in the last part only. Each is made anew by its program, or is harmless to lose.
SHARED_BY_CLONES = (
    "/etc/ssh/ssh_host_*",
    "/etc/udev/rules.d/70-persistent-net.rules",
    "/var/lib/NetworkManager/*.lease",
    "/var/lib/NetworkManager/secret_key",
    "/var/lib/cloud/data/*",
    "/var/lib/cloud/instance",
    "/var/lib/cloud/instances/*",
    "/var/lib/dhcp/*.lease*",
    "/var/lib/dhcpcd/*.lease*",
    "/var/lib/dhcpcd/duid",
    "/var/lib/systemd/credential.secret",
    "/var/lib/systemd/random-seed",
    "/var/lib/urandom/random-seed",
)
# Emptied or removed, and never one machine's (machine-id(5)).
MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
# A hash of crypt(5): $id$, parameters and salt, then as many characters as any of them has.
CRYPT = re.compile(r"\$[0-9a-z]+(\$[!-#%-9;-~]*)+\$[./0-9A-Za-z]{13,}")

__all__ = ("CRYPT", "MACHINE_IDS", "SHARED_BY_CLONES")
