# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters that check what an image says about itself before it is used."""

from __future__ import annotations

import functools
import typing as t

from ansible.errors import AnsibleFilterError


def _run(name: str, *args: t.Any) -> t.Any:
    """Call a function of _root_answers; if it refuses the value, raise a template error."""
    # Import here, because every task that uses a filter of the collection loads all of them.
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _root_answers

    try:
        return getattr(_root_answers, name)(*args)
    except _root_answers.ImpossibleError as exc:
        raise AnsibleFilterError(str(exc)) from exc


class FilterModule:
    """The filters of this file; their documentation is beside it."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        names = ("initramfs_script", "package_list", "root_now")
        return {name: functools.partial(_run, name) for name in names}
