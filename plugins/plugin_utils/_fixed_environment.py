# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.
# Do not use this from other collections or standalone plugins/modules!

"""The environment of shell commands on the builder: that of a module's commands."""

from __future__ import annotations

import shlex

from ansible_collections.sealedroot.image.plugins.module_utils._system import command


def fixed_environment(script: str) -> str:
    """Return the line that runs a script in the environment and with the umask of a module's commands."""
    given = [f"{name}={value}" for name, value in command.LOCALE.items()]
    given += [f'${{{name}+{name}="${name}"}}' for name in command.KEPT]
    inner = f"umask {command.UMASK:03o}\n{script}"
    return f"env -i {' '.join(given)} sh -c {shlex.quote(inner)}"


__all__ = ("fixed_environment",)
