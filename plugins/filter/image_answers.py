# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filters that check what an image says about itself before it is used."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleFilterError


def _checked(check: t.Callable[..., t.Any], *args: t.Any) -> t.Any:
    """Call a function; if it refuses the value, raise a template error."""
    # Import here, because every task that uses a filter of the collection loads all of them.
    from ansible_collections.sealedroot.image.plugins.plugin_utils._printed import ImpossibleError

    try:
        return check(*args)
    except ImpossibleError as exc:
        raise AnsibleFilterError(str(exc)) from exc


def initramfs_script(*args: t.Any) -> t.Any:
    """Return the script that makes the initramfs of each kernel."""
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _printed

    return _checked(_printed.initramfs_script, *args)


def package_list(*args: t.Any) -> t.Any:
    """Return the packages that the image's package manager listed."""
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _printed

    return _checked(_printed.package_list, *args)


def root_now(*args: t.Any) -> t.Any:
    """Return the facts of a root, updated by what was found in the image since then."""
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _root_answers

    return _checked(_root_answers.root_now, *args)


class FilterModule:
    """The filters of this file; their documentation is beside it."""

    def filters(self) -> t.Dict[str, t.Callable[..., t.Any]]:
        return {
            "initramfs_script": initramfs_script,
            "package_list": package_list,
            "root_now": root_now,
        }
