# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters that what an image says of itself passes before it is used."""

from __future__ import annotations

import functools
import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.sealedroot.image.plugins.plugin_utils import _root_answers


def _as_filter(function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """Make a refusal an error of the template."""

    @functools.wraps(function)
    def run(*args: t.Any) -> t.Any:
        try:
            return function(*args)
        except _root_answers.ImpossibleError as exc:
            raise AnsibleFilterError(str(exc)) from exc

    return run


class FilterModule:
    """The filters of this file; their documentation is beside it."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        filters = (_root_answers.boot_files, _root_answers.package_list, _root_answers.root_now)
        return {it.__name__: _as_filter(it) for it in filters}
