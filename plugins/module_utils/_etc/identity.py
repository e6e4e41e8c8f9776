# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What identifies one machine, so that clones of an image must not share it. Pure.

The build removes what this table lists, and the audit looks for the same.
"""

from __future__ import annotations

import re

# Patterns of glob(7), with wildcards in the last component only. Programs create these again, or can do without them.
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
    # docs/facts.md: zypp-id.
    "/var/lib/zypp/AnonymousUniqueId",
)
# Always emptied or removed in an image (machine-id(5)).
MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
# A hash of crypt(5): $id$, parameters and salt, then a digest of at least 13 characters.
CRYPT = re.compile(r"\$[0-9a-z]+(\$[!-#%-9;-~]*)+\$[./0-9A-Za-z]{13,}")

__all__ = ("CRYPT", "MACHINE_IDS", "SHARED_BY_CLONES")
