# Copyright (c) 2026, the sealedroot.image authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-FileCopyrightText: 2026 the sealedroot.image authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test whether a host is another machine than the control node."""

from __future__ import annotations

import typing as t

from ansible_collections.sealedroot.image.plugins.plugin_utils._builder import transport


def remote(variables: t.Mapping[str, t.Any]) -> bool:
    """Say whether the host with these variables is another machine than the control node."""
    return transport(variables) not in ("local", "ansible.builtin.local")


class TestModule:
    """The tests of this file; their documentation is beside it."""

    def tests(self) -> t.Dict[str, t.Callable[..., bool]]:
        return {"remote": remote}
