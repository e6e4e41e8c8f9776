# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A filter for the names of a processor architecture."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError


def architecture(machine: str) -> t.Dict[str, str]:
    """Return the names of the architecture that uname(1) calls *machine*."""
    # Import here, because every task that uses a filter of the collection loads all of them.
    from ansible_collections.sealedroot.image.plugins.module_utils._system import architectures
    from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
        SealedRootError,
    )

    try:
        return architectures.find(machine).words()
    except SealedRootError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    """The filter of this file; its documentation is beside it."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Dict[str, str]]]:
        return {"architecture": architecture}
