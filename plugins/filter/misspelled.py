# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A filter that finds misspelled inputs."""

from __future__ import annotations

import typing as t


def misspelled(names: t.Iterable[str]) -> str:
    """Return a sentence for those of *names* that no role knows and that resemble an input, or ''."""
    # Import here, because every task that uses a filter of the collection loads all of them.
    from ansible_collections.sealedroot.image.plugins.plugin_utils import _inputs

    found = _inputs.misspelled(list(names))
    if not found:
        return ""
    wrong, right = " or ".join(found), " and ".join(found.values())
    return f"No input is called {wrong}: write {right}."


class FilterModule:
    """The filter of this file; its documentation is beside it."""

    def filters(self) -> t.Dict[str, t.Callable[..., str]]:
        return {"misspelled": misspelled}
