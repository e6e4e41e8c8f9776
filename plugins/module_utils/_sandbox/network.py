# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this module util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""What commands of an image do as the builder does, if they have a network: resolve names, and trust package lists."""

from __future__ import annotations

import re

from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
    MissingToolError,
    Runner,
)

# The name server of slirp4netns(1), which asks those of the builder.
RESOLVER = "10.0.2.3"


def resolv_conf(builder: str) -> str:
    """Return resolv.conf(5) for the image, with search domains and options from that of the builder."""
    lines = re.findall(r"^(?:search|domain|options)[ \t].*", builder, re.MULTILINE)
    return "\n".join([f"nameserver {RESOLVER}", *lines])


def checks_valid_until(runner: Runner) -> bool:
    """Say whether the builder's apt refuses expired package lists, such as those of a snapshot of a mirror."""
    try:
        apt_config = runner.find("apt-config")
    except MissingToolError:
        return True
    argv = [apt_config, "shell", "checks", "Acquire::Check-Valid-Until/b"]
    return "'false'" not in runner.run(argv, check=False, timeout=60).stdout


__all__ = ("RESOLVER", "checks_valid_until", "resolv_conf")
