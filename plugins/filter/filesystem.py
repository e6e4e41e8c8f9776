# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A filter for the requirements of a file system."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError


def filesystem(name: str) -> t.Dict[str, t.List[str]]:
    """Return what the file system *name* needs of a builder and a root."""
    # Import here, because every task that uses a filter of the collection loads all of them.
    from ansible_collections.sealedroot.image.plugins.module_utils._system import filesystems
    from ansible_collections.sealedroot.image.plugins.module_utils._system.command import (
        SealedRootError,
    )

    try:
        return filesystems.find(name).words()
    except SealedRootError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    """The filter of this file; its documentation is beside it."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Dict[str, t.List[str]]]]:
        return {"filesystem": filesystem}
